"""A service whose log anybody may write to, and which gives out what it is told to: what an auditor looks at."""

import asyncio
import hashlib
from dataclasses import replace

import msgspec

from attestor.core.bundle import Bundle, bundled_release, encode_bundle
from attestor.core.entries import PolicyEntry, WithdrawalEntry
from attestor.core.entrybytes import encode_entry, received_entries, seal_entry
from attestor.core.errors import Missing
from attestor.core.policyfile import parse_policy
from attestor.openpgp.approvers import Approvers
from attestor.service.audit import audit
from attestor.service.auditports import Auditor
from tests.bundles import ANCHOR, Log, Making, policy_file
from tests.logkeys import log_signer, seal
from tests.memorylog import MemoryLog
from tests.service.makers import ORIGIN, make_policy, package, payload_digest, vote, withdrawal

KEY = log_signer(ORIGIN)
OPERATORS = ("alice", "bob", "carol")
FIRST = policy_file(operators=OPERATORS)
SECOND = policy_file(operators=OPERATORS, serial=8)
THIRD = policy_file(operators=OPERATORS, serial=9, seals=("another", "signer"))
LAX = policy_file(operators=OPERATORS, threshold=2, dissent_limit=1, serial=8)
DOUBTING = make_policy(serial=8, revoked=("alice",), dissent_limit=1).raw
GOOD, BAD = b"These are the bytes.", b"These are others."


class World:
    """A service: its log, which anybody may write to here, and what it gives out."""

    def __init__(self):
        self.log = MemoryLog(signer=KEY)
        self.envelopes = {}
        self.signed = {}
        self.spoilt = {}
        self.fetching = self.most = 0

    def tell(self, *entries):
        """The index of the last one."""
        self.log.grow(entries)
        return self.log.size - 1

    def policy(self, raw=FIRST, by="signer"):
        parsed = parse_policy(raw, "policy.toml")
        return self.tell(seal_entry(PolicyEntry(serial=parsed.serial, digest=parsed.digest, anchor=ANCHOR), seal(by)))

    def receive(self, release, *votes, log=True):
        """*votes* are (operator, content), and a key where it does not bear the operator's name."""
        for operator, content, *key in votes:
            body, payload = vote(release, content, *(key or [operator])), payload_digest(release, content)
            self.envelopes[release.id, operator, payload.hex()] = body
            if log:
                entries = received_entries([(operator, payload, hashlib.sha256(body).digest(), release.id)])
                self.tell(*map(encode_entry, entries))

    def withdraw(self, release, operator, content, log=True, key=None):
        """The withdrawal's bytes, for the evidence; *key* where it does not bear the operator's name."""
        payload = payload_digest(release, content)
        body = withdrawal(release, payload, key or operator)
        entry = WithdrawalEntry(
            operator=operator, payload=payload.hex(), release=release.id, envelope=hashlib.sha256(body).hexdigest()
        )
        if log:
            self.tell(encode_entry(entry))
        return body

    def decide(self, making, by="signer"):
        return self.tell(seal_entry(making.decision(), seal(by)) if by else encode_entry(making.decision()))

    def sign(self, making, index, by="signer"):
        raw = self.log.stored[index] if index < self.log.size else b""
        decision = making.decision()
        signature, summary = making.signature(index), making.summary(decision, index, raw)
        signed = making.signed(decision, index, signature, summary)
        at = self.tell(seal_entry(signed, seal(by)))
        self.signed.setdefault((making.release.id, signed.sha256), (making, index, at, signature, summary))
        return at

    async def envelope(self, release_id, operator, payload):
        return await self._given(self.envelopes.get((release_id, operator, payload)))

    async def bundle(self, release_id, digest):
        if (release_id, digest) not in self.signed:
            return await self._given(None)
        making, index, at, signature, summary = self.signed[release_id, digest]
        log = Log(tuple(self.log.stored), signer=KEY)
        bundle = Bundle(
            release=bundled_release(making.release),
            artifact=making.artifact(),
            policy=making.policy,
            evidence=making.dossier[0].raw,
            envelopes=tuple(body for _, _, body, _ in making.weighed),
            withdrawals=making.withdrawals,
            signature=signature,
            decision=log.logged(index),
            signed=log.logged(at),
            summary=summary,
            manifests=tuple({each.manifest for each in making.approvals} - {None}),
        )
        return await self._given(encode_bundle(replace(bundle, **self.spoilt)))

    async def _given(self, body):
        self.fetching += 1
        self.most = max(self.most, self.fetching)
        await asyncio.sleep(0)
        self.fetching -= 1
        if body is None:
            raise Missing("gone", "It is not here.")
        return body


def making(*votes, release=None, content=GOOD, **more):
    release = release or package()
    envelopes = tuple((operator, vote(release, said, *(key or [operator]))) for operator, said, *key in votes)
    return Making(**({"policy": FIRST, "release": release, "content": content, "envelopes": envelopes} | more))


AGREED = (("alice", GOOD), ("bob", GOOD))


def released(world, *votes, by="signer", release=None, **more):
    """One release as an honest service brings it out; the index of its decision."""
    made = making(*(votes or AGREED), release=release, **more)
    world.receive(made.release, *(votes or AGREED))
    index = world.decide(made, by)
    world.sign(made, index, by)
    return index


def other(entry, **changes):
    return msgspec.structs.replace(entry, **changes)


async def looked(world, book, policies, progress=lambda _done, _of: None, served=None):
    """What the audit waits for, and the codes with the indices that nobody acknowledged."""
    parsed = [parse_policy(raw, "policy.toml") for raw in policies]
    by_digest = {one.digest: one for one in parsed}
    waits = await audit(Auditor(world.log, served or world, book, by_digest, Approvers().verify), progress)
    return waits, [(finding.code, finding.index) for finding in book.findings(100)]
