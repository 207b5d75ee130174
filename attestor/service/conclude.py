"""Bring a judgement into the log, and find it there again: a decision entry stands before the HSM is called (P6)."""

import hashlib
from typing import Final

from attestor.core.authorisation import Judgement
from attestor.core.dossier import Dossier, counted_votes, dossier, not_counted_votes
from attestor.core.entries import MAX_NOT_COUNTED, DecisionEntry, PolicyEntry, SignatureEntry, moment_text
from attestor.core.entrybytes import Outgoing, outgoing, seal_entry
from attestor.core.errors import Conflict, Halted, Unavailable
from attestor.core.evidence import Reading
from attestor.core.obstacles import Never, NotNow
from attestor.core.past import LoggedDecision, Remembered
from attestor.core.policy import Policy
from attestor.core.requests import SigningRequest
from attestor.core.seal import Seal
from attestor.core.summary import summary_envelope
from attestor.service.past import Past, within
from attestor.service.ports import Document
from attestor.service.signports import Concluded, Job, Made, Queue
from attestor.service.tell import refusal
from attestor.service.weigh import Sight

INCLUDED_SECONDS: Final = 10.0
"""How long the log may take to include an entry before the request is tried later."""


class Conclusions:
    """What one signer puts into the log, under its own seal."""

    def __init__(self, queue: Queue, past: Past, policy: Policy, seal: Seal) -> None:
        self._queue = queue
        self._past = past
        self._policy = policy
        self._seal = seal

    async def refuse_other_policy(self) -> NotNow | None:
        """Log the own policy when it is new to the log; one that is older, or another of the same serial, decides nothing.

        An older one waits for this signer's reload. Raises ``Halted`` ``policy-differs``; ``Unavailable`` ``log-behind``.
        """
        known = await self._past.policy()
        ours = (self._policy.serial, self._policy.digest)
        if known == ours:
            return None
        if known is not None and known[0] > ours[0]:
            return NotNow(
                "policy-older",
                f"The log says that policy serial {known[0]} ({known[1]}) is in force, and this signer has serial {ours[0]}: the "
                "request waits until it has loaded the newer one (attestor policy reload).",
            )
        if known is not None and known[0] == ours[0]:
            raise Halted(
                "policy-differs",
                f"The log says that serial {known[0]} ({known[1]}) is in force; this signer has serial {ours[0]} ({ours[1]}). "
                "Nothing is signed. Give every signer the newest policy file, and raise the serial with every change.",
            )
        entry = PolicyEntry(serial=ours[0], digest=ours[1], anchor=self._past.anchor_id)
        raw = seal_entry(entry, self._seal)
        with self._past.expecting(raw) as included:
            await self._queue.tell(outgoing(raw), [_document(self._policy.raw)])
            await within(included, INCLUDED_SECONDS)
        return None

    async def superseded(self) -> NotNow | None:
        """Say that another policy came into force since the claim; once it answers, nothing is awaited before it is acted on."""
        known = await self._past.policy()
        loaded = self._past.policy_loaded
        if known == (self._policy.serial, self._policy.digest) and loaded.digest == self._policy.digest:
            return None
        return _superseded(self._policy)

    async def conclude(
        self, job: Job, judgement: Judgement, sight: Sight, remembered: Remembered
    ) -> LoggedDecision | NotNow:
        """Log the decision to sign, and return it once the log includes it and the anchor is there.

        A decision under a policy that is no longer in force is not logged: the request waits. Raises ``Unavailable``
        ``evidence-moved``, ``approvals-moved``, ``log-behind``; ``Conflict`` when the lease is over.
        """
        # Read before the look at the policy: what is below was folded by then, and the database is asked for the rest.
        folded = await self._past.size()
        superseded = await self.superseded()
        if superseded is not None:
            return superseded
        weighed = _dossier(sight, judgement, remembered)
        entry = self._entry(judgement, weighed, sight.reading, _next_number(remembered))
        raw = seal_entry(entry, self._seal)
        concluded = Concluded(
            entry=outgoing(raw),
            documents=[_document(weighed.raw), *_other_documents(judgement)],
            evidence=sight.evidence,
            folded=folded,
            approvals=[each.digest for each in judgement.approvals],
        )
        with self._past.expecting(raw) as included:
            try:
                await self._queue.decide(job, concluded)
            except Conflict as error:
                if error.code == "policy-moved":
                    return _superseded(self._policy)
                if error.code == "lease-over":
                    raise
                raise Unavailable(error.code, error.sentence) from error
            index = await within(included, INCLUDED_SECONDS)
        return LoggedDecision(index, entry, raw)

    def signed(self, made: Made, logged: LoggedDecision) -> tuple[Outgoing, list[Document]]:
        """The entry of a signature that was made, and the verification summary that it names."""
        judgement = made.authorisation.judgement
        summary = summary_envelope(logged, self._policy, self._seal)
        entry = SignatureEntry(
            request=str(judgement.request.id),
            release=judgement.release.id,
            sha256=judgement.sha256.hex(),
            decision=logged.index,
            signature=hashlib.sha256(made.signature).hexdigest(),
            key=made.key_fingerprint,
            summary=hashlib.sha256(summary).hexdigest(),
            anchor=self._past.anchor_id,
        )
        return outgoing(seal_entry(entry, self._seal)), [_document(summary)]

    def refused(self, request: SigningRequest, obstacle: Never) -> Outgoing:
        """The entry of a refusal."""
        return refusal(request, obstacle.reason, self._policy)

    def _entry(self, judgement: Judgement, weighed: Dossier, reading: Reading, number: int) -> DecisionEntry:
        return DecisionEntry(
            verdict="sign",
            request=str(judgement.request.id),
            number=number,
            release=judgement.release,
            artifact=judgement.artifact,
            tier=judgement.tier,
            policy=judgement.policy,
            reason="reached",
            signing_key=judgement.signing_key,
            key=judgement.key_fingerprint,
            created=moment_text(judgement.created),
            counted=counted_votes(weighed, judgement.counted, reading.claims),
            not_counted=not_counted_votes(weighed, MAX_NOT_COUNTED),
            evidence=weighed.digest,
            approvals=judgement.spent,
            requester=judgement.requester,
            period=judgement.period,
            packages=judgement.packages_digest,
            anchor=self._past.anchor_id,
        )


def _superseded(policy: Policy) -> NotNow:
    return NotNow(
        "policy-changed",
        f"Another policy than serial {policy.serial}, under which this request was claimed, came into force meanwhile: it is "
        "decided anew under that one.",
    )


def _next_number(remembered: Remembered) -> int:
    # Numbered on over all requests of the release: of each release only the latest decision is remembered.
    return remembered.decision.entry.number + 1 if remembered.decision is not None else 0


def _dossier(sight: Sight, judgement: Judgement, remembered: Remembered) -> Dossier:
    votes = [(vote.operator, vote.payload_digest, vote.body, vote.received_at) for vote in sight.shown.values()]
    approvals = [each.given for each in judgement.approvals]
    taken_back = sight.reading.unverified(remembered.withdrawn.keys() & sight.shown.keys())
    return dossier(votes, sight.evidence.withdrawals, judgement.reached, approvals, taken_back)


def _other_documents(judgement: Judgement) -> list[Document]:
    """Manifests, each once (the evidence holds all else of an approval), and what a database lists."""
    named = {judgement.packages, *(each.given.manifest for each in judgement.approvals)}
    return [_document(body) for body in named if body is not None]


def _document(body: bytes) -> Document:
    return Document(hashlib.sha256(body).digest(), body)
