"""Verifiers of tlog-tiles trees that are not ours: built or installed once, run as programs.

An oracle is called with the log's vkey, the tree's folder, its checkpoints' names and whatever else main.go or aics.py reads; it
gives back what it checked, or raises `Refused` with its words.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[3]
SOURCES = ROOT / "tests" / "vectors" / "tlog_oracle"
NOTHING = {"inclusion": [], "consistency": [], "witnesses": []}
PACKAGES = ("aics-tlog", "cffi", "cryptography", "pycparser")


class Refused(Exception):
    """The oracle does not accept the tree."""


@dataclass(frozen=True)
class Oracle:
    command: tuple
    samples: int
    """Entries of each tree whose inclusion it proves, spread evenly; each entry's leaf is compared anyway."""
    environment: dict = field(default_factory=dict)

    def __call__(self, vkey, folder, names, given=NOTHING):
        done = subprocess.run(
            [*self.command, vkey, folder, *names],
            input=json.dumps({**given, "samples": self.samples}),
            capture_output=True,
            text=True,
            env={**os.environ, **self.environment},
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]


def x_mod(dpkg):
    """The folder of golang.org/x/mod that Debian's package brings, or `None`."""
    listed = subprocess.run(
        [dpkg, "--listfiles", "golang-golang-x-mod-dev"], capture_output=True, text=True, timeout=30, check=False
    )
    found = [line for line in listed.stdout.splitlines() if line.endswith("/golang.org/x/mod/sumdb/tlog/tile.go")]
    return Path(found[0]).parents[2] if found else None


def build_go_oracle(go, module, folder):
    """Build main.go against that folder, with no module proxy; give back the program."""
    shutil.copy(SOURCES / "main.go", folder)
    (folder / "go.mod").write_text(
        f"module tlog_oracle\n\ngo 1.17\n\nrequire golang.org/x/mod v0.0.0\n\nreplace golang.org/x/mod => {module}\n"
    )
    offline = {"GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOSUMDB": "off", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    done = subprocess.run(
        [go, "build", "-o", "tlog_oracle", "."],
        cwd=folder,
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "tlog_oracle"


def newer_python():
    """A Python of 3.12 or newer, which aics-tlog needs, and its version such as `3.13`; or `None`.

    This one, one on PATH, or one of pyenv's.
    """
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    known = [shutil.which(f"python3.{minor}") for minor in (13, 12)]
    known += sorted(str(path) for path in pyenv.glob("3.1[2-9]*/bin/python3"))
    for program in [sys.executable, *filter(None, known)]:
        asked = "import sys; print(*sys.version_info[:2], sep='.')"
        said = subprocess.run([program, "-c", asked], capture_output=True, text=True, timeout=30, check=False)
        version = said.stdout.strip()
        # A shim on PATH may name a Python that is not there.
        if said.returncode == 0 and tuple(map(int, version.split("."))) >= (3, 12):
            return program, version
    return None


def pinned():
    """The locked requirements of aics-tlog with their hashes, without markers: pip would judge those by the Python it runs on."""
    blocks = re.split(r"\n(?=\S)", (ROOT / "requirements-dev.lock").read_text("utf-8"))
    ours = [block for block in blocks if block.split("==")[0] in PACKAGES]
    assert len(ours) == len(PACKAGES), "aics-tlog and what it needs are development requirements"
    return "\n".join(re.sub(r" ; .*?(?= \\\n)", "", block) for block in ours) + "\n"


def install_aics(version, folder):
    """Put aics-tlog for that Python version below `folder`; give back pip's complaint, or `None`."""
    ready = folder / "site"
    if ready.is_dir():
        return None
    with tempfile.TemporaryDirectory(dir=folder) as fresh:
        requirements, target = Path(fresh) / "requirements.txt", Path(fresh) / "site"
        requirements.write_text(pinned())
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
        # pip finds packages for the other Python, but would then judge them by its own.
        pip.append("--ignore-requires-python")
        exact = ["--require-hashes", "--only-binary", ":all:", "--python-version", version, "--target", target]
        done = subprocess.run(
            [*pip, *exact, "-r", requirements], capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            return done.stderr
        target.rename(ready)
    return None
