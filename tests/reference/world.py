"""The real decision path, step by step, over a log in memory; beside it the plain events that the reference is asked about.

Each step of a request is one that a signer's process can stop after: judge, append the decision entry, look once more and call the
HSM. Steps of several requests may be taken in any order, as by several signers. The database is one that checks nothing when a
decision is appended, and may show a request the approvals of others: what holds here, holds whatever a database does.
"""

import hashlib
import sqlite3
import weakref
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID

from attestor.anchor import recall, rules
from attestor.anchor.anchorfile import Anchor
from attestor.anchor.folding import Fold
from attestor.core import approvaldocuments, approvals, entries, entrybytes
from attestor.core.authorisation import Judgement, authorise
from attestor.core.entries import moment_text
from attestor.core.lifecycle import State
from attestor.core.past import LoggedDecision, facts_of
from attestor.core.requests import SigningRequest
from attestor.core.seal import SealRing
from attestor.core.tlog.merkle import leaf_hash
from attestor.core.wire import Pull
from attestor.service.case import Signing, first_obstacle_of, judged, judged_as_of, seen_case, weighed_case
from attestor.service.signports import Evidence, Job, Measure
from tests.logkeys import seal
from tests.reference import evaluator as plain
from tests.reference.tongues import (
    LOG,
    ORIGIN,
    START,
    approval_tag,
    content,
    lying_envelope,
    plain_release,
    real_policy,
    real_tier,
    rebuild_envelope,
    verify_tag,
    withdrawal_envelope,
)

ANCHOR = "ef" * 16
_SEAL = seal()
_RING = SealRing(LOG.seal_keys)
_SCHEMA = Path(rules.__file__).with_name("memory.sql").read_text("utf-8") + rules.SCHEMA


@dataclass
class Asked:
    """One signing request and how far signers have come with it."""

    real: SigningRequest
    plain: plain.Request
    case: object = None
    """As it was seen when it was judged."""
    judgement: object = None
    """Judged, not appended."""
    logged: object = None
    """The decision entry in the log that whoever appended it has in hand."""
    under: object = None
    """The policy that it was judged under."""
    place: int = -1
    """Of its decision among the plain events."""
    signed: bool = False
    gone: bool = False
    """Withdrawn by who asked."""


@dataclass(frozen=True)
class Look:
    """What came of one step of a request."""

    step: str
    allowed: bool
    reason: str
    """The obstacle's, where there is one."""


def run(coroutine):
    """The value of a coroutine that never has to wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


class World:
    """One log, and signers that share a fold of it and a clock, which may step either way."""

    def __init__(self, policy, *, shows_all=True):
        """*shows_all*: its database shows each request the approvals of all others too."""
        self.shows_all = shows_all
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        weakref.finalize(self, self.connection.close)
        self.connection.executescript(_SCHEMA)
        self.connection.execute("INSERT INTO folded VALUES (1, ?, 0, x'', 0)", (ANCHOR,))
        self.fold = Fold(self.connection, Anchor(id=ANCHOR, since=0, size=0, root="00" * 32), alone=True)
        self.connection.execute("BEGIN")
        self.size = 0
        self.events = []
        self.now = START
        self.asked = []
        self.votes = []
        self.approvals = []
        self.envelopes = {}
        self.withdrawals = {}
        self.number = 0
        self.change_policy(policy)

    # -------------------------------------------------------------- what others do

    def change_policy(self, policy):
        self.policy = policy
        self.real = real_policy(policy)
        entry = entries.PolicyEntry(serial=policy.serial, digest=self.real.digest, anchor=ANCHOR)
        self._log(entrybytes.seal_entry(entry, _SEAL), plain.PolicyChanged(policy))

    def vote(self, key, release, label, number=0, lie=None):
        envelope, payload = (
            lying_envelope(release, label, key.name, number, lie)
            if lie and label
            else rebuild_envelope(release, label, key.name, number)
        )
        if any(
            (vote.operator, vote.payload, vote.release.id) == (key.owner, payload.hex(), release.id)
            for vote in self.votes
        ):
            return
        self.envelopes.setdefault(release.id, []).append((key.owner, envelope, self.now))
        sha256 = sha512 = size = None
        if label is not None:
            first, second, size = content(label)
            sha256, sha512 = first.hexdigest(), second.hexdigest()
            if lie == "sha512":
                sha512 = hashlib.sha512(b"other").hexdigest()
            elif lie == "size":
                size += 1
        named = [(key.owner, payload, hashlib.sha256(envelope).digest(), release.id)]
        vote = plain.Vote(key.owner, payload.hex(), (key.name,), plain_release(release), sha256, sha512, size, self.now)
        self.votes.append(vote)
        self._log(entrybytes.encode_entry(entrybytes.received_entries(named)[0]), vote)

    def withdraw(self, vote, release, key):
        envelope, _ = withdrawal_envelope(release, bytes.fromhex(vote.payload), key.name)
        if envelope in self.withdrawals.setdefault(release.id, []):
            return
        self.withdrawals[release.id].append(envelope)
        entry = entries.WithdrawalEntry(
            operator=vote.operator,
            payload=vote.payload,
            release=release.id,
            envelope=hashlib.sha256(envelope).hexdigest(),
        )
        self._log(entrybytes.encode_entry(entry), plain.Withdrawn(vote.operator, vote.payload, vote.release, key.name))

    def ask(self, release, label, requester, *, anew=False):
        """Joins the request that there is for these bytes; *anew*: that one was withdrawn, unless a signer has it."""
        sha256, sha512, size = content(label)
        for asked in self.asked:
            if (asked.real.release, asked.real.sha256) == (release, sha256.digest()) and not asked.gone:
                if asked.signed or asked.judgement or asked.logged or not anew:
                    return asked
                asked.gone = True
        number = len(self.asked) + 1
        real = SigningRequest(
            id=UUID(int=number),
            release=release,
            requester=requester,
            tier="",
            size=size,
            sha256=sha256.digest(),
            sha512=sha512.digest(),
            content=Pull("files", release.file_name),
            content_present=True,
            state=State.CLAIMED,
            reason="claimed",
            sentence="",
            tries=1,
            created_at=self.now,
            updated_at=self.now,
        )
        request = plain.Request(
            str(real.id), requester, plain_release(release), sha256.hexdigest(), sha512.hexdigest(), size
        )
        self.asked.append(Asked(real, request))
        return self.asked[-1]

    def approve(self, asked, action, key, *, hours=12, **wrong):
        """One approval of *action* for a request, right but for what is *wrong* in it."""
        tier = plain.tier_of(self.policy, asked.plain.release)
        if tier is None:
            return
        tier = wrong.get("tier", tier)
        bound = plain.tier_of(self.policy, asked.plain.release)
        begin = self.now + wrong.get("begin", -timedelta(hours=1))
        end = begin + timedelta(hours=min(hours, bound.hours)) + wrong.get("longer", timedelta(0))
        pairs = ((wrong.get("release", asked.plain.release.id), wrong.get("sha256", asked.plain.sha256)),)
        others = wrong.get("others")
        digest = approvals.rules_digest(real_tier(bound), self.real)
        named = {"request": wrong.get("request", asked.plain.id), "release": pairs[0][0], "digest": pairs[0][1]}
        manifest = None
        if others is not None:
            pairs = tuple(sorted({*pairs, *others} if not wrong.get("left_out") else set(others) - set(pairs)))
            if not pairs:
                return
            manifest = approvaldocuments.encode_manifest(pairs)
            named = {"manifest": hashlib.sha256(manifest).hexdigest()}
        self.number += 1
        document = approvaldocuments.encode_approval(
            approvaldocuments.ApprovalDocument(
                origin=wrong.get("origin", ORIGIN),
                action=action,
                tier=tier.name,
                rules="00" * 32 if wrong.get("rules") else digest,
                reason="11" * 32,
                not_before=moment_text(begin),
                until=moment_text(end),
                nonce=f"{self.number:032x}",
                **named,
            )
        )
        signature = b"" if wrong.get("signature") else approval_tag(key.name, document)
        given = approvals.Given(key.name, document, signature, manifest)
        self.approvals.append((given, pairs))
        if wrong.get("signature"):
            return
        self.events.append(
            plain.Approved(
                document=given.digest.hex(),
                key=key.name,
                origin=wrong.get("origin", ORIGIN),
                action=action,
                tier=tier.name,
                rules=replace(bound, n=-1) if wrong.get("rules") else bound,
                suspended=self.policy.suspended,
                pairs=pairs,
                request=named.get("request"),
                begin=begin,
                end=end,
            )
        )

    def revoke(self, given):
        entry = entries.RevocationEntry(approval=given.digest.hex())
        self._log(entrybytes.encode_entry(entry), plain.Revoked(given.digest.hex()))

    # -------------------------------------------------------------- what a signer does

    def judge(self, asked):
        """Up to the decision entry, and not that: a crash, or another signer's turn, may come before it."""
        if plain.tier_of(self.policy, asked.plain.release) is None:
            return Look("judge", False, "no-tier")
        asked.judgement = asked.logged = None
        asked.case = case = self._case(asked)
        obstacle = run(first_obstacle_of(self._signing, case))
        if hasattr(obstacle, "sentence"):
            return Look("judge", False, obstacle.reason)
        judgement, found = run(judged(self._signing, case, self._measure(asked)))
        if not isinstance(judgement, Judgement):
            return Look("judge", False, judgement.reason)
        if case.repeated:
            # sign._settled_by_stored: the signature that there is.
            return Look("judge", False, "signed-already")
        asked.under = self.real
        if found is not None:
            asked.logged = found
            return Look("judge", False, "decided-already")
        asked.judgement = judgement
        return Look("judge", True, "")

    def append(self, asked):
        """conclude.Conclusions.conclude: not under a policy that was replaced."""
        judgement, asked.judgement = asked.judgement, None
        if judgement is None or asked.under is not self.real:
            return
        last = self._remembered(judgement.request.release.id).decision
        entry = entries.DecisionEntry(
            verdict="sign",
            request=str(judgement.request.id),
            number=last.entry.number + 1 if last is not None else 0,
            release=judgement.release,
            artifact=judgement.artifact,
            tier=judgement.tier,
            policy=judgement.policy,
            reason="reached",
            signing_key=judgement.signing_key,
            key=judgement.key_fingerprint,
            created=moment_text(judgement.created),
            evidence="22" * 32,
            approvals=judgement.spent,
            requester=judgement.requester,
            period=judgement.period,
            packages=judgement.packages_digest,
            anchor=ANCHOR,
        )
        raw = entrybytes.seal_entry(entry, _SEAL)
        event = plain.Decided(
            request=asked.plain.id,
            release=asked.plain.release,
            sha256=asked.plain.sha256,
            tier=judgement.tier,
            signing_key=judgement.signing_key,
            created=judgement.created,
            documents=tuple(each.document for each in judgement.spent),
            over_quota=any(each.action == "quota" for each in judgement.spent),
        )
        asked.place = len(self.events)
        asked.logged = LoggedDecision(self.size, entrybytes.read_entry(raw), raw)
        self._log(raw, event)

    def call(self, asked):
        """sign._with_pen: once more, then the HSM."""
        logged = asked.logged
        if logged is None:
            return None
        if asked.under is not self.real:
            return Look("call", False, "policy-changed")
        if logged.created > self.now:
            return Look("call", False, "signing-time")
        case = self._case(asked, asked.case)
        weighed = run(weighed_case(self._signing, case, logged))
        judgement = judged_as_of(self._signing, case, self._measure(asked), weighed, logged.index)
        if not isinstance(judgement, Judgement):
            return Look("call", False, judgement.reason)
        if not judgement.is_of(logged.entry):
            return Look("call", False, "decision-void")
        authorise(judgement, logged)
        return Look("call", True, "")

    def keep_signature(self, asked):
        """What the HSM made goes into the log."""
        entry = entries.SignatureEntry(
            request=asked.plain.id,
            release=asked.plain.release.id,
            sha256=asked.plain.sha256,
            decision=asked.logged.index,
            signature="33" * 32,
            key=asked.logged.entry.key,
            summary="44" * 32,
            anchor=ANCHOR,
        )
        key = asked.logged.entry.signing_key
        asked.logged, asked.signed = None, True
        self._log(entrybytes.seal_entry(entry, _SEAL), plain.Signed(asked.plain.release, asked.plain.sha256, key))

    # -------------------------------------------------------------- ports

    @property
    def _signing(self):
        return Signing(
            queue=SimpleNamespace(evidence=self._evidence),
            content=None,
            signers={
                name: SimpleNamespace(fingerprint=hashlib.sha256(name.encode()).hexdigest()[:40].upper())
                for name in {tier.signing_key for tier in self.policy.tiers}
            },
            policy=self.real,
            verify_approval=verify_tag,
            past=SimpleNamespace(release=self._release, rules=self._rules),
            conclusions=None,
            now=lambda: self.now,
            lease_seconds=30.0,
            tries=3,
        )

    async def _evidence(self, job):
        release = job.request.release.id
        return Evidence(
            envelopes=tuple(self.envelopes.get(release, ())),
            withdrawals=tuple(self.withdrawals.get(release, ())),
            signed=frozenset(each.sha256 for each in self._remembered(release).signed),
            policy_digest=self.real.digest,
            stated=(),
            approvals=tuple(
                given
                for given, pairs in self.approvals
                if self.shows_all or (release, job.request.sha256.hex()) in pairs
            ),
        )

    async def _release(self, release_id, votes, seconds):  # noqa: ARG002 - the port's
        return self._remembered(release_id)

    async def _rules(self, question):
        return rules.past(self.connection, question)

    def _remembered(self, release_id):
        return recall.remembered(self.connection, release_id)

    def _case(self, asked, before=None):
        return run(seen_case(self._signing, Job(asked.real, 1, self.now, self.now), before))

    def _measure(self, asked):
        return Measure(asked.real.size, asked.real.sha256, asked.real.sha512, None)

    def _log(self, raw, event):
        facts = [(self.size, fact) for fact in facts_of(self.size, raw, _RING)]
        self.fold.take([leaf_hash(raw)], facts)
        self.size += 1
        self.events.append(event)
