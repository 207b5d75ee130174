"""Judge log entries from outside: what the log alone shows of each, then what is fetched to look at what it rests on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from attestor.core import auditdecisions, auditing, auditrules
from attestor.core.auditing import POLICIES, Finding
from attestor.core.entries import DecisionEntry, Entry, LateDissentEntry, PolicyEntry, RevocationEntry, SignatureEntry
from attestor.core.entrybytes import is_signers, read_entry, verify_seal
from attestor.core.errors import Missing, Rejected, Unavailable
from attestor.core.past import LoggedDecision, Remembered, WasRevoked
from attestor.core.policy import Policy
from attestor.service.auditports import Auditor

AT_ONCE: Final = 8
"""Attestations and bundles that are fetched at the same time."""
_INCOMPLETE: Final = "bundle-incomplete"


class Examination:
    """Of some entries: in order what the log alone shows, then, several at a time, what must be fetched for it."""

    def __init__(self, auditor: Auditor) -> None:
        self._auditor = auditor
        self._found: list[Finding] = []
        self._left: list[tuple[int, Callable[[], Awaitable[None]]]] = []
        self._places = asyncio.Semaphore(AT_ONCE)

    def take(self, index: int, raw: bytes) -> None:
        """Raises ``Missing`` ``policy-unknown``, and then has taken nothing."""
        try:
            entry = read_entry(raw)
            self._refuse_forged(entry)
        except Missing:
            raise
        except Rejected as error:
            self._found.append(Finding(index, error.code, f"Log entry {index}: {error.sentence}"))
            return
        policy = self._policy(entry)
        # What is wrong with an entry makes it no less said: later ones are held against it.
        self._auditor.book.keep(index, raw, auditing.subjects_of(entry))
        self._fold(index, raw, entry)
        try:
            self._judge(index, raw, entry, policy)
        except Rejected as error:
            self._found.append(Finding(index, error.code, error.sentence))

    def _fold(self, index: int, raw: bytes, entry: Entry) -> None:
        match entry:
            case DecisionEntry() if (
                entry.verdict == "sign" and (decided := auditing.decided_of(entry, raw)) is not None
            ):
                self._auditor.book.fold(index, decided)
            case RevocationEntry():
                self._auditor.book.fold(index, WasRevoked(bytes.fromhex(entry.approval)))

    async def findings(self) -> list[Finding]:
        """All of them, in the order of the log."""
        looks = [asyncio.create_task(self._look(index, look)) for index, look in self._left]
        try:
            await asyncio.gather(*looks)
        finally:
            for task in looks:
                task.cancel()
        return sorted(self._found, key=lambda finding: finding.index or 0)

    async def _look(self, index: int, look: Callable[[], Awaitable[None]]) -> None:
        try:
            async with self._places:
                await look()
        except Rejected as error:
            self._found.append(Finding(index, error.code, error.sentence))

    def _refuse_forged(self, entry: Entry) -> None:
        if not is_signers(entry):
            return
        newest = self._auditor.newest
        try:
            verify_seal(entry, newest.log.seals)
        except Rejected as error:
            if error.code == "seal-unknown" and isinstance(entry, PolicyEntry) and entry.serial > newest.serial:
                # Perhaps a new signer's, whom that policy names: only its file can tell.
                auditing.policy_named(self._auditor.policies, entry.serial, entry.digest)
            raise

    def _policy(self, entry: Entry) -> Policy | None:
        match entry:
            case DecisionEntry() if entry.verdict == "sign":
                return auditing.policy_named(self._auditor.policies, entry.policy.serial, entry.policy.digest)
            case PolicyEntry():
                return auditing.policy_named(self._auditor.policies, entry.serial, entry.digest)
            case SignatureEntry() if (logged := self._decision(entry)) is not None:
                return self._policy(logged.entry)
        return None

    def _judge(self, index: int, raw: bytes, entry: Entry, policy: Policy | None) -> None:
        match entry:
            case PolicyEntry():
                auditing.refuse_policy(entry, self._policies(index))
            case DecisionEntry() if policy is not None:
                self._judge_decision(index, entry, policy)
            case SignatureEntry():
                self._judge_signature(index, raw, entry, policy)
            case LateDissentEntry():
                sentence = f"{entry.operator} dissents from a decision on the release {entry.release}, and came late."
                self._found.append(Finding(index, "late-dissent", sentence, notice=True))

    def _judge_decision(self, index: int, entry: DecisionEntry, policy: Policy) -> None:
        auditdecisions.refuse_decision_policy(entry, self._policies(index))
        remembered = self._remembered(entry.release.id, index)
        auditdecisions.refuse_decision(index, entry, policy, remembered)

        async def look() -> None:
            bodies = {}
            for pair, receipt in remembered.received.items():
                fetched = self._auditor.served.envelope(entry.release.id, pair[0], pair[1].hex())
                sentence = f"The attestation {pair[1].hex()} of {pair[0]}, which entry {receipt.index} names, is not given out."
                bodies[pair] = await _given_out(fetched, "envelope-withheld", sentence)
                auditdecisions.refuse_envelope(bodies[pair], pair, receipt)
            auditdecisions.recount(index, entry, policy, remembered, bodies)

        self._left.append((index, look))

    def _judge_signature(self, index: int, raw: bytes, entry: SignatureEntry, policy: Policy | None) -> None:
        logged = self._decision(entry)
        remembered = self._remembered(entry.release, index)
        auditing.refuse_signature(index, entry, logged.entry if logged else None, remembered)
        if logged is None or policy is None:
            return
        if entry.sha256 not in {one.sha256.hex() for one in remembered.signed}:
            # Some bytes of a release have one bundle, that of their first signature.
            self._left.append((index, self._look_at_bundle(entry, raw, logged, policy)))
        self._refuse_void(index, logged, policy)

    def _look_at_bundle(
        self, entry: SignatureEntry, raw: bytes, logged: LoggedDecision, policy: Policy
    ) -> Callable[[], Awaitable[None]]:
        before = self._remembered(entry.release, logged.index)

        async def look() -> None:
            fetched = self._auditor.served.bundle(entry.release, entry.sha256)
            sentence = f"The bundle of the release {entry.release}, which was signed, is not given out."
            bundle = await _given_out(fetched, "bundle-withheld", sentence)
            verify = self._auditor.verify_approval
            auditing.refuse_bundle(bundle, raw, logged, policy=policy, remembered=before, verify=verify)

        return look

    def _refuse_void(self, index: int, logged: LoggedDecision, policy: Policy) -> None:
        """Nothing more is asked of a decision whose release no tier governs: that was found where it stands."""
        decided = auditing.decided_of(logged.entry, logged.raw)
        tier = next((tier for tier in policy.tiers if decided is not None and tier.governs(decided.release)), None)
        if decided is None or tier is None:
            return
        book = self._auditor.book
        past = book.rules(auditrules.question_of(logged.index, decided, tier))
        revocations = [
            at
            for spent in logged.entry.approvals
            for at, _ in book.about(auditing.revocation_of(spent.document), logged.index)
        ]
        auditrules.refuse_void(index, decided, tier, past, revocations)

    def _policies(self, index: int) -> list[PolicyEntry]:
        entries = [read_entry(raw) for _, raw in self._auditor.book.about(POLICIES, index)]
        return [entry for entry in entries if isinstance(entry, PolicyEntry)]

    def _remembered(self, release_id: str, index: int) -> Remembered:
        return auditing.remembered_of(release_id, self._auditor.book.about(release_id, index))

    def _decision(self, signature: SignatureEntry) -> LoggedDecision | None:
        """What was kept at the index that a signature names stands before it: the signature itself is not kept yet."""
        raw = self._auditor.book.entry(signature.decision)
        entry = read_entry(raw) if raw is not None else None
        return LoggedDecision(signature.decision, entry, raw) if raw and isinstance(entry, DecisionEntry) else None


async def _given_out(fetching: Awaitable[bytes], code: str, sentence: str) -> bytes:
    """What was asked for; what the service refuses to give out for good is ``Rejected`` with *code*."""
    try:
        return await fetching
    except Missing as error:
        raise Rejected(code, f"{sentence} ({error.sentence})") from error
    except Unavailable as error:
        if error.code != _INCOMPLETE:
            raise
        raise Rejected(code, f"{sentence} ({error.sentence})") from error
