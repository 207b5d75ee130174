"""Witnesses over HTTP (C2SP tlog-witness v1.0.0, port ``Witness``): one request, and every answer that it may have."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

import aiohttp

from attestor.core.errors import AttestorError, Halted, Malformed, Rejected, Unavailable
from attestor.core.tlog.checkpoint import parse_checkpoint_text
from attestor.core.tlog.cosignature import cosignatures
from attestor.core.tlog.grammar import read_decimal, write_base64
from attestor.core.tlog.note import Note, VerifierKey, parse_note
from attestor.core.tlog.witnessing import encode_add_checkpoint
from attestor.service.logports import WitnessAt

MAX_ANSWER_BYTES: Final = 64 << 10
"""A witness with several keys, one of them ML-DSA, answers with a tenth of it."""

_SIZE_TYPE: Final = "text/x.tlog.size"
_QUOTED: Final = 200
_LATER: Final = frozenset({408, 425, 429})


class HttpWitness:
    """The witness *name* of the policy, whose cosignatures *key* verifies, below the submission prefix *url*.

    Use as a context. *deadline_seconds* is for one whole answer.
    """

    def __init__(self, name: str, key: VerifierKey, url: str, *, deadline_seconds: float) -> None:
        self.name: Final = name
        self._key = key
        self._url = f"{url.rstrip('/')}/add-checkpoint"
        self._deadline = deadline_seconds
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"Accept-Encoding": "identity"},
            # A few bytes on the way must not become many here.
            auto_decompress=False,
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def add_checkpoint(self, old_size: int, proof: Sequence[bytes], checkpoint: bytes) -> str | WitnessAt:
        note = parse_note(checkpoint)
        status, kind, raw = await self._post(encode_add_checkpoint(old_size, proof, checkpoint))
        if status == 200:
            return self._own_line(note, raw)
        # Version 1.0.0 answers another root at the same size with 409 too, some witnesses without a type, some with that size.
        if status == 409 and kind == _SIZE_TYPE and (told := self._size(raw)) != old_size:
            return WitnessAt(told)
        raise self._refusal(status, raw, note)

    async def _post(self, body: bytes) -> tuple[int, str, bytes]:
        try:
            async with (
                asyncio.timeout(self._deadline),
                self._session.post(self._url, data=body, allow_redirects=False) as response,
            ):
                return response.status, response.content_type, await self._bounded(response)
        except TimeoutError:
            raise self._unavailable(f"no whole answer within {self._deadline} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._unavailable(str(error) or type(error).__name__) from error

    async def _bounded(self, response: aiohttp.ClientResponse) -> bytes:
        raw = bytearray()
        async for piece in response.content.iter_any():
            raw += piece
            if len(raw) > MAX_ANSWER_BYTES:
                raise self._unreadable(f"more than {MAX_ANSWER_BYTES} bytes")
        return bytes(raw)

    def _own_line(self, note: Note, raw: bytes) -> str:
        """The witness's own cosignature among the lines, as tlog-witness reads them: as signatures of the note."""
        try:
            answered = parse_note(note.text.encode() + b"\n" + raw)
        except Malformed:
            raise self._unreadable(f"no signature lines but {_quoted(raw)}") from None
        if answered.text != note.text:
            raise self._unreadable(f"no signature lines but {_quoted(raw)}")
        if not cosignatures(answered, [self._key]):
            raise Rejected(
                "witness-silent",
                f"The witness {self.name} answered without a cosignature of the key that the policy names, {self._key.text}; "
                "compare it with the vkey that the witness publishes.",
            )
        own = (self._key.name, self._key.key_id)
        return next(line.text for line in answered.lines if (line.name, line.key_id) == own)

    def _size(self, raw: bytes) -> int:
        with suppress(ValueError):
            line, newline, rest = raw.decode("ascii").partition("\n")
            if newline and not rest:
                return read_decimal(line)
        raise self._unreadable(f"no tree size but {_quoted(raw)}")

    def _refusal(self, status: int, raw: bytes, note: Note) -> AttestorError:
        said = f"The witness {self.name} answered {status} ({_quoted(raw)})"
        origin = parse_checkpoint_text(note.text).origin
        match status:
            case 409 | 422:
                return self._split_view(said, note)
            case 404:
                return Rejected("witness-unknown-origin", f"{said}: ask its operator to add the log {origin}.")
            case 403:
                return Rejected(
                    "witness-forbidden",
                    f"{said}: it trusts another key for the log {origin}, or does not know this log; give its operator the vkey.",
                )
            case 400:
                return Rejected(
                    "witness-request", f"{said}: it reads the protocol otherwise; tell its operator and us."
                )
        if 300 <= status < 500 and status not in _LATER:
            return Rejected("witness-refused", f"{said}: is {self._url} its submission prefix and /add-checkpoint?")
        return self._unavailable(f"status {status}, {_quoted(raw)}")

    def _split_view(self, said: str, note: Note) -> Halted:
        checkpoint = parse_checkpoint_text(note.text)
        return Halted(
            "split-view",
            f"{said}: it holds a tree of {checkpoint.origin} that ours, of {checkpoint.size} entries with root "
            f"{write_base64(checkpoint.root)}, does not extend. Keep our signed checkpoint, ask the witness for the newest one that it "
            "accepted and for the request that it refused: two checkpoints that one key signed and no proof joins are the evidence to "
            "publish. Find out who signed with the log's key, or which database was rolled back.",
        )

    def _unreadable(self, what: str) -> Rejected:
        return Rejected("witness-answer", f"The witness {self.name} answered with {what}; is it a C2SP tlog-witness?")

    def _unavailable(self, why: str) -> Unavailable:
        return Unavailable("witness-unavailable", f"The witness {self.name} at {self._url} did not answer: {why}.")


def _quoted(raw: bytes) -> str:
    return ascii(raw[:_QUOTED].decode("utf-8", "replace"))
