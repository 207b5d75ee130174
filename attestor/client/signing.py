"""``attestor request FILE --wait``: measure, ask, send, wait, and lay the signature beside the file."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attestor.client.calls import AttestorClient, Progress
from attestor.core.errors import Conflict, Missing, Rejected
from attestor.core.wire import Artifact, HashState, Pull, ReleaseName, SigningRequestAsk, SigningRequestView, Upload

_PIECE: Final = 1 << 20
_MOVING: Final = frozenset({"waiting", "queued", "claimed"})


@dataclass(frozen=True, slots=True)
class Signing:
    """Where the request stands after all the patience; ``signature`` is there only when it is ``signed``."""

    request: SigningRequestView
    signature: bytes | None


@dataclass(frozen=True, slots=True)
class Watching:
    """What a terminal shows meanwhile: bytes measured, bytes sent, and each view of the request."""

    measured: Progress = lambda _count: None
    sent: Progress = lambda _count: None
    seen: Callable[[SigningRequestView], None] = lambda _view: None


async def measure(file: Path, progress: Progress) -> Artifact:
    """Size and digests of a file, in one reading. Raises ``Missing`` ``file-missing``, ``Rejected`` ``file-empty``."""
    loop = asyncio.get_running_loop()

    def report(count: int) -> None:
        loop.call_soon_threadsafe(progress, count)

    return await asyncio.to_thread(_measured, file, report)


async def sign_file(  # noqa: PLR0913 - what is asked, each by name
    client: AttestorClient,
    file: Path,
    release: ReleaseName,
    *,
    wait_seconds: float,
    content: Upload | Pull | HashState | None = None,
    bulk: bool = False,
    watching: Watching | None = None,
) -> Signing:
    """Ask for the signature of a file and wait for it; *content* says how the signer gets the bytes (by upload), *bulk* that there is no hurry.

    ``wait_seconds`` 0 asks (and sends) only. Raises what the service raises; a request that is refused, withdrawn or
    set aside is an answer and no error.
    """
    watching = watching or Watching()
    artifact = await measure(file, watching.measured)
    ask = SigningRequestAsk(release=release, artifact=artifact, content=content or Upload(), bulk=bulk)
    view = await client.ask(ask)
    watching.seen(view)
    if isinstance(view.content, Upload) and not view.content_present and view.state in _MOVING:
        view = await client.upload(view.id, file, watching.sent)
        watching.seen(view)
    view = await _settled(client, view, wait_seconds, watching)
    return Signing(view, await client.signature(view.id) if view.state == "signed" else None)


def write_signature(path: Path, signature: bytes, *, overwrite: bool = False) -> None:
    """Write a signature that is there whole and durably or not at all; the same bytes again change nothing.

    Raises ``Conflict`` ``signature-differs`` when other bytes are there and *overwrite* is not said.
    """
    if path.exists() and not overwrite:
        if path.read_bytes() == signature:
            return
        raise Conflict(
            "signature-differs", f"{path} holds another signature: look at it, and say --force to replace it."
        )
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(signature)
            os.fchmod(descriptor, 0o644)
            opened.flush()
            os.fsync(descriptor)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


async def _settled(
    client: AttestorClient, view: SigningRequestView, seconds: float, watching: Watching
) -> SigningRequestView:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while view.state in _MOVING and (left := deadline - loop.time()) > 0:
        view = await client.request(view.id, wait_seconds=max(1, int(left)))
        watching.seen(view)
    return view


def _measured(file: Path, progress: Progress) -> Artifact:
    sha256, sha512, size = hashlib.sha256(), hashlib.sha512(), 0
    try:
        with file.open("rb") as opened:
            while piece := opened.read(_PIECE):
                sha256.update(piece)
                sha512.update(piece)
                size += len(piece)
                progress(len(piece))
    except FileNotFoundError:
        raise Missing("file-missing", f"There is no file {file}.") from None
    except OSError as error:
        raise Rejected("file-unreadable", f"{file} cannot be read: {error.strerror}.") from None
    if not size:
        raise Rejected("file-empty", f"{file} is empty; there is nothing to sign.")
    return Artifact(size=size, sha256=sha256.hexdigest(), sha512=sha512.hexdigest())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
