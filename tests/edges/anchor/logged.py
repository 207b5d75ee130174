"""Entries as a memory is handed them: leaf hashes and facts, and the checkpoints that they come to."""

import hashlib
from datetime import UTC, datetime

from attestor.core.entries import (
    DecisionEntry,
    NamedArtifact,
    NamedPolicy,
    NamedRelease,
    SignatureEntry,
    SpentApproval,
    moment_text,
)
from attestor.core.entrybytes import encode_entry
from attestor.core.naming import parse_release
from attestor.core.past import PolicySeen, WasDecided, WasReceived, WasRevoked, WasSigned, WasWithdrawn
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.merkle import EMPTY, leaf_hash
from attestor.core.tlog.note import NoteSigner

SIGNER = NoteSigner.create("log.example/test", bytes(range(32)))
ORIGIN = SIGNER.verifier.name
FOREIGN = "f" * 32
KEY = "A" * 40


def digest(name):
    return hashlib.sha256(str(name).encode()).digest()


def leaf(index):
    return leaf_hash(b"entry %d" % index)


def tree(size):
    return EMPTY.extended([leaf(index) for index in range(size)])


def checkpoint(size):
    return Checkpoint(ORIGIN, size, tree(size).root)


def note(of):
    return sign_checkpoint(of, SIGNER)


def received(release, operator="one", payload="p", envelope="e"):
    return WasReceived(digest(release).hex(), operator, digest(payload), digest(envelope))


def withdrawn(release, operator="one", payload="p", envelope="w"):
    return WasWithdrawn(digest(release).hex(), operator, digest(payload), digest(envelope))


def decided(release, anchor, number=0):
    entry = DecisionEntry(
        verdict="sign",
        request="00000000-0000-4000-8000-000000000001",
        number=number,
        release=NamedRelease(id=digest(release).hex(), kind="package", purl="pkg:alpm/arch/a@1-1", file_name="a-1-1"),
        artifact=NamedArtifact(size=1, sha256=digest("a").hex(), sha512=2 * digest("a").hex()),
        tier="packages",
        policy=NamedPolicy(serial=1, digest=digest("policy").hex()),
        reason="reached",
        created="2026-01-01T00:00:00Z",
        anchor=anchor,
    )
    named = parse_release("package", "pkg:alpm/arch/a@1-1?arch=any", "a-1-1-any.pkg.tar.zst")
    return WasDecided(entry, encode_entry(entry), named, datetime(2026, 1, 1, tzinfo=UTC))


def decided_on(release, created, sha256="a", *, tier="packages", key="packages", approvals=(), packages=None):
    """A decision to sign *release* (a real one); *approvals* are (action, name of what was signed)."""
    spent = sorted((action, digest(name).hex()) for action, name in approvals)
    entry = DecisionEntry(
        verdict="sign",
        request="00000000-0000-4000-8000-000000000001",
        number=0,
        release=NamedRelease(id=release.id, kind=release.kind.value, purl=release.purl, file_name=release.file_name),
        artifact=NamedArtifact(size=1, sha256=digest(sha256).hex(), sha512=2 * digest(sha256).hex()),
        tier=tier,
        policy=NamedPolicy(serial=1, digest=digest("policy").hex()),
        reason="reached",
        signing_key=key,
        created=moment_text(created),
        approvals=tuple(SpentApproval(action=action, approver="dora", document=name) for action, name in spent),
        packages=digest(packages).hex() if packages else None,
        anchor=FOREIGN,
    )
    return WasDecided(entry, encode_entry(entry), release, created)


def revoked(name):
    return WasRevoked(digest(name))


def signed(release, anchor, sha256="artifact", key=KEY, signature="s"):
    return WasSigned(
        SignatureEntry(
            request="00000000-0000-4000-8000-000000000001",
            release=digest(release).hex(),
            sha256=digest(sha256).hex(),
            decision=0,
            signature=digest(signature).hex(),
            key=key,
            summary=digest("summary").hex(),
            anchor=anchor,
        )
    )


def policy(serial, name, anchor):
    return PolicySeen(serial, digest(name).hex(), anchor)


async def fold(memory, entries, *, alone=True):
    """Fold one entry for each list of facts in *entries*, from where the memory stands, and settle."""
    async with memory.catching_up(alone=alone) as step:
        size = (await step.take((), ())).size
        facts = [(index, fact) for index, entry in enumerate(entries, size) for fact in entry]
        frontier = await step.take([leaf(size + at) for at in range(len(entries))], facts)
        await step.settle(checkpoint(frontier.size), note(checkpoint(frontier.size)))
    return frontier.size
