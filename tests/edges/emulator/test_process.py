"""The process and its folder: what survives a restart, who may read it, how it starts and ends, how fast it is."""

import ast
import contextlib
import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import nethsm
import psutil
import pytest

PACKAGE = Path(__file__).parents[3] / "attestor/emulator"
ED25519 = {"type": "Curve25519", "mechanisms": ["EdDSA_Signature"], "id": "kept"}
HELLO = {"mode": "EdDSA", "message": "aGVsbG8="}


def run(*flags):
    """The program's exit code and what it said, for starts that fail."""
    command = [sys.executable, "-m", "attestor.emulator", *flags]
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    return done.returncode, done.stderr.decode()


def sign(device):
    return device.send("POST", "/keys/kept/sign", "operator", HELLO)


def test_it_imports_nothing_of_attestor():
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert not name.startswith("attestor") or name.startswith("attestor.emulator"), file


def test_a_restart_comes_back_locked_with_all_that_was_kept(start, tmp_path):
    state = tmp_path / "state"
    device = start(state=state).provision()
    device.send("POST", "/keys/generate", "admin", ED25519)
    device.send("PUT", "/keys/kept/restrictions/tags/t", "admin")
    device.send("PUT", "/users/operator/tags/t", "admin")
    device.sdk("admin").set_key_certificate("kept", b"certificate")
    device.sdk("admin").add_namespace("space")
    signature, fingerprint = sign(device).json, device.fingerprint
    assert device.stop() == 0

    device = start(state=state)
    assert device.fingerprint == fingerprint
    assert device.sdk().get_state() == nethsm.State.LOCKED
    assert sign(device).status == 412
    device.sdk().unlock("UnlockPassphrase")
    assert sign(device).json == signature
    key = device.sdk("operator").get_key("kept")
    assert (key.operations, key.tags) == (2, ["t"])
    assert device.sdk("operator").get_key_certificate("kept") == b"certificate"
    assert device.sdk("admin").list_namespaces() == ["space"]


def test_a_device_set_to_boot_unattended_comes_back_operational(start, tmp_path):
    state = tmp_path / "state"
    device = start(state=state).provision()
    device.sdk("admin").set_unattended_boot(nethsm.UnattendedBootStatus.ON)
    device.stop()
    device = start(state=state)
    assert device.sdk().get_state() == nethsm.State.OPERATIONAL
    assert device.sdk("admin").get_config_unattended_boot() == "on"
    device.sdk("admin").set_unattended_boot(nethsm.UnattendedBootStatus.OFF)
    device.stop()
    assert start(state=state).sdk().get_state() == nethsm.State.LOCKED


def test_what_was_answered_outlives_kill_9_except_counters(start, tmp_path):
    state = tmp_path / "state"
    device = start(state=state).provision()
    assert device.send("POST", "/keys/generate", "admin", ED25519).status == 201
    signature = sign(device).json
    device.process.kill()
    device.process.wait(10)
    device = start(state=state)
    device.sdk().unlock("UnlockPassphrase")
    assert device.sdk("operator").get_key("kept").operations == 0
    assert sign(device).json == signature


def test_the_folder_is_its_owners_and_holds_no_passphrase(start, tmp_path):
    state = tmp_path / "state"
    device = start(state=state).provision()
    device.send("POST", "/unlock", content={"passphrase": "UnlockPassphrase"})
    assert state.stat().st_mode & 0o777 == 0o700
    for file in state.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
        for passphrase in (device.passphrases["operator"], device.passphrases["backup"], "UnlockPassphrase"):
            assert passphrase not in file.read_text()
    assert {file.name for file in state.iterdir()} == {"lock", "state.json", "certificate.pem", "certificate.key"}


def test_it_prints_one_line_and_no_secret(start, tmp_path):
    device = start(state=tmp_path / "state").provision()
    device.send("POST", "/keys/generate", "admin", ED25519)
    sign(device)
    device.send("GET", "/users", "nobody", passphrase="a secret passphrase")
    device.process.terminate()
    out, err = device.process.communicate(timeout=10)
    assert err == b""
    (line,) = out.decode().splitlines()
    assert device.url in line
    assert device.fingerprint in line


def test_the_ready_file_says_how_to_reach_and_pin_it(start, tmp_path):
    copy = tmp_path / "copy.pem"
    device = start("--certificate-file", str(copy), state=tmp_path / "state")
    assert Path(device.certificate) == copy
    assert copy.read_bytes() == (tmp_path / "state/certificate.pem").read_bytes()
    assert (tmp_path / "state-ready.json").stat().st_mode & 0o777 == 0o600
    host, port = device.host.split(":")
    pem = ssl.get_server_certificate((host, int(port)), ca_certs=str(copy))
    assert pem.strip() == copy.read_text().strip()


@pytest.mark.parametrize(("version", "accepted"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
def test_tls_1_2_and_newer_only(start, emulator, version, accepted):
    context = ssl.create_default_context(cafile=emulator.certificate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # asking for TLS 1.1 is the point
        context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    host, port = emulator.host.split(":")
    with socket.create_connection((host, int(port)), 10) as plain:
        expected = contextlib.nullcontext() if accepted else pytest.raises((ssl.SSLError, OSError))
        with expected, context.wrap_socket(plain, server_hostname=host) as tls:
            assert tls.version() == version.replace("_", ".")


def test_sigterm_ends_it_at_once_even_with_open_connections_and_signatures(start, tmp_path):
    device = start("--sign-delay-ms", "30000", state=tmp_path / "state").provision()
    device.send("POST", "/keys/generate", "admin", ED25519)
    waiting = threading.Thread(target=_try_to_sign, args=(device,))
    waiting.start()
    time.sleep(0.3)
    begun = time.monotonic()
    device.process.send_signal(signal.SIGTERM)
    assert device.process.wait(10) == 0
    assert time.monotonic() - begun < 4
    waiting.join(10)


def _try_to_sign(device):
    with contextlib.suppress(http.client.HTTPException, OSError):
        sign(device)


def test_with_exit_with_parent_it_ends_when_its_input_is_closed(start, tmp_path):
    device = start("--exit-with-parent", state=tmp_path / "state")
    device.process.stdin.write(b"noise")
    device.process.stdin.flush()
    time.sleep(0.2)
    assert device.process.poll() is None
    device.process.stdin.close()
    assert device.process.wait(5) == 0
    device.process.stdin = None


def test_without_it_a_closed_input_means_nothing(start, tmp_path):
    device = start(state=tmp_path / "state")
    device.process.stdin.close()
    device.process.stdin = None
    time.sleep(0.3)
    assert device.send("GET", "/info").status == 200


def test_a_folder_that_others_may_read_is_refused(tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    code, said = run("--state", str(tmp_path / "open"), "--listen", "127.0.0.1:0")
    assert code == 1
    assert "has mode 0755" in said


def test_a_folder_has_one_emulator(start, tmp_path):
    start(state=tmp_path / "state")
    code, said = run("--state", str(tmp_path / "state"), "--listen", "127.0.0.1:0")
    assert code == 1
    assert "held by another emulator" in said


def test_a_damaged_state_is_not_started_over(tmp_path):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "state.json").write_text('{"device_id": "x"')
    code, said = run("--state", str(state), "--listen", "127.0.0.1:0")
    assert code == 1
    assert "is not this emulator's state" in said
    assert (state / "state.json").read_text() == '{"device_id": "x"'


def test_a_port_in_use_is_said(start, emulator, tmp_path):
    code, said = run("--state", str(tmp_path / "state"), "--listen", emulator.host)
    assert code == 1
    assert "address already in use" in said


@pytest.mark.parametrize("flags", [["--listen", "nonsense"], ["--listen", ":1"], ["--sign-slots", "-1"], []])
def test_flags_that_make_no_sense_are_refused(flags):
    assert run(*(["--state", "unused"] if flags else []), *flags)[0] == 2


def test_signatures_take_their_time_and_their_slots(start, tmp_path):
    device = start("--sign-delay-ms", "100", "--sign-slots", "2", state=tmp_path / "state").provision()
    device.send("POST", "/keys/generate", "admin", ED25519)
    client = device.sdk("operator")
    client.sign("kept", nethsm.Base64.encode(b"x"), nethsm.SignMode.EDDSA)
    message = nethsm.Base64.encode(b"x")
    threads = [threading.Thread(target=client.sign, args=("kept", message, nethsm.SignMode.EDDSA)) for _ in range(6)]
    begun = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert 0.3 <= time.monotonic() - begun < 0.6 + 0.4, "six signatures through two slots of 100 ms"
    assert device.sdk("operator").get_key("kept").operations == 7


def test_a_signature_costs_little_and_writes_nothing(start, tmp_path):
    device = start(state=tmp_path / "state").provision()
    device.send("POST", "/keys/generate", "admin", ED25519)
    written = (tmp_path / "state/state.json").stat().st_mtime_ns
    sign(device)
    process = psutil.Process(device.process.pid)
    before = sum(process.cpu_times()[:2])
    for _ in range(400):
        assert sign(device).status == 200
    each = (sum(process.cpu_times()[:2]) - before) / 400
    assert each < 0.003, "0.3 ms is usual; ten times that means that something is parsed or written each time"
    assert (tmp_path / "state/state.json").stat().st_mtime_ns == written
    assert json.loads((tmp_path / "state/state.json").read_bytes())["keys"][""]["kept"]["operations"] == 0
