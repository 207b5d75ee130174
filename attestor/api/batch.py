"""A batch: lines come in, answers go out in their order, and neither waits for the other.

A client may send all of its lines before it reads the first answer. So reading is driven by the gate alone, and answers
that nobody reads yet go to an :class:`Outbox`: memory stays bounded, and reading never waits for writing.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import structlog

from attestor.api.outbox import Outbox
from attestor.api.problems import problem_of
from attestor.core.envelope import MAX_ENVELOPE_BYTES
from attestor.core.errors import AttestorError, Malformed, TooLarge
from attestor.core.wire import BatchLine, Receipt
from attestor.service.gate import Gate

MAX_BATCH_BYTES: Final = 64 << 20
MAX_LINES: Final = 10_000
_WRITE_SECONDS: Final = 60

_LOG = structlog.get_logger(__name__)
_encode = msgspec.json.Encoder().encode

Write = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class _Slot:
    line: int
    answer: Receipt | Exception | None = None


class Batch:
    """One batch on its way through the gate."""

    def __init__(self, gate: Gate, peer: str, request_id: str, refused: Callable[[str], None]) -> None:
        self._gate = gate
        self._peer = peer
        self._request_id = request_id
        self._refused = refused
        """Counts a problem by its code."""
        self._outbox = Outbox()
        self._slots: deque[_Slot] = deque()
        """Lines whose answers are not out yet."""
        self._admitted: deque[_Slot] = deque()
        """Those of them that the gate has and did not answer yet."""

    async def run(self, chunks: AsyncIterator[bytes], write: Write) -> None:
        """Read, admit and answer until both ends are done. Raises ``ConnectionError`` when the client does not read."""
        admitting = asyncio.create_task(self._admit(chunks), name="batch")
        try:
            while piece := await self._outbox.take():
                async with asyncio.timeout(_WRITE_SECONDS):
                    await write(piece)
        except TimeoutError:
            raise ConnectionResetError(f"the client read no answer for {_WRITE_SECONDS} s") from None
        finally:
            admitting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await admitting
            self._outbox.close()

    async def _admit(self, chunks: AsyncIterator[bytes]) -> None:
        try:
            async for answer in self._gate.admit_batch(self._readable(chunks), self._peer):
                self._admitted.popleft().answer = answer
                self._send()
        except Exception as error:  # noqa: BLE001 - the status is sent; the first line without an answer carries the problem
            _LOG.error("batch failed", exc_info=error)
            self._slots = deque([_Slot(self._slots[0].line if self._slots else 0, error)])
            self._send()
        finally:
            self._outbox.finish()

    async def _readable(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The lines for the gate; the others are answered here, in their places."""
        number = 0
        async for line in split(chunks):
            number += 1
            if number > MAX_LINES:
                self._refuse(
                    number, TooLarge("batch-too-long", f"A batch has {MAX_LINES} lines; the rest is not read.")
                )
                return
            if isinstance(line, AttestorError):
                self._refuse(number, line)
                continue
            slot = _Slot(number)
            self._slots.append(slot)
            self._admitted.append(slot)
            yield line

    def _refuse(self, number: int, error: AttestorError) -> None:
        self._slots.append(_Slot(number, error))
        self._send()

    def _send(self) -> None:
        """Answer what can be answered in order: all up to the first line that the gate still has."""
        while self._slots and (answer := self._slots[0].answer) is not None:
            number = self._slots.popleft().line
            if isinstance(answer, Receipt):
                line = BatchLine(line=number, receipt=answer)
            else:
                problem = problem_of(answer, self._request_id)
                self._refused(problem.code)
                line = BatchLine(line=number, problem=problem)
            self._outbox.put(_encode(line) + b"\n")


async def split(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes | AttestorError]:
    """Each line without its end, or why it cannot be read: an over-long line costs itself only, other errors are the last."""
    rest, total = b"", 0
    try:
        async for chunk in chunks:
            total += len(chunk)
            if total > MAX_BATCH_BYTES:
                yield TooLarge("batch-too-large", f"A batch has {MAX_BATCH_BYTES} bytes at most; the rest is not read.")
                return
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield _bounded(line)
            # One byte over the limit says all that the rest of such a line could.
            rest = rest[: MAX_ENVELOPE_BYTES + 1]
    except AttestorError as error:
        yield error
        return
    if rest:
        yield _bounded(rest) if rest.rstrip().endswith(b"}") else _cut()


def _bounded(line: bytes) -> bytes | AttestorError:
    if len(line) > MAX_ENVELOPE_BYTES:
        return TooLarge("line-too-long", f"A line has {MAX_ENVELOPE_BYTES} bytes at most.")
    return line


def _cut() -> Malformed:
    return Malformed("line-truncated", "The batch ends in the middle of this line; send the line again.")
