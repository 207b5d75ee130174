"""The use cases: say something once, build and say what came of it.

The order that a crash cannot spoil: build, hash, keep the signed envelope, send. Asked again for the same thing, the kept
bytes are sent again, so that a retry is a replay for the service and never a second statement.
"""

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from attestor.core.envelope import IN_TOTO, MAX_ENVELOPE_BYTES, parse_envelope, refuse_oversized
from attestor.core.errors import AttestorError, Conflict, Missing, Rejected
from attestor.core.naming import Release
from attestor.core.statement import RebuildStatement, rebuild_payload
from rebuilders.artifact import collect, take_sources
from rebuilders.backend import Backend, Build, build, find_command
from rebuilders.files import write_new
from rebuilders.keyfile import SigningKey

_PREFIX: Final = "attestor-build-"
_SUFFIX: Final = ".envelope.json"


@dataclass(frozen=True, slots=True)
class Job:
    """One release to build."""

    release: Release
    source: Path
    """Copied, file by file, into the clean folder."""
    backend: Backend
    output: Path
    """The folder that gets the finished file and its ``.log``."""
    keep: bool = False
    """Keep the clean folder, to look into."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a build came to, ready to be signed."""

    statement: RebuildStatement
    why: str
    """Why it failed; empty where it was built."""
    kept: Path | None
    """The build's folder, where it was to be kept."""


def said_once(state: Path, statement: RebuildStatement, key: SigningKey) -> bytes:
    """The signed envelope for a statement; the one that was made before, where only times and log differ.

    It lies in ``state`` before it is returned. Raises Rejected ``state-unreadable``, and as
    :func:`attestor.core.statement.rebuild_payload`.
    """
    path = state / f"{_same_thing(statement, key)}{_SUFFIX}"
    if path.exists():
        return _kept(path)
    envelope = signed(statement, key)
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        write_new(path, envelope)
    except Conflict:
        # Another run of this rebuilder was first, and what it says may be on its way already.
        return _kept(path)
    return envelope


def signed(statement: RebuildStatement, key: SigningKey) -> bytes:
    """Sign a statement. Raises as :func:`~attestor.core.statement.rebuild_payload`, and TooLarge."""
    envelope = key.envelope(IN_TOTO, rebuild_payload(statement))
    refuse_oversized(envelope)
    return envelope


def forget(state: Path, payload_digest: bytes) -> None:
    """Drop the kept envelope of a payload that is being withdrawn: it would stay withdrawn if it were sent again."""
    for path in state.glob(f"*{_SUFFIX}"):
        if parse_envelope(_kept(path)).payload_digest == payload_digest:
            path.unlink()


def _same_thing(statement: RebuildStatement, key: SigningKey) -> str:
    timeless = replace(statement, started_on=None, finished_on=None, log_digest=None)
    return hashlib.sha256(key.public_key.spki + rebuild_payload(timeless)).hexdigest()


def _kept(path: Path) -> bytes:
    with path.open("rb") as file:
        envelope = file.read(MAX_ENVELOPE_BYTES + 1)
    try:
        parse_envelope(envelope)
    except AttestorError as error:
        raise Rejected("state-unreadable", f"{path} is damaged ({error.code}); remove it to sign anew.") from error
    return envelope


async def rebuild(job: Job, clock: Callable[[], datetime]) -> Rebuilt:
    """Do a job; ``clock`` gives the times before and after, in UTC. A build that fails is a result, not an error.

    Raises Missing ``no-backend``, ``no-output``, and as :func:`rebuilders.artifact.take_sources`.
    """
    _refuse_unready(job)
    with ExitStack() as cleanup:
        parent = _work_folder(cleanup, keep=job.keep)
        folder = parent / "build"
        folder.mkdir()
        inputs = take_sources(job.source, folder / "source")
        started = clock()
        # Beside the build's folder, so that its name is not the backend's to choose.
        with (parent / "log").open("wb") as log:
            done = await build(job.backend, folder, job.release.file_name, log)
        collect(parent / "log", job.output / f"{job.release.file_name}.log", "log")
        tried = RebuildStatement(job.release, "failed", None, inputs, started, clock(), done.log_digest)
        statement, why = _collected(tried, done, job.output)
    return Rebuilt(statement, why, folder if job.keep else None)


def _refuse_unready(job: Job) -> None:
    find_command(job.backend.command)
    if not job.output.is_dir():
        raise Missing("no-output", f"There is no folder {job.output}; make it first.")


def _work_folder(cleanup: ExitStack, *, keep: bool) -> Path:
    if keep:
        return Path(tempfile.mkdtemp(prefix=_PREFIX))
    return Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)))


def _collected(tried: RebuildStatement, done: Build, output: Path) -> tuple[RebuildStatement, str]:
    if done.artifact is None:
        return tried, done.why
    name = tried.release.file_name
    try:
        subject = collect(done.artifact, output / name, name)
    except AttestorError as error:
        return tried, error.sentence
    return replace(tried, outcome="built", subject=subject), ""
