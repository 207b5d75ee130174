"""The child that opens untrusted bytes with libarchive as pacman does, and prints what it saw as one JSON line.

Run by :mod:`attestor.content.inspect` as ``python -I inspector.py FD LIMITS``: a program of its own that imports nothing
of attestor. It judges nothing. Exit codes: 0 answered, 3 no libarchive; anything else means that it broke.
"""

import base64
import ctypes
import json
import os
import resource
import signal
import stat
import sys
from typing import Any, Final

_BLOCK: Final = 1 << 20
_HEAD_BYTES: Final = 512
_VOLUME_OFFSET: Final = 32768
_PACKAGE_INFO_LIMIT: Final = 64 << 10
_PR_SET_NO_NEW_PRIVS: Final = 38
_NO_LIBRARY: Final = 3
# libarchive shows one of an ISO9660's trees, and which one differs between versions; each is looked at.
_OTHER_TREES: Final = (b"iso9660:!rockridge", b"iso9660:!rockridge,iso9660:!joliet")
_TYPES: Final = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


class _StoppedError(Exception):
    """The walk ends here: a limit, or an entry that cannot be told."""


class _Walk:
    """One run of facts, shared by all trees of one file, and the limits that it keeps."""

    def __init__(self, fd: int, limits: dict[str, int], libarchive: Any) -> None:
        self._fd = fd
        self._limits = limits
        self._library = libarchive
        self._ffi = libarchive.ffi
        self._buffer = ctypes.create_string_buffer(_BLOCK)
        self._bytes = 0
        self.entries: list[tuple[str, str]] = []
        self.format = ""
        self.filters: list[str] = []
        self.package_info: str | None = None
        self.warnings = 0
        self.trouble = ""

    def run(self) -> None:
        self._tree(None)
        if self.format.startswith("ISO9660"):
            for options in _OTHER_TREES:
                self._tree(options)

    def _tree(self, options: bytes | None) -> None:
        os.lseek(self._fd, 0, os.SEEK_SET)
        with self._library.read.new_archive_read() as archive:
            try:
                if options:
                    self._ffi.read_set_options(archive, options)
                self._ffi.read_open_fd(archive, self._fd, 1 << 16)
                self._entries(archive)
            except _StoppedError as over:
                self.trouble = str(over)
            except self._library.ArchiveError as error:
                self.trouble = self._explained(archive, error)
            finally:
                self._describe(archive)

    def _entries(self, archive: Any) -> None:
        entry = self._library.entry.ArchiveEntry(archive)
        while True:
            code = self._ffi.read_next_header2(archive, entry._entry_p)  # noqa: SLF001 - the wrapper hides the warning code
            if code == self._ffi.ARCHIVE_EOF:
                return
            self.warnings += code != self._ffi.ARCHIVE_OK
            self._entry(archive, entry._entry_p)  # noqa: SLF001 - as above

    def _entry(self, archive: Any, pointer: Any) -> None:
        if len(self.entries) >= self._limits["entries"]:
            raise _StoppedError(f"more than {self._limits['entries']} entries")
        path = self._path(pointer)
        self.entries.append((self._type(pointer), path))
        if path == ".PKGINFO" and self.package_info is None:
            self.package_info = self._text(archive)
        elif self._ffi.filter_count(archive) > 1:
            # Reading, not skipping: a skip would unpack a bomb inside one call, out of reach of the count.
            self._read_through(archive)

    def _path(self, pointer: Any) -> str:
        raw: bytes | None = self._ffi.entry_pathname(pointer)
        if raw is None:
            raise _StoppedError("an entry whose name cannot be read")
        return raw.decode("utf-8", "backslashreplace")

    def _type(self, pointer: Any) -> str:
        if self._ffi.entry_hardlink(pointer) is not None:
            return "hardlink"
        return _TYPES.get(stat.S_IFMT(self._ffi.entry_filetype(pointer)), "other")

    def _text(self, archive: Any) -> str:
        text = b""
        while got := self._read(archive):
            text += self._buffer.raw[:got]
            if len(text) > _PACKAGE_INFO_LIMIT:
                raise _StoppedError(f"a .PKGINFO of more than {_PACKAGE_INFO_LIMIT} bytes")
        return text.decode("utf-8", "backslashreplace")

    def _read_through(self, archive: Any) -> None:
        while self._read(archive):
            pass

    def _read(self, archive: Any) -> int:
        got = int(self._ffi.read_data(archive, self._buffer, _BLOCK))
        self.warnings += got < 0
        self._bytes += max(got, 0)
        if self._bytes > self._limits["unpacked_bytes"]:
            raise _StoppedError(f"more than {self._limits['unpacked_bytes']} bytes when unpacked")
        return max(got, 0)

    def _describe(self, archive: Any) -> None:
        self.filters = self.filters or _names_of_filters(self._ffi, archive)
        self.format = self.format or _ascii(self._ffi.format_name(archive) or b"")

    def _explained(self, archive: Any, error: Any) -> str:
        unknown = str(error.msg) == "Unrecognized archive format"
        plain = not self._ffi.format_name(archive) and not _names_of_filters(self._ffi, archive)
        return "" if unknown and plain and not self.entries else _ascii(str(error.msg).encode())[:200] or "an error"


def _names_of_filters(ffi: Any, archive: Any) -> list[str]:
    names = [ffi.filter_name(archive, index) for index in range(ffi.filter_count(archive))]
    return [_ascii(name) for name in names if name and name != b"none"]


def _ascii(text: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "?" for byte in text)


def _confine(limits: dict[str, int]) -> None:
    """Before the library is loaded: time, memory, nothing written, no core, no new rights."""
    signal.setitimer(signal.ITIMER_REAL, limits["deadline_seconds"])
    cpu = limits["cpu_seconds"]
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 1))
    resource.setrlimit(resource.RLIMIT_AS, (limits["memory_bytes"], limits["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def _load() -> Any:
    import libarchive
    import libarchive.read

    ffi = libarchive.ffi
    ffi.ffi("read_set_options", [ffi.c_archive_p, ctypes.c_char_p], ctypes.c_int, ffi.check_int)
    return libarchive


def main(fd: int, limits: dict[str, int]) -> int:
    """Inspect the file behind ``fd`` within ``limits`` and print the facts."""
    _confine(limits)
    try:
        library = _load()
    except (ImportError, OSError, TypeError, AttributeError):
        return _NO_LIBRARY
    # An mtree may name files of the host, and the lrzip and grzip filters start programs: neither gets a descriptor.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))
    walk = _Walk(fd, limits, library)
    walk.run()
    facts = {
        "size": os.fstat(fd).st_size,
        "head": base64.b64encode(os.pread(fd, _HEAD_BYTES, 0)).decode(),
        "volume": base64.b64encode(os.pread(fd, 8, _VOLUME_OFFSET)).decode(),
        "format": walk.format,
        "filters": walk.filters,
        "entries": walk.entries,
        "package_info": walk.package_info or "",
        "warnings": walk.warnings,
        "trouble": walk.trouble,
    }
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), json.loads(sys.argv[2])))
