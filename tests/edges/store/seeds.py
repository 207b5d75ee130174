"""Rows that stand before a signer begins: a release with votes, and a request for its signature."""

import hashlib
from datetime import UTC, datetime
from types import SimpleNamespace

from attestor.core.naming import parse_release
from attestor.service.ports import Document
from attestor.service.signports import Concluded, Made
from tests.edges.store.logmakers import request_id

BYTES = b"the package"
SHA256 = hashlib.sha256(BYTES).digest()
P = parse_release("package", "pkg:alpm/arch/filesystem@1-1?arch=any", "filesystem-1-1-any.pkg.tar.zst")
Q = parse_release("package", "pkg:alpm/arch/bash@1-1?arch=any", "bash-1-1-any.pkg.tar.zst")
RECEIVED = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)
CREATED = datetime(2026, 1, 3, tzinfo=UTC)
KEY = "AB" * 20


def document(body):
    return Document(hashlib.sha256(body).digest(), body)


def concluded(entry, documents, evidence, folded=0, approvals=()):
    """A decision on its way into the log, which everything that was in it before *folded* is known to."""
    return Concluded(entry, documents, evidence, folded, approvals)


async def add_release(owner, release=P):
    insert = "INSERT INTO releases (id, kind, purl, file_name) VALUES ($1, $2, $3, $4)"
    await owner.execute(insert, bytes.fromhex(release.id), str(release.kind), release.purl, release.file_name)


async def add_vote(owner, operator, payload, body, release=P):
    digest = hashlib.sha256(payload).digest()
    await owner.execute("INSERT INTO envelopes VALUES ($1, $2, $3, $4)", operator, digest, body, RECEIVED)
    claim = "INSERT INTO claims VALUES ($1, $2, $3, 'rebuild', '{k}', 'built', $4, NULL, 1, $5)"
    await owner.execute(claim, bytes.fromhex(release.id), operator, digest, SHA256, RECEIVED)


async def add_withdrawal(owner, operator, payload, body, release=P):
    digest, insert = hashlib.sha256(payload).digest(), "INSERT INTO withdrawals VALUES ($1, $2, $3, 'r', $4, now())"
    await owner.execute(insert, operator, digest, bytes.fromhex(release.id), body)


async def add_request(owner, number=1, release=P, *, requester="build-service", state="queued", sha256=SHA256):
    await owner.execute(
        """INSERT INTO signing_requests (id, release_id, requester, tier, size, sha256, sha512, content, content_present,
           state, reason, sentence) VALUES ($1, $2, $3, 'packages', 11, $4, $5, '{"type":"upload"}', true, $6, $6, '')""",
        request_id(number),
        bytes.fromhex(release.id),
        requester,
        sha256,
        hashlib.sha512(BYTES).digest(),
        state,
    )


def made(signature=b"sig", *, re_signs=False):
    """A signature, as the signer hands it over; what the store writes down of its permit."""
    judgement = SimpleNamespace(tier="packages", counted=frozenset({"alice"}))
    permit = SimpleNamespace(judgement=judgement, sha256=SHA256, created=CREATED, decision=7, re_signs=re_signs)
    return Made(permit, KEY, signature)
