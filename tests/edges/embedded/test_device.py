"""The emulator's process as the demo starts it: ready, pinned, kept over a restart, and gone with its parent."""

import hashlib
import json
import ssl
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

import psutil
import pytest

from attestor.core.errors import Unavailable
from attestor.embedded.device import emulator, start_emulator

LEFT_ALONE = """
import asyncio, sys, pathlib
from attestor.embedded.device import start_emulator
async def main():
    device = await start_emulator(pathlib.Path(sys.argv[1]))
    print(device.process.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


def state_of(device):
    """Asked over TLS with the device's own certificate as the only trusted one."""
    trusted = ssl.create_default_context(cafile=device.certificate_path)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trusted))
    with opener.open(f"{device.url}/api/v1/health/state", timeout=5) as answer:
        return json.load(answer)["state"]


def served_fingerprint(device):
    place = urlsplit(device.url)
    pem = ssl.get_server_certificate((place.hostname, place.port), timeout=5)
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


async def test_it_answers_with_the_certificate_whose_fingerprint_was_told_and_keeps_it_over_a_restart(tmp_path):
    async with emulator(tmp_path / "device") as first:
        assert state_of(first) == "Unprovisioned"
        assert served_fingerprint(first) == first.fingerprint
        pid = first.process.pid
    assert not psutil.pid_exists(pid)
    async with emulator(tmp_path / "device", flags=["--sign-delay-ms", "1"]) as second:
        assert second.fingerprint == first.fingerprint
        assert second.process.pid != pid
        await second.stop()
        await second.stop()


async def test_a_start_that_fails_surfaces_what_the_program_said(tmp_path):
    async with emulator(tmp_path / "device") as first:
        with pytest.raises(Unavailable, match="held by another emulator") as failure:
            await start_emulator(tmp_path / "device")
        assert failure.value.code == "emulator-start-failed"
        assert state_of(first) == "Unprovisioned"
    with pytest.raises(Unavailable, match="unrecognized arguments: --no-such-flag"):
        await start_emulator(tmp_path / "device", flags=["--no-such-flag"])


def test_it_ends_when_its_parent_is_killed(tmp_path):
    parent = subprocess.Popen([sys.executable, "-c", LEFT_ALONE, tmp_path / "device"], stdout=subprocess.PIPE)
    with parent.stdout:
        device = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    assert psutil.wait_procs([device], timeout=10)[1] == []
