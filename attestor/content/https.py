"""Pull roots over HTTPS: one GET into an unnamed private file. The server is not trusted; the digests decide later."""

import asyncio
import os
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from attestor.content.measure import refuse_open_folder, scratch_failed, write_all
from attestor.content.threads import BATCH, batches, in_thread
from attestor.core.errors import Missing, Rejected, TooLarge, Unavailable

_MAX_REDIRECTS: Final = 3


@dataclass(frozen=True, slots=True)
class HttpsRoot:
    """A base address, ending in a slash; paths below are joined to it. ``deadline_seconds`` is for one whole content."""

    url: str
    deadline_seconds: float
    ca_file: Path | None = None
    """PEM; without it the system's own CAs."""
    client_certificate: Path | None = None
    """PEM with the chain and its private key."""

    def __post_init__(self) -> None:
        if not self.url.startswith("https://") or not self.url.endswith("/"):
            raise Rejected(
                "content-root-invalid", f"A pull root's address is https://HOST/PATH/, not {self.url[:128]!r}."
            )


async def fetch(root: HttpsRoot, parts: Sequence[str], *, scratch: Path, max_bytes: int, held: list[int]) -> None:
    """Put a descriptor of the fetched content into ``held``, at once, so that the caller closes it whatever happens here.

    Raises ``Missing`` (``content-missing``), ``TooLarge`` (``content-too-large``), ``Unavailable`` (``content-unavailable``,
    ``scratch-not-private``, ``scratch-failed``).
    """
    held.append(_unnamed_file(scratch))
    # yarl would decode and encode again; the path must reach the server exactly as quoted here.
    url = URL(root.url + "/".join(quote(part, safe="") for part in parts), encoded=True)
    try:
        async with asyncio.timeout(root.deadline_seconds), _session(root) as session:
            await _download(session, url, held[0], max_bytes)
    except TimeoutError:
        raise _unavailable(url, f"no full answer within {root.deadline_seconds} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise _unavailable(url, str(error) or type(error).__name__) from error


def _unnamed_file(scratch: Path) -> int:
    refuse_open_folder(scratch)
    try:
        with tempfile.TemporaryFile(dir=scratch, buffering=0) as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise scratch_failed(error) from error


def _session(root: HttpsRoot) -> aiohttp.ClientSession:
    try:
        context = ssl.create_default_context(cafile=root.ca_file)
        if root.client_certificate is not None:
            context.load_cert_chain(root.client_certificate)
    except OSError as error:
        raise Unavailable("content-unavailable", f"The certificates of {root.url} cannot be read: {error}.") from error
    # What the server compressed for the way is not the artifact; bytes are taken as they come.
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=context),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def _download(session: aiohttp.ClientSession, url: URL, target: int, max_bytes: int) -> None:
    for _ in range(_MAX_REDIRECTS + 1):
        async with session.get(url, allow_redirects=False) as response:
            if response.status not in {301, 302, 303, 307, 308}:
                await _store(response, target, max_bytes)
                return
            url = _same_place(url, response.headers.get("Location", ""))
    raise _unavailable(url, f"more than {_MAX_REDIRECTS} redirects")


def _same_place(url: URL, location: str) -> URL:
    try:
        target = url.join(URL(location, encoded=True))
    except ValueError:
        raise _unavailable(url, "a redirect to no address") from None
    if target.origin() != url.origin():
        raise _unavailable(url, "a redirect to another host, which is not followed")
    return target


async def _store(response: aiohttp.ClientResponse, target: int, max_bytes: int) -> None:
    if response.status in {404, 410}:
        raise Missing("content-missing", f"There is nothing at {response.url} (yet).")
    if response.status != 200:
        raise _unavailable(response.url, f"status {response.status}")
    _refuse_large(response.content_length or 0, max_bytes)
    size = 0
    async for piece in batches(response.content.iter_chunked(BATCH)):
        size += len(piece)
        _refuse_large(size, max_bytes)
        await _append(target, piece)


async def _append(target: int, piece: bytes) -> None:
    await in_thread(lambda _stop: write_all(target, piece))


def _refuse_large(size: int, limit: int) -> None:
    if size > limit:
        raise TooLarge("content-too-large", f"The content has {size} bytes or more; the limit is {limit}.")


def _unavailable(url: URL, why: str) -> Unavailable:
    return Unavailable("content-unavailable", f"{url} gave no content: {why}.")
