import re
import sys
import tomllib
from pathlib import Path
from subprocess import run

import pytest

from attestor.cli.output import Exit
from attestor.config import load_config

ROOT = Path(__file__).resolve().parents[3]
UNITS = sorted((ROOT / "ops/systemd").glob("*.service"))


def settings(unit, key):
    return re.findall(rf"^{key}=(.*)$", unit.read_text(), re.MULTILINE)


def test_systemd_itself_finds_nothing_wrong_with_the_units(tool, tmp_path):
    verify = tool("systemd-analyze")
    for unit in (ROOT / "ops/systemd").iterdir():
        # The program's place in production is not there on the machine that tests.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/opt/attestor/bin/attestor", sys.executable))
    names = [str(tmp_path / name) for name in (*(unit.name for unit in UNITS), "attestor.target")]

    seen = run(
        [verify, "--man=no", "--recursive-errors=no", "verify", *names], capture_output=True, text=True, check=False
    )

    about_ours = [line for line in seen.stderr.splitlines() if "attestor" in line]
    assert (seen.returncode, about_ours) == (0, [])


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_each_unit_runs_one_role_without_any_privilege(unit):
    role = unit.stem.removeprefix("attestor-")
    assert settings(unit, "ExecStart") == [
        f"/opt/attestor/bin/attestor serve --config /etc/attestor/attestor.toml --role {role}"
    ]
    assert settings(unit, "CapabilityBoundingSet") == settings(unit, "AmbientCapabilities") == [""]
    for key in ("NoNewPrivileges", "MemoryDenyWriteExecute", "RestrictNamespaces", "PrivateDevices", "ProtectClock"):
        assert settings(unit, key) == ["yes"], key
    assert settings(unit, "ProtectSystem") == ["strict"]


def test_each_role_is_handed_exactly_the_credentials_that_it_reads(tmp_path):
    for name in ("policy", "attestor"):
        (tmp_path / f"{name}.toml").write_bytes((ROOT / f"ops/{name}.example.toml").read_bytes())
    config = load_config(tmp_path / "attestor.toml")
    handed = {unit.stem: {line.partition(":")[0] for line in settings(unit, "LoadCredential")} for unit in UNITS}

    assert handed == {
        "attestor-api": {
            config.database.passwords.api,
            *(listener.key for listener in config.listeners if listener.key),
        },
        "attestor-sequencer": {config.database.passwords.sequencer, config.log.key},
        "attestor-signer": {
            config.signer.seal,
            config.database.passwords.signer,
            config.canary.passphrase,
            *(key.passphrase for key in config.signing_keys.values()),
        },
    }


def test_the_anchor_is_the_signers_alone():
    for unit in UNITS:
        shut = "-/var/lib/attestor-anchor" in settings(unit, "InaccessiblePaths")[0].split()
        own = any("attestor-anchor" in folders.split() for folders in settings(unit, "StateDirectory"))
        assert (shut, own) == ((False, True) if unit.stem == "attestor-signer" else (True, False)), unit.stem


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_each_role_has_a_place_to_say_that_it_runs_and_reads_the_policy_anew_when_asked(unit):
    folder = tomllib.loads((ROOT / "ops/attestor.example.toml").read_text())["run"]["folder"]
    assert f"{folder}/{unit.stem.removeprefix('attestor-')}" in {
        f"/run/{name}" for name in settings(unit, "RuntimeDirectory")
    }
    assert settings(unit, "ExecReload") == ["kill -HUP $MAINPID"]


@pytest.mark.parametrize("role", ["sequencer", "signer"])
def test_what_halted_is_not_started_again_by_itself(role):
    assert settings(ROOT / f"ops/systemd/attestor-{role}.service", "RestartPreventExitStatus") == [
        str(int(Exit.HALTED))
    ]


def test_the_container_runs_as_an_ordinary_user_from_the_pinned_lock():
    text = (ROOT / "ops/Containerfile").read_text()
    assert "--require-hashes -r /source/requirements.lock" in text
    assert re.search(r"^USER 64000", text, re.MULTILINE)
    assert text.index("USER 64000") < text.index("ENTRYPOINT")


def test_what_ci_runs_is_bash_without_an_error_in_it(tool):
    assert run([tool("bash"), "-n", str(ROOT / ".ci/run")], check=False).returncode == 0
    assert (ROOT / ".ci/run").stat().st_mode & 0o111
