"""A signer's memory that dies with its process: what the files of attestor/anchor are held against."""

import asyncio
import copy
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from attestor.core.contradictions import refuse_forked_policy, refuse_other_signer, refuse_second_digest
from attestor.core.past import (
    Forged,
    LoggedDecision,
    LoggedSignature,
    PolicySeen,
    Receipt,
    Remembered,
    WasDecided,
    WasReceived,
    WasSigned,
    WasWithdrawn,
)
from attestor.core.tlog.checkpoint import Checkpoint
from attestor.core.tlog.merkle import EMPTY


@dataclass
class Folded:
    frontier: object = EMPTY
    leaves: list = field(default_factory=list)
    received: dict = field(default_factory=dict)
    withdrawn: dict = field(default_factory=dict)
    decided: dict = field(default_factory=dict)
    signed: dict = field(default_factory=dict)
    policies: dict = field(default_factory=dict)
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
        of_release = [one for (release, _), one in folded.signed.items() if release == release_id]
        return Remembered(
            received={key[1:]: receipt for key, receipt in folded.received.items() if key[0] == release_id},
            withdrawn={key[1:]: frozenset(found) for key, found in folded.withdrawn.items() if key[0] == release_id},
            decision=folded.decided.get(release_id),
            signed=tuple(sorted(of_release, key=lambda one: (one.index, one.key))),
        )

    @asynccontextmanager
    async def catching_up(self, *, alone):
        async with self._turn:
            yield PlainStep(self, alone=alone)


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
        case WasSigned(entry):
            first = next((one for (release, _), one in folded.signed.items() if release == entry.release), None)
            refuse_second_digest(index, entry, first)
            folded.signed.setdefault((entry.release, entry.key), LoggedSignature.of(index, entry))
        case PolicySeen():
            refuse_forked_policy(index, fact, folded.policies.get(fact.serial))
            folded.policies.setdefault(fact.serial, fact.digest)
        case Forged():
            folded.forged += 1
