"""What many tests stand on: programs of the system, and real inputs that are not copied into the repository."""

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says what else runs on the machine; pytest's own time is watched instead.
settings.register_profile("attestor", deadline=None)
settings.load_profile("attestor")


@pytest.fixture(scope="session")
def tool():
    """`tool("gpg")` is the program's path. Without it the test is skipped, or fails where CI is set."""

    def find(name):
        path = shutil.which(name)
        if path is None and os.environ.get("CI"):
            pytest.fail(f"{name} is required in CI and is not on PATH")
        if path is None:
            pytest.skip(f"{name} is not on PATH")
        return path

    return find


@pytest.fixture(scope="session")
def real_input():
    """`real_input("signstar/sample-request.json")` is a file or folder of the real data, or the test is skipped."""
    root = Path(os.environ.get("ATTESTOR_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data")

    def find(name):
        path = root / name
        if not path.exists():
            pytest.skip(f"no real input {name}: set ATTESTOR_DATA to a folder that has it")
        return path

    return find
