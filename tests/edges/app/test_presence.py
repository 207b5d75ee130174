"""Who runs on this host: found by its file, reached by a signal, and never taken for another."""

import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import msgspec
import pytest

from attestor.app.policyfile import PolicyFile
from attestor.app.presence import Present, present, roles
from attestor.app.reloading import reload
from attestor.core.errors import Rejected, Unavailable
from tests.service.makers import make_policy

POLICY = make_policy(serial=2)
OTHER = """
import os, signal, sys, time
signal.signal(signal.SIGHUP, lambda *_: (open(sys.argv[1], "a").write("hup\\n"), None))
print("ready", flush=True)
time.sleep(60)
"""


@pytest.fixture
def config(tmp_path):
    run = SimpleNamespace(folder=tmp_path / "run")
    return SimpleNamespace(
        path=tmp_path / "attestor.toml", run=run, policy=POLICY, policy_path=tmp_path / "policy.toml"
    )


@pytest.fixture
def stranger(tmp_path):
    """A process of this user that is no role of ours, and the signals that it had."""
    heard = tmp_path / "heard"
    heard.touch()
    command = [sys.executable, "-c", OTHER, str(heard)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        yield SimpleNamespace(pid=process.pid, heard=heard.read_text)
        process.kill()


def rewrite(config, role="api", **members):
    """What stands in the file of this very process, with other members."""
    [place] = (config.run.folder / role).glob("*.json")
    said = msgspec.json.decode(place.read_bytes(), type=Present)
    place.write_bytes(msgspec.json.encode(msgspec.structs.replace(said, **members)))
    return said


def test_a_role_is_found_while_it_runs_and_not_after(config):
    with present(config, "api", PolicyFile(config)):
        [role] = roles(config)
        assert (role.present.role, role.present.pid, role.present.serial) == ("api", os.getpid(), 2)
        assert role.policy_in_force() == POLICY.raw
    assert roles(config) == []
    assert [path for path in config.run.folder.rglob("*") if path.is_file()] == []


def test_what_came_of_a_look_is_said(config):
    file = PolicyFile(config)
    with present(config, "signer", file):
        file.looks, file.refusal = 1, Rejected("policy-serial", "Raise it.")
        file.noted()
        [role] = roles(config)
        assert (role.present.looks, role.present.refusal.code) == (1, "policy-serial")
        file.looks, file.refusal, file.policy = 2, None, make_policy(serial=3)
        file.noted()
        assert (role.again().present.serial, role.again().present.refusal) == (3, None)
        assert role.policy_in_force() == file.policy.raw


OTHERS = {
    "of another policy file": {"policy_file": "/elsewhere/policy.toml"},
    "of a process that began at another time": {"began": 1},
    "of a process that is gone": {"pid": 2**22 - 1},
    "of another user's process": {"pid": 1},
}


@pytest.mark.parametrize("members", OTHERS.values(), ids=OTHERS)
def test_a_file_counts_for_nothing_that_is(config, members):
    with present(config, "api", PolicyFile(config)):
        assert len(roles(config)) == 1
        rewrite(config, **members)
        if members == {"pid": 1}:
            [place] = (config.run.folder / "api").glob("*.json")
            os.chown(place, 12345, -1) if os.geteuid() == 0 else None
        assert roles(config) == []


def test_no_file_leads_to_a_signal_for_a_stranger(config, stranger):
    with present(config, "api", PolicyFile(config)):
        [role] = roles(config)
        rewrite(config, pid=stranger.pid)
        with pytest.raises(Unavailable, match="role-gone"):
            role.again().ask_to_look()
    assert stranger.heard() == ""


@pytest.mark.parametrize(
    "spoilt", [b"", b"{}", b"no json", b"[" * 100_000], ids=["empty", "no members", "no JSON", "large"]
)
def test_what_is_no_file_of_ours_is_nobody(config, spoilt):
    folder = config.run.folder / "api"
    folder.mkdir(parents=True)
    (folder / "1.json").write_bytes(spoilt)
    os.mkfifo(folder / "2.json")
    (folder / "3.json").symlink_to("/dev/zero")
    assert roles(config) == []


def test_what_a_killed_process_left_is_swept_away(config):
    folder = config.run.folder / "api"
    with present(config, "api", PolicyFile(config)):
        rewrite(config, pid=2**22 - 1)
        [place] = folder.glob("*.json")
        place.rename(folder / "1.json")
        with present(config, "api", PolicyFile(config)):
            assert not (folder / "1.json").exists()


def test_without_a_run_folder_nothing_is_said_and_nobody_is_found(config):
    config.run = None
    with present(config, "api", PolicyFile(config)):
        assert roles(config) == []
    with pytest.raises(Unavailable, match="nothing-running") as refused:
        reload(config, print, timeout_seconds=1)
    assert "SIGHUP" in refused.value.sentence


def test_a_run_folder_that_cannot_be_written_ends_the_start(config):
    config.run.folder.write_text("a file")
    with pytest.raises(Unavailable, match="run-folder"), present(config, "api", PolicyFile(config)):
        pass


@pytest.fixture
def asked(config):
    """This process as a role, and what it does when it is asked: each test sets it."""
    file = PolicyFile(config)
    answers = []

    def hung_up(*_):
        file.looks += 1
        answers.pop(0)(file)
        file.noted()

    before = signal.signal(signal.SIGHUP, hung_up)
    with present(config, "signer", file):
        yield answers
    signal.signal(signal.SIGHUP, before)


def takes(policy):
    return lambda file: setattr(file, "policy", policy)


def refuses(file):
    file.refusal = Rejected("seal-unlisted", "The seal is not among them.")


def test_a_reload_ends_once_each_role_has_the_policy_and_names_what_changes(config, asked):
    config.policy = make_policy(serial=3, suspended=["carol"])
    asked.append(takes(config.policy))
    said = []
    reload(config, said.append, timeout_seconds=20)
    assert said[0].startswith("serial 2 is in force; the file has serial 3")
    assert said[1:] == [
        "operator carol is suspended: it neither votes nor dissents",
        f"signer {os.getpid()}: serial 3 is in force",
    ]
    said.clear()
    reload(config, said.append, timeout_seconds=20)
    assert said == [f"signer {os.getpid()}: has serial 3 already, unchanged"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        pytest.param(refuses, "refused it [seal-unlisted]: The seal is not among them.", id="refuses it"),
        pytest.param(takes(make_policy(serial=9)), "has loaded another file", id="finds another file"),
    ],
)
def test_a_reload_says_who_has_not_and_why(config, asked, answer, why):
    config.policy = make_policy(serial=3)
    asked.append(answer)
    with pytest.raises(Unavailable, match="reload-incomplete") as failed:
        reload(config, print, timeout_seconds=20)
    assert f"signer {os.getpid()}: {why}" in failed.value.sentence


def test_a_role_that_says_nothing_is_named(config, asked):
    config.policy = make_policy(serial=3)
    asked.append(lambda file: setattr(file, "looks", 0))
    with pytest.raises(Unavailable, match="has not said anything within 0 s"):
        reload(config, print, timeout_seconds=0.2)


def test_nobody_is_asked_to_load_what_cannot_follow(config, asked):
    config.policy = make_policy(serial=1)
    with pytest.raises(Rejected, match="policy-serial"):
        reload(config, print, timeout_seconds=1)
    assert asked == []
