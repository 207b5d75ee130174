"""What the demo's operators build: small Python programs, and the content of a database and two images."""

from pathlib import Path
from typing import Final

from attestor.app.house import rebuilder_folder

_PACKAGE: Final = """pkgname = "{name}"
pkgver = "{version}"
pkgrel = "1"
arch = "any"
pkgdesc = "{description}"
"""
_PROGRAMS: Final = {
    "hello": ("1.0", "Says hello", 'print("hello")\n'),
    "clock": ("2.1", "Tells the time", "import time\n\nprint(time.ctime())\n"),
    "notes": ("0.3", "Keeps notes", 'import sys\n\nopen("notes", "a").write(sys.stdin.read())\n'),
}
_NOT_REPRODUCIBLE: Final = ("carol", "clock")


def lay_out(folder: Path) -> None:
    """Give each operator its own copy of the sources; carol's copy of clock embeds the time of its build."""
    for operator in ("alice", "bob", "carol"):
        for name, (version, description, program) in _PROGRAMS.items():
            source = source_folder(folder, operator, f"{name}-package")
            _write_package(source, name, version, description)
            (source / "main.py").write_text(program)
            if (operator, name) == _NOT_REPRODUCIBLE:
                (source / "embed-build-time").touch()
    (source_folder(folder, "release-host", "demo-iso") / "README.TXT").write_text("Boot me, if you can.\n")
    (source_folder(folder, "release-host", "demo-vm") / "disk.raw").write_bytes(b"A disk.".ljust(1 << 20, b"\0"))


def go_back(folder: Path, operator: str) -> None:
    """Give one operator the sources of an older hello."""
    _write_package(source_folder(folder, operator, "hello-package"), "hello", "0.9", "Says hello")


def source_folder(folder: Path, operator: str, name: str) -> Path:
    """The sources of one thing, as one operator has them."""
    home = rebuilder_folder(folder, operator)
    (home / "output").mkdir(exist_ok=True)
    source = home / "sources" / name
    source.mkdir(parents=True, exist_ok=True)
    return source


def _write_package(source: Path, name: str, version: str, description: str) -> None:
    (source / "PACKAGE.toml").write_text(_PACKAGE.format(name=name, version=version, description=description))
