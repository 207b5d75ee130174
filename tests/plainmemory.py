"""A signer's memory that dies with its process: what the files of attestor/anchor are held against."""

import asyncio
import copy
import functools
import math
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from attestor.core.contradictions import refuse_forked_policy, refuse_other_signer, refuse_second_digest
from attestor.core.errors import Rejected
from attestor.core.lineage import lineage_of, order_of
from attestor.core.past import (
    Forged,
    LoggedDecision,
    LoggedSignature,
    PolicySeen,
    Receipt,
    Remembered,
    RulesPast,
    WasDecided,
    WasReceived,
    WasRevoked,
    WasSigned,
    WasWithdrawn,
)
from attestor.core.quota import window_of
from attestor.core.tlog.checkpoint import Checkpoint
from attestor.core.tlog.merkle import EMPTY
from attestor.core.versions import is_newer, newest


@dataclass
class Folded:
    frontier: object = EMPTY
    leaves: list = field(default_factory=list)
    received: dict = field(default_factory=dict)
    withdrawn: dict = field(default_factory=dict)
    decided: dict = field(default_factory=dict)
    signed: dict = field(default_factory=dict)
    policies: dict = field(default_factory=dict)
    decisions: list = field(default_factory=list)
    revoked: dict = field(default_factory=dict)
    forged: int = 0


class PlainMemory:
    def __init__(self, origin, anchor_id, size, root):
        self.anchor_id = anchor_id
        self._since = size
        self._anchor = Checkpoint(origin, size, root)
        self._folded = Folded()
        self._turn = asyncio.Lock()

    async def anchor(self):
        return self._anchor

    async def frontier(self):
        return self._folded.frontier

    async def policy(self):
        return max(self._folded.policies.items(), default=None)

    async def forged(self):
        return self._folded.forged

    async def leaves(self, start, end):
        return self._folded.leaves[start:end]

    async def release(self, release_id):
        folded = self._folded
        of_release = [one for (release, *_), one in folded.signed.items() if release == release_id]
        return Remembered(
            received={key[1:]: receipt for key, receipt in folded.received.items() if key[0] == release_id},
            withdrawn={key[1:]: frozenset(found) for key, found in folded.withdrawn.items() if key[0] == release_id},
            decision=folded.decided.get(release_id),
            signed=tuple(sorted(of_release, key=lambda one: (one.index, one.key, one.sha256))),
        )

    async def rules(self, question):
        before = math.inf if question.before is None else question.before
        decisions = [(index, fact) for index, fact in self._folded.decisions if index < before]
        own = (question.release.id, question.sha256.hex())
        window = None
        used = set()
        if question.period is not None:
            uses = list(_uses(decisions, question))
            window = window_of(question.period, max([question.moment, *(moment for moment, _ in uses)]))
            used = {pair for moment, pair in uses if window.start <= moment < window.end} - {own}
        spent = {
            bytes.fromhex(each.document)
            for _, fact in decisions
            if (fact.release.id, fact.entry.artifact.sha256) == own
            for each in fact.entry.approvals
        }
        revoked = {approval for approval, index in self._folded.revoked.items() if index < before}
        return RulesPast(
            newest=_newest(decisions, question.release),
            used=len(used),
            window=window,
            unspendable=question.approvals & (spent | revoked),
            packages=_listed(decisions, question.release),
        )

    @asynccontextmanager
    async def catching_up(self, *, alone):
        async with self._turn:
            yield PlainStep(self, alone=alone)


def _listed(decisions, release):
    named = [
        bytes.fromhex(fact.entry.packages)
        for _, fact in decisions
        if fact.entry.packages and fact.release.id != release.id
        if (lineage_of(fact.release), fact.release.arch) == (lineage_of(release), release.arch)
    ]
    return named[-1] if named else None


def _uses(decisions, question):
    latest = None
    for _, fact in decisions:
        entry = fact.entry
        if (entry.tier, entry.signing_key) == (question.tier, question.signing_key) and "quota" not in {
            spent.action for spent in entry.approvals
        }:
            latest = fact.created if latest is None else max(latest, fact.created)
            yield latest, (fact.release.id, entry.artifact.sha256)


def _newest(decisions, release):
    """Version by version, each architecture by itself: the newest one decided on, unless its own release set it up."""
    highest = {}
    for _, fact in decisions:
        other = fact.release
        same = (other.kind, other.type, other.namespace, other.name) == (
            release.kind,
            release.type,
            release.namespace,
            release.name,
        )
        with suppress(Rejected):
            if (
                same
                and newest(order_of(release), highest.get(other.arch, other).version, other.version) == other.version
            ):
                known = highest.get(other.arch)
                if known is None or is_newer(order_of(release), other.version, known.version):
                    highest[other.arch] = other
    left = [
        other.version
        for arch, other in highest.items()
        if other.id != release.id and (arch == release.arch or {arch, release.arch} & {"any", "all"})
    ]
    return functools.reduce(lambda known, version: newest(order_of(release), known, version), left, None)


class PlainStep:
    def __init__(self, memory, *, alone):
        self._memory = memory
        self._alone = alone
        self._folded = copy.deepcopy(memory._folded)
        self.anchor = memory._anchor

    @property
    def frontier(self):
        return self._folded.frontier

    async def take(self, leaves, facts):
        folded = copy.deepcopy(self._folded)
        folded.frontier = folded.frontier.extended(leaves)
        folded.leaves += leaves
        for index, fact in facts:
            if self._alone:
                refuse_other_signer(index, fact, anchor_id=self._memory.anchor_id, since=self._memory._since)
            _keep(folded, index, fact)
        self._folded = folded
        return folded.frontier

    async def settle(self, checkpoint, note):  # noqa: ARG002 - the port's
        folded = self._folded.frontier
        if (folded.size, folded.root) != (checkpoint.size, checkpoint.root):
            raise ValueError("an anchor is moved only to what was folded")
        self._memory._folded = copy.deepcopy(self._folded)
        self._memory._anchor = checkpoint


def _keep(folded, index, fact):
    match fact:
        case WasReceived():
            vote = (fact.release_id, fact.operator, fact.payload_digest)
            folded.received.setdefault(vote, Receipt(index, fact.envelope))
        case WasWithdrawn():
            vote = (fact.release_id, fact.operator, fact.payload_digest)
            folded.withdrawn.setdefault(vote, set()).add(fact.envelope)
        case WasDecided(entry, raw):
            folded.decided[entry.release.id] = LoggedDecision(index, entry, raw)
            folded.decisions.append((index, fact))
        case WasSigned(entry):
            known = [one for (release, *_), one in folded.signed.items() if release == entry.release]
            approved = any(
                (fact.release.id, fact.entry.artifact.sha256) == (entry.release, entry.sha256)
                for _, fact in folded.decisions
                if "re-sign" in {spent.action for spent in fact.entry.approvals}
            )
            refuse_second_digest(index, entry, known, approved=approved)
            folded.signed.setdefault((entry.release, entry.key, entry.sha256), LoggedSignature.of(index, entry))
        case WasRevoked():
            folded.revoked.setdefault(fact.approval, index)
        case PolicySeen():
            refuse_forked_policy(index, fact, folded.policies.get(fact.serial))
            folded.policies.setdefault(fact.serial, fact.digest)
        case Forged():
            folded.forged += 1
