"""Bring the newest signed checkpoint to every witness, and publish it once enough of them cosigned (design §8).

Order of effects: the checkpoint is durable before a witness sees it; a cosignature is durable before it counts; a checkpoint is
published when the cosignatures that are stored with it fill the quorum. Between rounds nothing is remembered that matters:
whoever dies asks again.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from attestor.core.errors import AttestorError, Halted, Rejected, Unavailable
from attestor.core.policy import LogPolicy
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint
from attestor.core.tlog.cosignature import cosignatures
from attestor.core.tlog.note import Note, VerifierKey, parse_note
from attestor.core.tlog.proofs import consistency_proof
from attestor.core.tlog.tiles import tiles_for_consistency
from attestor.service.logports import LogBook, Witness, WitnessAt

TRIES: Final = 3
"""Requests to one witness for one checkpoint, each from the size that the one before was told."""
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_LONGEST_REFUSED: Final = 60.0
"""Seconds until a witness is asked again that did not answer, and that refused."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A checkpoint, and its note with the log's own signature alone: witnesses take few bytes."""

    checkpoint: Checkpoint
    note: bytes


@dataclass(frozen=True, slots=True)
class Heard:
    """What one witness made of a checkpoint; *error* is ``None`` where it cosigned, ``Halted`` ``split-view`` is an alarm."""

    witness: str
    signed: Signed
    error: AttestorError | None


@dataclass(frozen=True, slots=True)
class _Asked:
    size: int
    task: "asyncio.Task[None]"


@dataclass(frozen=True, slots=True)
class _Rest:
    """After so many failures one after the other a witness is left alone until then, by the loop's clock."""

    failures: int
    until: float


class Cosigning:
    """One per process, any number of processes. Each witness is asked by itself, so that none holds another back.

    All are asked for one and the same checkpoint until it is published or nobody is being asked for it any more: witnesses of
    different speed that each took the newest would never cosign the same one while the log grows.
    """

    def __init__(
        self, book: LogBook, witnesses: Sequence[Witness], log: LogPolicy, hear: Callable[[Heard], None]
    ) -> None:
        self._book = book
        self._witnesses = witnesses
        self._log = log
        self._hear = hear
        self._target: Signed | None = None
        self._asked: dict[str, _Asked] = {}
        self._rests: dict[str, _Rest] = {}

    async def meet(self) -> None:
        """Ask all witnesses once whether they know more of the log than this database does: before anything is appended.

        Raises ``Halted`` ``log-rolled-back``, ``Unavailable``. A witness that does not answer is heard of, and not waited for.
        """
        _, signed = await self._newest()
        if signed is not None:
            answers = await asyncio.gather(
                *(self._ask(witness, signed) for witness in self._witnesses), return_exceptions=True
            )
            failures = [answer for answer in answers if answer is not None]
            halted = [failure for failure in failures if isinstance(failure, Halted)]
            for failure in [*halted, *failures]:
                raise failure

    async def gather(self, seconds: float) -> None:
        """Ask whoever is idle, publish what the quorum has cosigned; return at the first answer, at the latest after *seconds*.

        Raises ``Halted``: ``log-rolled-back``, ``log-signature``; ``Unavailable`` when the database does not answer.
        """
        published, newest = await self._newest()
        if newest is None:
            await asyncio.sleep(seconds)
            return
        target = self._target or newest
        if await self._publish(target, published):
            return
        if target.checkpoint.size <= published or not self._awaited(target):
            target = newest
        self._target = target
        await self._ask_idle(target)
        await self._answers(seconds)

    async def stop(self) -> None:
        """Leave whoever is still being asked."""
        tasks = [asked.task for asked in self._asked.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._asked.clear()

    async def _newest(self) -> tuple[int, Signed | None]:
        """The published size, and the newest checkpoint that the log signed."""
        state, raw = await self._book.newest()
        if raw is None:
            return state.published, None
        try:
            checkpoint = open_checkpoint(raw, self._log.key)
        except Rejected as error:
            raise _not_signed(error) from error
        return state.published, Signed(checkpoint, _own(raw, self._log.key))

    async def _publish(self, target: Signed, published: int) -> bool:
        size, quorum = target.checkpoint.size, self._log.quorum
        if size <= published or quorum == 0:
            return False
        held = await self._book.cosignatures(size)
        note = target.note + b"".join(f"{line}\n".encode() for line in held.values())
        try:
            cosigned = cosignatures(parse_note(note), [witness.key for witness in self._log.witnesses])
        except Rejected as error:
            raise _not_signed(error) from error
        if len(cosigned) < quorum:
            return False
        await self._book.publish(size)
        return True

    def _awaited(self, target: Signed) -> bool:
        return any(asked.size == target.checkpoint.size for asked in self._asked.values())

    async def _ask_idle(self, target: Signed) -> None:
        held = await self._book.cosignatures(target.checkpoint.size)
        for witness in self._witnesses:
            if witness.name not in held and self._idle(witness.name):
                task = asyncio.create_task(self._ask(witness, target), name=f"witness {witness.name}")
                self._asked[witness.name] = _Asked(target.checkpoint.size, task)

    def _idle(self, name: str) -> bool:
        rest = self._rests.get(name)
        rested = rest is None or rest.until <= asyncio.get_running_loop().time()
        return name not in self._asked and rested

    async def _answers(self, seconds: float) -> None:
        if not self._asked:
            await asyncio.sleep(seconds)
            return
        tasks = [asked.task for asked in self._asked.values()]
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for name, asked in list(self._asked.items()):
            if asked.task.done():
                del self._asked[name]
                asked.task.result()

    async def _ask(self, witness: Witness, signed: Signed) -> None:
        answer = await self._answer(witness, signed)
        if isinstance(answer, WitnessAt):
            await self._refuse_rollback(witness, answer)
            # Another process brought it further, and it will never cosign this one.
            await self._book.keep_witness_size(witness.name, answer.size)
            self._leave_alone(witness.name, 0, _FIRST_PAUSE)
            return
        error = None if isinstance(answer, str) else answer
        if isinstance(answer, str):
            await self._book.cosigned(signed.checkpoint.size, witness.name, answer)
            await self._book.keep_witness_size(witness.name, signed.checkpoint.size)
        self._rest(witness.name, error)
        self._hear(Heard(witness.name, signed, error))

    async def _answer(self, witness: Witness, signed: Signed) -> str | WitnessAt | AttestorError:
        """The cosignature line, a size above the checkpoint's, or what is wrong with the witness; the book's failures raise."""
        size = signed.checkpoint.size
        # Where another process brought it further than this checkpoint, the witness says so itself.
        old_size = min(await self._book.witness_size(witness.name), size)
        for _ in range(TRIES):
            proof = await self._proof(old_size, size)
            try:
                answer = await witness.add_checkpoint(old_size, proof, signed.note)
            except AttestorError as error:
                return error
            if isinstance(answer, str) or answer.size > size:
                return answer
            old_size = answer.size
            await self._book.keep_witness_size(witness.name, old_size)
        return Unavailable(
            "witness-undecided",
            f"The witness {witness.name} told another size at each of {TRIES} tries; is somebody else sending it checkpoints?",
        )

    async def _proof(self, old_size: int, size: int) -> tuple[bytes, ...]:
        tiles = sorted(tiles_for_consistency(old_size, size))
        return consistency_proof(old_size, size, {tile: await self._book.tile(tile) for tile in tiles})

    async def _refuse_rollback(self, witness: Witness, told: WitnessAt) -> None:
        state, _ = await self._book.newest()
        # Another process may have appended, and asked first.
        if told.size > state.frontier.size:
            raise Halted(
                "log-rolled-back",
                f"The witness {witness.name} accepted a checkpoint of {told.size} entries of {self._log.key.name}, and this database "
                f"holds {state.frontier.size}: it was rolled back, or is a copy. Nothing more is appended. Bring the missing entries "
                "back with `attestor log recover --from` an export; if it is the witness that errs, take it out of the policy.",
            )

    def _rest(self, name: str, error: AttestorError | None) -> None:
        before = self._rests.pop(name, None)
        if error is not None:
            failures = before.failures if before else 0
            longest = _LONGEST_PAUSE if isinstance(error, Unavailable) else _LONGEST_REFUSED
            # Two to the power of many failures would be no float any more.
            self._leave_alone(name, failures + 1, min(_FIRST_PAUSE * 2 ** min(failures, 16), longest))

    def _leave_alone(self, name: str, failures: int, seconds: float) -> None:
        self._rests[name] = _Rest(failures, asyncio.get_running_loop().time() + seconds)


def _own(raw: bytes, key: VerifierKey) -> bytes:
    note = parse_note(raw)
    own = tuple(line for line in note.lines if (line.name, line.key_id) == (key.name, key.key_id))
    return Note(note.text, own).encode()


def _not_signed(error: Rejected) -> Halted:
    return Halted(
        "log-signature",
        f"A checkpoint or cosignature in the database is not signed as the policy says: {error.sentence} Somebody wrote to it, or "
        "the policy names another key; nothing is published.",
    )
