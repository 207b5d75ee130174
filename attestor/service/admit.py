"""Admit attestations: verify first, decode then, and commit what arrives together (design §5).

All that a row could refuse is refused, and every signature is verified, before the transaction opens.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from attestor.core.claims import claims_of
from attestor.core.envelope import Signed, Verified, verify
from attestor.core.errors import AttestorError, Forbidden, Missing, OverRate, Rejected
from attestor.core.limits import peer_of
from attestor.core.policy import Policy
from attestor.core.statement import WithdrawalStatement, parse_attestation, read_statement
from attestor.core.wire import Receipt
from attestor.service.allowance import Allowances
from attestor.service.dissent import Lookout
from attestor.service.ports import Ledger, Withdrawal
from attestor.service.record import Intake, Submission, record

MAX_TOGETHER: Final = 256
"""Submissions in one transaction."""
MAX_BYTES_TOGETHER: Final = 4 * 1024 * 1024
"""Bytes of a batch that wait in memory for their transaction."""
_TRANSACTIONS: Final = 2


@dataclass(slots=True)
class _Waiting:
    submission: Submission
    answer: asyncio.Future[Receipt]


class Admission:
    """Gathers what arrives together and commits it together; one object per API process."""

    def __init__(
        self, ledger: Ledger, policy: Policy, now: Callable[[], datetime], allowances: Allowances, lookout: Lookout
    ) -> None:
        self._ledger = ledger
        self._policy = policy
        self._now = now
        self._allowances = allowances
        self._peers = allowances.peers
        self._lookout = lookout
        self._intake = Intake(allowances.operators, lookout)
        self._waiting: list[_Waiting] = []
        self._places = _TRANSACTIONS
        self._working: set[asyncio.Task[None]] = set()

    def under(self, policy: Policy) -> "Admission":
        """Take in under another policy what arrives from now on; draining it drains this one too."""
        successor = Admission(self._ledger, policy, self._now, self._allowances, self._lookout)
        successor._working = self._working
        return successor

    async def admit(self, raw: bytes, address: str) -> Receipt:
        """Verify, keep and count one attestation or withdrawal from *address*; on return it is durable."""
        peer = peer_of(address)
        submission = await self._verified(raw, peer)
        try:
            receipt = await self._commit(submission)
        except AttestorError as error:
            self._charge(peer, error)
            raise
        self._charge(peer, receipt)
        return receipt

    async def admit_batch(self, lines: AsyncIterator[bytes], address: str) -> AsyncIterator[Receipt | AttestorError]:
        """Admit many, answering each in order once its transaction has committed; a bad one gets its own error."""
        peer = peer_of(address)
        together: list[bytes] = []
        async for line in lines:
            together.append(line)
            if len(together) == MAX_TOGETHER or sum(map(len, together)) >= MAX_BYTES_TOGETHER:
                for answer in await self._admit_together(together, peer):
                    yield answer
                together = []
        for answer in await self._admit_together(together, peer):
            yield answer

    async def drain(self) -> None:
        """Wait until all that was taken in is committed and answered."""
        while self._working:
            await asyncio.wait(self._working)

    async def _admit_together(self, lines: list[bytes], peer: str) -> list[Receipt | AttestorError]:
        answers: list[Receipt | AttestorError | None] = []
        submissions: list[Submission] = []
        for line in lines:
            try:
                submissions.append(await self._verified(line, peer))
                answers.append(None)
            except AttestorError as error:
                answers.append(error)
            # A batch verifies for seconds: single submissions take their turns in between.
            await asyncio.sleep(0)
        recorded = await record_each(self._ledger, self._policy, submissions, self._intake)
        for answer in recorded:
            self._charge(peer, answer)
        rest = iter(recorded)
        return [next(rest) if answer is None else answer for answer in answers]

    async def _verified(self, raw: bytes, peer: str) -> Submission:
        signed = parse_attestation(raw)
        # One without key ids may cost MAX_TRIES verifications, and none is made for whom nothing is left.
        self._peers.refuse_spent(peer)
        try:
            return await self._submission(signed, raw)
        except AttestorError as error:
            self._charge(peer, error)
            raise

    def _charge(self, peer: str, answer: Receipt | AttestorError) -> None:
        """The peer pays where work was done for nothing new, and for all of it that was under way at once."""
        if _in_vain(answer):
            self._peers.spend(peer)

    async def _submission(self, signed: Signed, raw: bytes) -> Submission:
        verified = verify(signed, self._policy.key_ring)
        statement = read_statement(verified)
        if isinstance(statement, WithdrawalStatement):
            return await self._withdrawal(verified, statement, raw)
        claims = claims_of(
            statement,
            signers=verified.keys,
            payload_digest=verified.payload_digest,
            policy=self._policy,
            received_at=self._now(),
        )
        releases = {claim.release.id: claim.release for claim in claims}
        for release in releases.values():
            self._policy.tier_of(release)
        return Submission(verified.payload_digest, raw, claims, (), tuple(releases.values()))

    async def _withdrawal(self, verified: Verified, statement: WithdrawalStatement, raw: bytes) -> Submission:
        if statement.origin != self._policy.origin:
            raise Rejected(
                "other-origin", f"The withdrawal is for {statement.origin}; this instance is {self._policy.origin}."
            )
        known = await self._ledger.release(statement.release_id)
        if known is None:
            raise Missing("release-unknown", "Nobody has attested such a release here.")
        withdrawals = tuple(
            Withdrawal(operator, statement.payload_digest, statement.release_id, statement.reason, raw)
            for operator in withdrawing(verified, self._policy, self._now())
        )
        return Submission(verified.payload_digest, raw, (), withdrawals, (known.release,))

    async def _commit(self, submission: Submission) -> Receipt:
        waiting = _Waiting(submission, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._places:
            self._places -= 1
            task = asyncio.create_task(self._work(), name="admission")
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        # One caller that goes away takes nobody's transaction with it.
        return await asyncio.shield(waiting.answer)

    async def _work(self) -> None:
        # One turn of the loop lets those that arrive together be together.
        await asyncio.sleep(0)
        while self._waiting:
            together, self._waiting = self._waiting[:MAX_TOGETHER], self._waiting[MAX_TOGETHER:]
            await self._record(together)
        # In the same turn as the last look, so that what arrives from now on finds the place free.
        self._places += 1

    async def _record(self, together: list[_Waiting]) -> None:
        try:
            submissions = [waiting.submission for waiting in together]
            answers = await record_each(self._ledger, self._policy, submissions, self._intake)
        except Exception as error:  # noqa: BLE001 - each caller gets it, and the others' submissions go on
            _fail(together, error)
            return
        for waiting, answer in zip(together, answers, strict=True):
            _settle(waiting.answer, answer)


def _in_vain(answer: Receipt | AttestorError) -> bool:
    """Whether nothing came of what was verified, for a reason of its own: not the database's, nor one that passes."""
    if isinstance(answer, Receipt):
        return answer.replay
    return isinstance(answer, Rejected) and not isinstance(answer, OverRate)


async def record_each(
    ledger: Ledger, policy: Policy, submissions: list[Submission], intake: Intake
) -> list[Receipt | AttestorError]:
    """Record together; when the database refuses the whole for another reason than a race, each by itself.

    A database that cannot be reached is not asked again for each: all get its error.
    """
    if not submissions:
        return []
    try:
        return await record(ledger, policy, submissions, intake)
    except AttestorError as error:
        if len(submissions) == 1 or error.code == "database-unavailable":
            return [error] * len(submissions)
    return [answer for submission in submissions for answer in await record_each(ledger, policy, [submission], intake)]


def withdrawing(verified: Verified, policy: Policy, now: datetime) -> list[str]:
    """Say which operators a withdrawal speaks for: any valid key of an operator will do.

    Raises ``Forbidden`` with the key's own reason when none of its keys counts.
    """
    held = [policy.keys[key] for key in verified.keys]
    operators = sorted({key.operator for key in held if key.refusal_at(now) is None})
    if not operators:
        code = min(filter(None, (key.refusal_at(now) for key in held)))
        raise Forbidden(code, f"The key of operator {held[0].operator} does not count now ({code}).")
    return operators


def _settle(answer: asyncio.Future[Receipt], said: Receipt | AttestorError) -> None:
    if answer.done():
        return
    if isinstance(said, AttestorError):
        answer.set_exception(said)
    else:
        answer.set_result(said)


def _fail(together: list[_Waiting], error: Exception) -> None:
    for waiting in together:
        if not waiting.answer.done():
            waiting.answer.set_exception(error)
