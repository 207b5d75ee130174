#!/usr/bin/env -S python3 -I
"""Builds a pacman package from a folder of Python sources: compiles them, packs ``.pkg.tar.zst``.

The source folder holds ``PACKAGE.toml`` (pkgname, pkgver, pkgrel, arch, pkgdesc) and ``*.py`` at any depth. Where it also holds
a file ``embed-build-time``, the package records the moment of the build, as too much software does, and no two builds agree.
Formats: makepkg's .PKGINFO, BUILDINFO(5), mtree(5); .pyc by hash (PEP 552).
"""

import gzip
import hashlib
import io
import os
import py_compile
import sys
import tarfile
import tempfile
import time
import tomllib
from collections.abc import Mapping
from importlib.util import cache_from_source
from pathlib import Path
from typing import Final

import zstandard

_LEVEL: Final = 19
_FIELDS: Final = ("pkgname", "pkgver", "pkgrel", "arch", "pkgdesc")
_PACKAGER: Final = "attestor demo <demo@attestor.invalid>"


def main(environment: Mapping[str, str]) -> int:
    """Build what the environment asks for (README.md)."""
    source = Path(environment["ATTESTOR_SOURCE"])
    epoch = int(environment["SOURCE_DATE_EPOCH"])
    recipe = (source / "PACKAGE.toml").read_bytes()
    stated = tomllib.loads(recipe.decode())
    package = {field: str(stated[field]) for field in _FIELDS}
    version = f"{package['pkgver']}-{package['pkgrel']}"
    file_name = f"{package['pkgname']}-{version}-{package['arch']}.pkg.tar.zst"
    if environment["ATTESTOR_RELEASE"] != file_name:
        print(f"The source makes {file_name}, not {environment['ATTESTOR_RELEASE']}")  # noqa: T201 - the build's log
        return 1
    installed = _compiled(source, f"usr/lib/{package['pkgname']}")
    if (source / "embed-build-time").exists():
        installed[f"usr/lib/{package['pkgname']}/BUILD_TIME"] = f"{time.time_ns()}\n".encode()
    files = _with_metadata(installed, package | {"version": version}, recipe, epoch)
    packed = zstandard.ZstdCompressor(level=_LEVEL, threads=0, write_checksum=True).compress(_tar(files, epoch))
    (Path(environment["ATTESTOR_OUTPUT"]) / file_name).write_bytes(packed)
    print(f"{file_name}: {len(files)} files, {len(packed)} bytes")  # noqa: T201 - the build's log
    return 0


def _compiled(source: Path, prefix: str) -> dict[str, bytes]:
    """Every source and its .pyc, by installed path. The path compiled in is the installed one, not the build's."""
    files: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as scratch:
        compiled = Path(scratch) / "compiled.pyc"
        for path in sorted(source.rglob("*.py")):
            installed = f"{prefix}/{path.relative_to(source).as_posix()}"
            py_compile.compile(
                str(path),
                cfile=str(compiled),
                dfile=f"/{installed}",
                doraise=True,
                invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
            )
            files[installed] = path.read_bytes()
            files[cache_from_source(installed)] = compiled.read_bytes()
    return files


def _with_metadata(installed: dict[str, bytes], package: dict[str, str], recipe: bytes, epoch: int) -> dict[str, bytes]:
    described = {
        ".BUILDINFO": _build_info(package, recipe, epoch),
        ".PKGINFO": _package_info(package, epoch, sum(map(len, installed.values()))),
    }
    content = described | installed
    # makepkg's order: the metadata, then the tree.
    return {**described, ".MTREE": _mtree(content, epoch), **dict(sorted(installed.items()))}


def _lines(values: dict[str, str]) -> bytes:
    return "".join(f"{key} = {value}\n" for key, value in values.items()).encode()


def _package_info(package: dict[str, str], epoch: int, size: int) -> bytes:
    return _lines(
        {
            "pkgname": package["pkgname"],
            "pkgbase": package["pkgname"],
            "xdata": "pkgtype=pkg",
            "pkgver": package["version"],
            "pkgdesc": package["pkgdesc"],
            "builddate": str(epoch),
            "packager": _PACKAGER,
            "size": str(size),
            "arch": package["arch"],
            "license": "Apache-2.0",
            "depend": f"python>={sys.version_info.major}.{sys.version_info.minor}",
        }
    )


def _build_info(package: dict[str, str], recipe: bytes, epoch: int) -> bytes:
    return _lines(
        {
            "format": "2",
            "pkgname": package["pkgname"],
            "pkgbase": package["pkgname"],
            "pkgver": package["version"],
            "pkgarch": package["arch"],
            "pkgbuild_sha256sum": hashlib.sha256(recipe).hexdigest(),
            "packager": _PACKAGER,
            "builddate": str(epoch),
            # A fixed name: no byte of the package depends on where it was built.
            "builddir": "/build",
            "startdir": "/build",
            "buildtool": "pybuild",
            "buildtoolver": sys.version.split()[0],
        }
    )


def _mtree(files: dict[str, bytes], epoch: int) -> bytes:
    lines = ["#mtree", "/set type=file uid=0 gid=0 mode=644"]
    for path, content in sorted(_tree(files).items()):
        stamp = f"./{path} time={epoch}.0"
        if content is None:
            lines.append(f"{stamp} mode=755 type=dir")
        else:
            lines.append(f"{stamp} size={len(content)} sha256digest={hashlib.sha256(content).hexdigest()}")
    return gzip.compress("\n".join([*lines, ""]).encode(), mtime=0)


def _tree(files: dict[str, bytes]) -> dict[str, bytes | None]:
    """The files and, as ``None``, the folders above them."""
    folders = {str(folder): None for path in files for folder in Path(path).parents if folder != Path()}
    return {**folders, **files}


def _tar(files: dict[str, bytes], epoch: int) -> bytes:
    metadata = [path for path in files if path.startswith(".")]
    tree = _tree(files)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in [*metadata, *sorted(tree.keys() - set(metadata))]:
            entry, content = tarfile.TarInfo(path), tree[path]
            entry.uname = entry.gname = "root"
            entry.mtime = epoch
            entry.type, entry.mode = (tarfile.DIRTYPE, 0o755) if content is None else (tarfile.REGTYPE, 0o644)
            entry.size = len(content or b"")
            tar.addfile(entry, io.BytesIO(content or b""))
    return packed.getvalue()


if __name__ == "__main__":
    sys.exit(main(os.environ))
