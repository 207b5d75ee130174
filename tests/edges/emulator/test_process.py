"""The process and its folder: what survives a restart, who may read it, how it starts and ends, how fast it is."""

import ast
import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import threading
import time
import warnings
from pathlib import Path

import nethsm
import psutil
import pytest

from attestor.emulator.__main__ import main

PACKAGE = Path(__file__).parents[3] / "attestor/emulator"
ED25519 = {"type": "Curve25519", "mechanisms": ["EdDSA_Signature"], "id": "kept"}
HELLO = {"mode": "EdDSA", "message": "aGVsbG8="}


@pytest.fixture
def refused(capsys):
    """Runs the program on flags that it cannot start with; what it says on standard error."""
    before = os.umask(0o022)

    def main_fails(*flags):
        assert main(flags) == 1
        return capsys.readouterr().err

    yield main_fails
    os.umask(before)


def folder_of(device):
    return Path(device.certificate).parent


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


def test_set_to_boot_unattended_it_outlives_kill_9_operational_with_all_but_its_last_counters(start, tmp_path):
    state = tmp_path / "state"
    device = start(state=state).provision()
    assert device.sdk("admin").get_config_unattended_boot() == "off"
    assert device.send("POST", "/keys/generate", "admin", ED25519).status == 201
    device.sdk("admin").set_unattended_boot(nethsm.UnattendedBootStatus.ON)
    signature = sign(device).json
    device.process.kill()
    device.process.wait(10)
    device = start(state=state)
    assert device.sdk().get_state() == nethsm.State.OPERATIONAL
    assert device.sdk("admin").get_config_unattended_boot() == "on"
    assert device.sdk("operator").get_key("kept").operations == 0
    assert sign(device).json == signature


def test_the_folder_is_its_owners_and_holds_no_passphrase(emulator):
    state = folder_of(emulator)
    assert state.stat().st_mode & 0o777 == 0o700
    for file in state.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600, file
        for passphrase in (emulator.passphrases["operator"], emulator.passphrases["backup"], "UnlockPassphrase"):
            assert passphrase not in file.read_text()
    assert {file.name for file in state.iterdir()} == {"lock", "state.json", "certificate.pem", "certificate.key"}


def test_it_prints_one_line_without_secrets_and_says_in_a_file_how_to_reach_and_pin_it(start, tmp_path):
    copy = tmp_path / "copy.pem"
    device = start("--certificate-file", str(copy), state=tmp_path / "state").provision()
    assert Path(device.certificate) == copy
    assert copy.read_bytes() == (tmp_path / "state/certificate.pem").read_bytes()
    assert (tmp_path / "state-ready.json").stat().st_mode & 0o777 == 0o600
    der = ssl.PEM_cert_to_DER_cert(copy.read_text())
    assert hashlib.sha256(der).hexdigest() == device.fingerprint
    device.send("POST", "/keys/generate", "admin", ED25519)
    sign(device)
    device.send("GET", "/users", "nobody", passphrase="a secret passphrase")
    device.process.stdin.close()  # means nothing without --exit-with-parent
    device.process.stdin = None
    assert device.send("GET", "/info").status == 200
    device.process.terminate()
    out, err = device.process.communicate(timeout=10)
    assert err == b""
    assert (
        out.decode() == f"emulated NetHSM (no protection of keys) ready at {device.url} sha256 {device.fingerprint}\n"
    )


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


def test_a_folder_that_others_may_read_is_refused(refused, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o755)
    assert "has mode 0755" in refused("--state", str(tmp_path / "open"))


def test_a_folder_has_one_emulator(refused, emulator):
    assert "held by another emulator" in refused("--state", str(folder_of(emulator)), "--listen", "127.0.0.1:0")


@pytest.mark.parametrize("text", ['{"device_id": "x"', "{}x", '{"bogus": 1}', '{"users": {"admin": {}}}'])
def test_a_damaged_state_is_not_started_over(refused, tmp_path, text):
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    (state / "state.json").write_text(text)
    assert "is not this emulator's state" in refused("--state", str(state), "--listen", "127.0.0.1:0")
    assert (state / "state.json").read_text() == text


def test_a_port_in_use_is_said(refused, emulator, tmp_path):
    assert "address already in use" in refused("--state", str(tmp_path / "state"), "--listen", emulator.host)


@pytest.mark.parametrize("flags", [["--listen", "nonsense"], ["--listen", ":1"], ["--sign-slots", "-1"], []])
def test_flags_that_make_no_sense_are_refused(flags):
    with pytest.raises(SystemExit, match="2"):
        main([*(["--state", "unused"] if flags else []), *flags])


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


def test_a_signature_costs_little_and_writes_nothing(emulator):
    emulator.send("POST", "/keys/generate", "admin", ED25519)
    file, process = folder_of(emulator) / "state.json", psutil.Process(emulator.process.pid)
    assert sign(emulator).status == 200
    written, before = file.stat().st_mtime_ns, sum(process.cpu_times()[:2])
    for _ in range(300):
        assert sign(emulator).status == 200
    each = (sum(process.cpu_times()[:2]) - before) / 300
    assert each < 0.005, "0.3 ms is usual; far more means that something is parsed or written each time"
    assert file.stat().st_mtime_ns == written
    assert json.loads(file.read_bytes())["keys"][""]["kept"]["operations"] == 0
