"""Files as subjects: SHA-256, SHA-512 and size in one pass, and the releases that their names make."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Protocol
from urllib.parse import quote

from attestor.core.errors import Conflict, Missing, Rejected
from attestor.core.naming import Kind, Release, parse_release, release_named
from attestor.core.statement import MAX_SUBJECTS, Subject
from rebuilders.files import replacing

_BLOCK: Final = 1 << 20
MAX_NAME: Final = 255
Advance = Callable[[int], object]
"""Told how many bytes came next."""


class _Sink(Protocol):
    def write(self, block: bytes, /) -> object: ...


def ignore_progress(_: int) -> None:
    """Tell nobody."""


def measure(path: Path, name: str, advance: Advance = ignore_progress) -> Subject:
    """Hash a regular file.

    Raises Missing ``no-file``; Rejected ``not-a-file``; Conflict ``file-changed`` where it changed meanwhile.
    """
    with _opened(path) as file:
        return _measured(file, path, name, None, advance)


def collect(path: Path, target: Path, name: str, mode: int = 0o644) -> Subject:
    """Copy a regular file and hash what was copied; ``target`` appears whole. Errors as :func:`measure`."""
    with _opened(path) as file, replacing(target) as copy:
        subject = _measured(file, path, name, copy, ignore_progress)
        os.fchmod(copy.fileno(), mode)
    return subject


def _opened(path: Path) -> BinaryIO:
    """No link is followed and no pipe waited for: a backend chooses what lies at ``path``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise Missing("no-file", f"There is no file {path}.") from None
    except OSError as error:
        raise Rejected("not-a-file", f"{path} cannot be read as a plain file: {error.strerror}.") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise Rejected("not-a-file", f"{path} is no plain file.")
    return os.fdopen(descriptor, "rb", buffering=0)


def _measured(file: BinaryIO, path: Path, name: str, sink: _Sink | None, advance: Advance) -> Subject:
    before = os.fstat(file.fileno())
    sha256, sha512, size = hashlib.sha256(), hashlib.sha512(), 0
    while block := file.read(_BLOCK):
        sha256.update(block)
        sha512.update(block)
        size += len(block)
        if sink is not None:
            sink.write(block)
        advance(len(block))
    after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or size != after.st_size:
        raise Conflict("file-changed", f"{path} changed while it was read; try again when it is finished.")
    return Subject(name, sha256.digest(), sha512.digest(), size)


def release_of(kind: Kind, file_name: str, purl: str | None, namespace: str | None) -> Release:
    """The release that a file is, by its purl, or by its namespace where the file name says the rest.

    Raises what :func:`attestor.core.naming.parse_release` raises; Rejected ``release-unnamed``.
    """
    if purl is not None:
        return parse_release(kind, purl, file_name)
    for purl_type in ("alpm", "deb", "generic") if namespace else ():
        found = release_named(kind, purl_type, namespace or "", file_name)
        if found is not None:
            return found
    raise Rejected(
        "release-unnamed",
        f"{file_name[:64]!a} and a namespace do not name a release of kind {kind}; give the whole purl (a database always needs it).",
    )


def take_sources(source: Path, target: Path) -> tuple[Subject, ...]:
    """Copy every file below ``source`` into the new folder ``target``, and say what was copied: the inputs of a build.

    A path is an input's name with everything but letters, digits and ``_.-~`` percent-encoded, so ``a/b`` is ``a%2Fb``.
    At most 256 plain files, because a failure names them all. Raises Missing ``no-source``; Rejected ``no-inputs``,
    ``too-many-inputs``, ``not-a-file`` (links and devices), ``input-name-too-long``.
    """
    if not source.is_dir():
        raise Missing("no-source", f"There is no source folder {source}.")
    target.mkdir()
    inputs: list[Subject] = []
    for path in sorted(source.rglob("*")):
        below = path.relative_to(source)
        if path.is_dir() and not path.is_symlink():
            (target / below).mkdir()
            continue
        if len(inputs) == MAX_SUBJECTS:
            raise Rejected(
                "too-many-inputs", f"{source} holds more than {MAX_SUBJECTS} files; pack them into one archive."
            )
        mode = 0o755 if path.lstat().st_mode & stat.S_IXUSR else 0o644
        inputs.append(as_input(collect(path, target / below, input_name(below.as_posix()), mode)))
    if not inputs:
        raise Rejected("no-inputs", f"{source} is empty; a build is attested with its inputs.")
    return tuple(inputs)


def as_input(subject: Subject) -> Subject:
    """Name and SHA-256 alone, so that 256 inputs fit in an envelope twice."""
    return Subject(subject.name, subject.sha256)


def input_name(path: str) -> str:
    """The name of an input: one plain name, and another one for each path."""
    name = quote(path, safe="", errors="surrogateescape")
    if len(name) > MAX_NAME:
        raise Rejected("input-name-too-long", f"The path {path[:64]!a}... makes a name of over {MAX_NAME} characters.")
    return name
