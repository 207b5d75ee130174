#!/usr/bin/env -S python3 -I
"""Makes a small image: an ISO9660 of the source's files (``*.iso``), or a qcow2 disk of its ``disk.raw`` (``*.qcow2``).

Written by hand: libarchive's and xorriso's ISO writers stamp the moment into the image. ISO9660: ECMA-119, level 1, one
folder. qcow2: QEMU's docs/interop/qcow2, version 3, clusters of 64 KiB, those that hold only zeros left out.
"""

import os
import struct
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

_SECTOR: Final = 2048
_ROOT_SECTOR: Final = 20
_PADDING: Final = 16
"""Sectors at the end: readers such as libarchive ask for several after the descriptors, which a tiny image lacks."""
_CLUSTER: Final = 1 << 16
_MAX_DISK: Final = _CLUSTER * _CLUSTER // 8
"""What one second-level table maps: 512 MiB."""
_COPIED: Final = 1 << 63


def main(environment: Mapping[str, str]) -> int:
    """Build what the environment asks for (README.md)."""
    source, name = Path(environment["ATTESTOR_SOURCE"]), environment["ATTESTOR_RELEASE"]
    if name.endswith(".iso"):
        files = {path.name: path.read_bytes() for path in sorted(source.iterdir())}
        image = iso9660(files, int(environment["SOURCE_DATE_EPOCH"]))
    else:
        image = qcow2((source / "disk.raw").read_bytes())
    (Path(environment["ATTESTOR_OUTPUT"]) / name).write_bytes(image)
    print(f"{name}: {len(image)} bytes")  # noqa: T201 - the build's log
    return 0


def iso9660(files: dict[str, bytes], epoch: int) -> bytes:
    """An image whose root holds the files, under names such as ``README.TXT``; the root must fit in one sector."""
    named = sorted((_iso_name(name), content) for name, content in files.items())
    sector, extents, records = _ROOT_SECTOR + 1, b"", b""
    for name, content in named:
        records += _record(sector, len(content), epoch, name, folder=False)
        extents += _padded(content)
        sector += _sectors(content)
    here, above = (_record(_ROOT_SECTOR, _SECTOR, epoch, one, folder=True) for one in (b"\x00", b"\x01"))
    root = here + above + records
    if len(root) > _SECTOR:
        raise ValueError("too many files for one folder of one sector")
    tables = b"".join(_padded(struct.pack(f"{order}BBIHBB", 1, 0, _ROOT_SECTOR, 1, 0, 0)) for order in "<>")
    terminator = _padded(b"\xffCD001\x01")
    head = bytes(16 * _SECTOR) + _primary(here, sector + _PADDING, epoch) + terminator + tables
    return head + _padded(root) + extents + bytes(_PADDING * _SECTOR)


def _iso_name(name: str) -> bytes:
    """ECMA-119 §7.5, §10.1: eight, a dot, three; upper-case letters, digits and underscores."""
    stem, _, suffix = name.upper().partition(".")
    if not (0 < len(stem) <= 8 and len(suffix) <= 3 and (stem + suffix).replace("_", "A").isalnum() and name.isascii()):
        raise ValueError(f"{name!r} is no name of ISO9660 level 1")
    return f"{stem}.{suffix};1".encode()


def _sectors(content: bytes) -> int:
    return -(-len(content) // _SECTOR)


def _padded(content: bytes) -> bytes:
    return content.ljust(_sectors(content) * _SECTOR, b"\x00")


def _both(value: int, size: str) -> bytes:
    """ECMA-119 §7.2.3, §7.3.3: least significant byte first, then the same the other way round."""
    return struct.pack(f"<{size}", value) + struct.pack(f">{size}", value)


def _record(sector: int, size: int, epoch: int, name: bytes, *, folder: bool) -> bytes:
    """ECMA-119 §9.1."""
    moment = time.gmtime(epoch)
    stamp = bytes([moment.tm_year - 1900, *moment[1:6], 0])
    body = _both(sector, "I") + _both(size, "I") + stamp + bytes([2 if folder else 0, 0, 0]) + _both(1, "H")
    body += bytes([len(name)]) + name
    body += bytes(len(body) % 2)
    return bytes([len(body) + 2, 0]) + body


def _primary(root: bytes, sectors: int, epoch: int) -> bytes:
    """ECMA-119 §8.4: the primary volume descriptor."""
    stamp = time.strftime("%Y%m%d%H%M%S00", time.gmtime(epoch)).encode() + b"\x00"
    never = b"0" * 16 + b"\x00"
    return b"".join(
        (
            b"\x01CD001\x01\x00",
            b" " * 32,
            b"ATTESTOR_DEMO".ljust(32),
            bytes(8),
            _both(sectors, "I"),
            bytes(32),
            _both(1, "H"),
            _both(1, "H"),
            _both(_SECTOR, "H"),
            _both(10, "I"),
            struct.pack("<II", 18, 0) + struct.pack(">II", 19, 0),
            root,
            b" " * (4 * 128 + 3 * 37),
            stamp + stamp + never + never,
            b"\x01\x00",
        )
    ).ljust(_SECTOR, b"\x00")


def qcow2(disk: bytes) -> bytes:
    """A disk image: header, refcount table, refcount block, both levels of the cluster table, data; one cluster each."""
    if not disk or len(disk) % 512 or len(disk) > _MAX_DISK:
        raise ValueError(f"a disk is whole sectors of 512 bytes, at most {_MAX_DISK} bytes")
    parts = (disk[at : at + _CLUSTER].ljust(_CLUSTER, b"\x00") for at in range(0, len(disk), _CLUSTER))
    mapping, data = b"", b""
    for part in parts:
        entry = _COPIED | (5 * _CLUSTER + len(data)) if any(part) else 0
        mapping += struct.pack(">Q", entry)
        data += part if entry else b""
    clusters = 5 + len(data) // _CLUSTER
    tables = (
        struct.pack(">Q", 2 * _CLUSTER),
        struct.pack(">H", 1) * clusters,
        struct.pack(">Q", _COPIED | 4 * _CLUSTER),
        mapping,
    )
    header = struct.pack(
        # magic, version, no backing file, cluster bits, size, no encryption, L1 entries, L1 offset, refcount table
        # offset and clusters, no snapshots, no features, refcounts of 16 bits, header length.
        ">4sIQIIQIIQQIIQQQQII",
        *(b"QFI\xfb", 3, 0, 0, 16, len(disk), 0, 1, 3 * _CLUSTER, _CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104),
    )
    return b"".join(part.ljust(_CLUSTER, b"\x00") for part in (header, *tables)) + data


if __name__ == "__main__":
    sys.exit(main(os.environ))
