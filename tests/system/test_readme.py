"""The README's walk by hand, executed word for word against what `make serve` runs."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"
START_SECONDS = 60


@pytest.fixture
def served(tmp_path):
    """What `make serve` starts, in a folder of its own, with the programs on the path."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    log = (tmp_path / "serve.log").open("wb")
    service = subprocess.Popen(
        ["attestor", "serve", "--embedded", ".attestor"], cwd=tmp_path, env=environment, stdout=log, stderr=log
    )
    try:
        wait_until_ready(tmp_path, service)
        yield tmp_path, environment
    finally:
        service.send_signal(signal.SIGTERM)
        service.wait(30)
        log.close()


def wait_until_ready(folder, service):
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and service.poll() is None:
        ready = subprocess.run(
            ["bash", "-c", '. .attestor/service.env && curl --silent --fail "$OPERATE/readyz"'],
            cwd=folder,
            check=False,
            capture_output=True,
        )
        if ready.returncode == 0:
            return
        time.sleep(0.2)
    pytest.fail(f"the service did not become ready: {(folder / 'serve.log').read_text()[-2000:]}")


def test_the_walk_by_hand_works_word_for_word(served, tool):
    tool("gpg")
    tool("curl")
    folder, environment = served
    blocks = re.findall(r"^```sh\n(.*?)^```$", README.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9

    script = "\n".join(["set -euo pipefail", *blocks, "gpgconf --kill all"])
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        errors="replace",
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "Good signature" in done.stderr
    for printed in (
        "2 operators attested these bytes (alice, bob)",
        "[bundle-file]",
        "\nattestor.localhost/log\n",
        "All of it is right.",
        "All of it holds.",
    ):
        assert printed in done.stdout
