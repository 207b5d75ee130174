#!/usr/bin/env -S python3 -I
"""Makes a repository database from a folder of packages: ``NAME.db.tar.gz`` as repo-add writes it, always the same bytes."""

import gzip
import hashlib
import io
import os
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import zstandard

# repo-add's order; what a package does not state is left out.
_FIELDS: Final = {
    "pkgname": "NAME",
    "pkgbase": "BASE",
    "pkgver": "VERSION",
    "pkgdesc": "DESC",
    "group": "GROUPS",
    "size": "ISIZE",
    "url": "URL",
    "license": "LICENSE",
    "arch": "ARCH",
    "builddate": "BUILDDATE",
    "packager": "PACKAGER",
    "replaces": "REPLACES",
    "conflict": "CONFLICTS",
    "provides": "PROVIDES",
    "depend": "DEPENDS",
    "optdepend": "OPTDEPENDS",
    "makedepend": "MAKEDEPENDS",
    "checkdepend": "CHECKDEPENDS",
}


def main(environment: Mapping[str, str]) -> int:
    """Build what the environment asks for (README.md)."""
    epoch = int(environment["SOURCE_DATE_EPOCH"])
    packages = sorted(Path(environment["ATTESTOR_SOURCE"]).glob("*.pkg.tar.zst"))
    entries = dict(sorted(_entry(package) for package in packages))
    if not packages or len(entries) != len(packages):
        print("The source must hold packages, each name and version once")  # noqa: T201 - the build's log
        return 1
    database = gzip.compress(_tar(entries, epoch), mtime=0)
    (Path(environment["ATTESTOR_OUTPUT"]) / environment["ATTESTOR_RELEASE"]).write_bytes(database)
    print(f"{environment['ATTESTOR_RELEASE']}: {len(entries)} packages")  # noqa: T201 - the build's log
    return 0


def _entry(package: Path) -> tuple[str, bytes]:
    """The folder's name and the ``desc`` of one package."""
    packed = package.read_bytes()
    said = _package_info(packed)
    sections = [("FILENAME", [package.name])]
    for key, title in _FIELDS.items():
        if key == "size":
            sections.append(("CSIZE", [str(len(packed))]))
        if key == "url":
            sections.append(("SHA256SUM", [hashlib.sha256(packed).hexdigest()]))
        sections.append((title, said.get(key, [])))
    text = "".join(f"%{title}%\n" + "\n".join(values) + "\n\n" for title, values in sections if values)
    return f"{said['pkgname'][0]}-{said['pkgver'][0]}", text.encode()


def _package_info(packed: bytes) -> dict[str, list[str]]:
    with (
        zstandard.ZstdDecompressor().stream_reader(packed) as unpacked,
        tarfile.open(fileobj=unpacked, mode="r|") as tar,
    ):
        for member in tar:
            if member.name == ".PKGINFO" and (file := tar.extractfile(member)):
                return _values(file.read().decode())
    raise ValueError("a package without .PKGINFO")


def _values(text: str) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, separator, value = line.partition(" = ")
        if separator and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


def _tar(entries: dict[str, bytes], epoch: int) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for folder, desc in entries.items():
            for path, content in ((folder, None), (f"{folder}/desc", desc)):
                entry = tarfile.TarInfo(path)
                entry.uname = entry.gname = "root"
                entry.mtime = epoch
                entry.type, entry.mode = (tarfile.DIRTYPE, 0o755) if content is None else (tarfile.REGTYPE, 0o644)
                entry.size = len(content or b"")
                tar.addfile(entry, io.BytesIO(content or b""))
    return packed.getvalue()


if __name__ == "__main__":
    sys.exit(main(os.environ))
