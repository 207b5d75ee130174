import subprocess
import sys
from pathlib import Path

import pytest

from rebuilders.backend import environment

BACKENDS = Path(__file__).parents[2] / "rebuilders" / "backends"
EPOCH = 1760286101
RECIPE = 'pkgname = "greeting"\npkgver = "1.2"\npkgrel = 1\narch = "any"\npkgdesc = "Says hello"\n'
PACKAGE = "greeting-1.2-1-any.pkg.tar.zst"
MODULE = 'NAMES = {"ada", "grace", "edsger"}\n\n\ndef greet(name="you"):\n    """Say it."""\n    return [f"hello {name}" for _ in range(2)]\n'


@pytest.fixture(scope="session")
def sources():
    """`sources(folder)` writes the Python sources of the package; `marker=True` makes its builds differ."""

    def write(folder, marker=False):
        (folder / "inner").mkdir(parents=True)
        (folder / "PACKAGE.toml").write_text(RECIPE)
        (folder / "__init__.py").write_text(MODULE)
        (folder / "inner" / "more.py").write_text("from greeting import greet\n\nprint(greet('a' * 3))\n")
        if marker:
            (folder / "embed-build-time").touch()
        return folder

    return write


@pytest.fixture(scope="session")
def built_by():
    """`built_by("pybuild.py", folder, name)` runs a backend over folder/source; the path of what it made."""

    def run(backend, folder, name, code=0):
        (folder / "output").mkdir()
        done = subprocess.run(
            [sys.executable, "-I", str(BACKENDS / backend)],
            env=environment(folder, name, EPOCH),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return folder / "output" / name

    return run


@pytest.fixture(scope="session")
def package(tmp_path_factory, sources, built_by):
    """A package that pybuild made."""
    folder = tmp_path_factory.mktemp("package")
    sources(folder / "source")
    return built_by("pybuild.py", folder, PACKAGE)
