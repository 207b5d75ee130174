"""The contract with a backend, and what happens to those that break it. Each is a real program in a real process."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from attestor.core.errors import Missing, Rejected
from attestor.core.naming import Kind
from rebuilders import agent, artifact, backend

FILE = "greeting-1.2-1-any.pkg.tar.zst"
LIMITS = backend.Limits(wall_seconds=20)
SUPERVISE = Path(backend.__file__).with_name("supervise.py")


@pytest.fixture
def script(tmp_path):
    """`script("echo hello")` is an executable of that shell text."""

    def write(text, interpreter="/bin/sh"):
        path = tmp_path / "backend"
        path.write_text(f"#!{interpreter}\n{text}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "build"
    (path / "source").mkdir(parents=True)
    return path


async def _build(command, folder, limits=LIMITS, arguments=(), epoch=None):
    log = io.BytesIO()
    done = await backend.build(backend.Backend(command, arguments, epoch, limits), folder, FILE, log)
    assert done.log_digest == hashlib.sha256(log.getvalue()).digest()
    return done, log.getvalue()


async def test_a_backend_that_makes_the_named_file_has_built(script, folder):
    done, log = await _build(
        script('echo made; echo warned >&2; printf x > "$ATTESTOR_OUTPUT/$ATTESTOR_RELEASE"'), folder
    )
    assert (done.why, done.artifact.read_bytes(), log) == ("", b"x", b"made\nwarned\n")


async def test_a_backend_finds_exactly_the_documented_environment(script, folder, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_HOST", "x")
    _, log = await _build(
        script("import os, json; print(json.dumps(dict(os.environ)))", f"{sys.executable} -I"), folder, epoch=7
    )
    assert json.loads(log) == {
        "ATTESTOR_OUTPUT": f"{folder}/output",
        "ATTESTOR_RELEASE": FILE,
        "ATTESTOR_SOURCE": f"{folder}/source",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PATH": backend.PATH,
        "SOURCE_DATE_EPOCH": "7",
        "TZ": "UTC",
    }


async def test_arguments_reach_the_backend_as_they_are_and_no_shell_reads_them(script, folder):
    hostile = ("two words", "$(touch pwned)", "; touch pwned", "*")
    _, log = await _build(script("import sys; print(sys.argv[1:])", f"{sys.executable} -I"), folder, arguments=hostile)
    assert log.decode().strip() == str(list(hostile))
    assert not (folder / "pwned").exists()


async def test_a_backend_runs_in_its_folder_with_nothing_to_read_and_no_descriptor_of_ours(script, folder):
    secret = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(secret, True)
    text = "import os, sys; print(os.getcwd(), repr(sys.stdin.read()), sorted(os.listdir('/proc/self/fd'))[:-1])"
    _, log = await _build(script(text, f"{sys.executable} -I"), folder)
    os.close(secret)
    assert log.decode().strip() == f"{folder} '' ['0', '1', '2']"


async def test_the_limits_hold_in_the_backend(script, folder):
    text = "import resource as r; print([r.getrlimit(x)[0] for x in (r.RLIMIT_CPU, r.RLIMIT_FSIZE, r.RLIMIT_AS, r.RLIMIT_NPROC, r.RLIMIT_CORE)])"
    limits = backend.Limits(cpu_seconds=77, file_bytes=1 << 20, memory_bytes=1 << 30, processes=500)
    _, log = await _build(script(text, f"{sys.executable} -I"), folder, limits)
    assert log.decode().strip() == str([77, 1 << 20, 1 << 30, 500, 0])


OUT = '"$ATTESTOR_OUTPUT/$ATTESTOR_RELEASE"'
HOSTILE = [
    pytest.param("exit 3", "exit code 3", id="it says that it failed"),
    pytest.param(f"printf x > {OUT}; exit 1", "exit code 1", id="it makes the file and says that it failed"),
    pytest.param(f"printf x > {OUT}; kill -SEGV $$", "exit code 139", id="it makes the file and crashes"),
    pytest.param("true", "holds nothing", id="it makes nothing"),
    pytest.param(f"printf x > {OUT}; printf x > $ATTESTOR_OUTPUT/more", "exactly", id="it makes two files"),
    pytest.param(f"printf x > {OUT}.sig", "exactly", id="it makes a file of another name"),
    pytest.param(f"printf x > {OUT}; printf x > $ATTESTOR_OUTPUT/.hidden", "exactly", id="it hides a second file"),
    pytest.param(f"ln -s /etc/passwd {OUT}", "no plain file", id="its output is a link to another file"),
    pytest.param(f"ln -s /nowhere {OUT}", "no plain file", id="its output is a link to nothing"),
    pytest.param(f"mkdir {OUT}", "no plain file", id="its output is a folder"),
    pytest.param(f"mkfifo {OUT}", "no plain file", id="its output is a pipe"),
    pytest.param(f": > {OUT}", "empty", id="its output is empty"),
    pytest.param(
        'rmdir "$ATTESTOR_OUTPUT"; mkdir away; printf x > away/$ATTESTOR_RELEASE; ln -s "$PWD/away" "$ATTESTOR_OUTPUT"',
        "replaced",
        id="it puts a link where the output folder was",
    ),
    pytest.param('printf x > "$HOME/../$ATTESTOR_RELEASE"', "holds nothing", id="it writes outside of its folder"),
    pytest.param(f"head -c 3000000 /dev/zero > {OUT}", "exit code", id="its file is over the limit"),
    pytest.param("while :; do :; done", "exit code 137", id="it never stops computing"),
    pytest.param("yes", "log is over 100000 bytes", id="its output never ends"),
    pytest.param("sleep 600 & setsid sleep 600 & sleep 600", "more than 3 s", id="it sleeps, and its children too"),
    pytest.param("exec /nowhere/at/all", "exit code 127", id="it runs a program that is not there"),
    pytest.param("kill -KILL $PPID; sleep 1", "supervisor was killed", id="it kills its supervisor"),
]


@pytest.mark.parametrize(("text", "why"), HOSTILE)
async def test_a_hostile_backend_has_failed_in_bounded_time(text, why, script, folder):
    limits = backend.Limits(wall_seconds=3, cpu_seconds=1, file_bytes=1 << 21, log_bytes=100_000)
    began = time.monotonic()
    done, log = await _build(script(text), folder, limits)
    assert done.artifact is None
    assert why in done.why
    assert len(log) <= 100_000
    assert time.monotonic() - began < 6


DAEMONS = f"""
import os, sys, time
for _ in range(20):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            time.sleep(600)
        os._exit(0)
with open(os.environ["ATTESTOR_OUTPUT"] + "/{FILE}", "w") as file:
    file.write("x")
"""


async def test_daemons_in_sessions_of_their_own_are_gone_when_the_build_ends(script, folder):
    done, _ = await _build(script(DAEMONS, f"{sys.executable} -I"), folder)
    assert done.artifact is not None
    assert [
        one for one in psutil.process_iter(["cmdline"]) if str(folder.parent) in " ".join(one.info["cmdline"] or ())
    ] == []


def test_a_build_ends_with_the_agent_that_started_it(script, folder, tmp_path):
    command = script(f"echo $$ > {tmp_path}/pid; sleep 600")
    program = (
        "import asyncio, io, sys; from pathlib import Path; import rebuilders.backend as b\n"
        "asyncio.run(b.build(b.Backend(Path(sys.argv[1])), Path(sys.argv[2]), 'x', io.BytesIO()))"
    )
    agent_process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            program,
            str(command),
            str(folder),
        ]
    )
    _wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    pid = int((tmp_path / "pid").read_text())
    agent_process.kill()
    agent_process.wait()
    _wait_until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


def _wait_until(true):
    ends = time.monotonic() + 10
    while not true():
        assert time.monotonic() < ends, "it did not come true in 10 s"
        time.sleep(0.02)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start the bomb under an account of its own")
def test_a_fork_bomb_is_bounded_and_gone_afterwards():
    """As an ordinary account (RLIMIT_NPROC does not count root); with Debian's own Python, which that account can read."""
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    if python is None:
        pytest.skip("no python3 of the system")
    bomb = "import os,time\nwhile True:\n try:\n  os.fork()\n except OSError:\n  time.sleep(0.01)\n"
    account = 64999
    read = SUPERVISE.read_text()
    began = subprocess.Popen(
        [python, "-I", "-c", read, json.dumps({"processes": 40}), python, "-I", "-c", bomb],
        user=account,
        group=account,
        extra_groups=[],
        cwd="/",
        env={"PATH": "/usr/bin"},
        start_new_session=True,
    )
    time.sleep(1.5)
    mine = [one for one in psutil.process_iter(["uids"]) if one.info["uids"] and one.info["uids"].real == account]
    assert 10 < len(mine) <= 40
    began.terminate()
    assert began.wait(15) == 143
    assert [one for one in psutil.process_iter(["uids"]) if one.info["uids"] and one.info["uids"].real == account] == []


@pytest.mark.parametrize("mode", [0o644, None], ids=["a file that is not executable", "no file"])
async def test_a_backend_that_cannot_be_called_is_an_error_and_no_failed_build(mode, script, folder):
    command = script("true")
    command.chmod(mode) if mode else command.unlink()
    with pytest.raises(Missing) as refusal:
        await _build(command, folder)
    assert refusal.value.code == "no-backend"


@pytest.fixture
def clock():
    """Each look is a second later."""
    moments = iter(datetime(2025, 10, 12, 8, 30, tzinfo=UTC) + timedelta(seconds=n) for n in range(100))
    return lambda: next(moments)


@pytest.fixture
def job(tmp_path, script):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "recipe").write_text("r")
    (tmp_path / "in" / "deep" / "a b%.py").write_text("code")
    (tmp_path / "out").mkdir()

    def make(text, keep=False):
        release = artifact.release_of(Kind.PACKAGE, FILE, None, "arch")
        return agent.Job(release, tmp_path / "in", backend.Backend(script(text)), tmp_path / "out", keep)

    return make


INPUTS = {"deep%2Fa%20b%25.py": hashlib.sha256(b"code").digest(), "recipe": hashlib.sha256(b"r").digest()}


async def test_a_rebuild_states_the_file_its_inputs_its_times_and_its_log(job, clock, tmp_path):
    done = await agent.rebuild(job(f'echo hello; cat "$ATTESTOR_SOURCE/deep/a b%.py" > {OUT}'), clock)
    said = done.statement
    assert (said.outcome, said.subject.name, said.subject.size, done.why) == ("built", FILE, 4, "")
    assert (said.subject.sha256, said.subject.sha512) == (
        hashlib.sha256(b"code").digest(),
        hashlib.sha512(b"code").digest(),
    )
    assert {one.name: one.sha256 for one in said.inputs} == INPUTS
    assert said.finished_on - said.started_on == timedelta(seconds=1)
    assert said.log_digest == hashlib.sha256(b"hello\n").digest()
    assert (tmp_path / "out" / FILE).read_bytes() == b"code"
    assert (tmp_path / "out" / f"{FILE}.log").read_bytes() == b"hello\n"


async def test_a_build_that_fails_is_stated_with_its_inputs_and_leaves_no_file(job, clock, tmp_path):
    done = await agent.rebuild(job(f"printf x > {OUT}; echo no; exit 9"), clock)
    assert (done.statement.outcome, done.statement.subject) == ("failed", None)
    assert {one.name: one.sha256 for one in done.statement.inputs} == INPUTS
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [f"{FILE}.log"]


async def test_a_backend_that_changes_its_sources_changes_neither_ours_nor_what_is_stated(job, clock, tmp_path):
    done = await agent.rebuild(job(f'echo evil > "$ATTESTOR_SOURCE/recipe"; printf x > {OUT}'), clock)
    assert {one.name: one.sha256 for one in done.statement.inputs} == INPUTS
    assert (tmp_path / "in" / "recipe").read_text() == "r"


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "removed"])
async def test_the_clean_folder_is_removed_unless_it_is_to_be_kept(keep, job, clock, tmp_path, monkeypatch):
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    done = await agent.rebuild(job(f"printf x > {OUT}; mkdir -m 0 closed", keep), clock)
    assert bool(list((tmp_path / "tmp").iterdir())) is keep
    assert (done.kept / "source" / "recipe").is_file() if keep else done.kept is None


SOURCES = [
    pytest.param(shutil.rmtree, "no-source", id="no folder"),
    pytest.param(lambda folder: (shutil.rmtree(folder), folder.mkdir()), "no-inputs", id="an empty folder"),
    pytest.param(lambda folder: (folder / "link").symlink_to("/etc/passwd"), "not-a-file", id="a link to a file"),
    pytest.param(lambda folder: (folder / "link").symlink_to("/etc"), "not-a-file", id="a link to a folder"),
    pytest.param(lambda folder: os.mkfifo(folder / "pipe"), "not-a-file", id="a pipe"),
    pytest.param(lambda folder: [(folder / str(n)).touch() for n in range(256)], "too-many-inputs", id="258 files"),
    pytest.param(lambda folder: (folder / ("é" * 60)).touch(), "input-name-too-long", id="a name that gets too long"),
]


@pytest.mark.parametrize(("spoil", "code"), SOURCES)
async def test_sources_that_could_not_be_stated_are_refused_before_the_build(spoil, code, job, clock, tmp_path):
    todo = job(f"touch {tmp_path}/ran; printf x > {OUT}")
    spoil(tmp_path / "in")
    with pytest.raises(Rejected) as refusal:
        await agent.rebuild(todo, clock)
    assert refusal.value.code == code
    assert not (tmp_path / "ran").exists()
