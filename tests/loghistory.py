"""A log's history as the program writes it: policies, votes, decisions and signatures, sealed by the tests' signer."""

import hashlib
from functools import cache
from uuid import UUID

from attestor.core.authorisation import named_release
from attestor.core.entries import (
    CountedVote,
    DecisionEntry,
    LateDissentEntry,
    NamedArtifact,
    NamedPolicy,
    PolicyEntry,
    SignatureEntry,
    WithdrawalEntry,
)
from attestor.core.entrybytes import encode_entry, received_entries, seal_entry
from attestor.core.naming import parse_release
from tests.logkeys import seal

ANCHOR = "ef" * 16
KEY = "AB" * 20
POLICY = "0a" * 32


def hexed(*parts):
    return hashlib.sha256(" ".join(map(str, parts)).encode()).hexdigest()


@cache
def release_of(number):
    return parse_release("package", f"pkg:alpm/arch/p{number}@1-1?arch=any", f"p{number}-1-1-any.pkg.tar.zst")


def request_of(number):
    return str(UUID(int=number))


def received(number, operator="alice", *, body=b"", **changes):
    """*body* is the envelope's bytes."""
    wanted = {"payload": hexed("payload", number, operator), "release": release_of(number).id} | changes
    envelope = hashlib.sha256(body).digest()
    votes = [(operator, bytes.fromhex(wanted["payload"]), envelope, wanted["release"])]
    return encode_entry(received_entries(votes)[0])


def decision(number, *, verdict="sign", sealed_by="signer", operators=("alice", "bob"), **changes):
    entry = DecisionEntry(
        **{
            "verdict": verdict,
            "request": request_of(number),
            "number": 0,
            "release": named_release(release_of(number)),
            "artifact": NamedArtifact(size=1, sha256=hexed("file", number), sha512=hexed("file", number) * 2),
            "tier": "packages",
            "policy": NamedPolicy(serial=1, digest=POLICY),
            "reason": "reached",
            "signing_key": "packages",
            "key": KEY,
            "created": "2026-03-01T12:00:00Z",
            "counted": tuple(CountedVote(operator=one, payload=hexed("payload", number, one)) for one in operators),
            "evidence": hexed("evidence", number),
            "anchor": ANCHOR,
        }
        | changes
    )
    return seal_entry(entry, seal(sealed_by)) if sealed_by else encode_entry(entry)


def signature(number, at, *, sealed_by="signer", **changes):
    """The signature that rests on the decision entry at index *at*."""
    entry = SignatureEntry(
        **{
            "request": request_of(number),
            "release": release_of(number).id,
            "sha256": hexed("file", number),
            "decision": at,
            "signature": hexed("signature", number),
            "key": KEY,
            "summary": hexed("summary", number),
            "anchor": ANCHOR,
        }
        | changes
    )
    return seal_entry(entry, seal(sealed_by)) if sealed_by else encode_entry(entry)


def policy(serial=1, digest=POLICY, *, sealed_by="signer"):
    entry = PolicyEntry(serial=serial, digest=digest, anchor=ANCHOR)
    return seal_entry(entry, seal(sealed_by)) if sealed_by else encode_entry(entry)


def withdrawal(number, operator="carol", body=None):
    return encode_entry(
        WithdrawalEntry(
            operator=operator,
            payload=hexed("payload", number, operator),
            release=release_of(number).id,
            envelope=hexed("withdrawal", number) if body is None else hashlib.sha256(body).hexdigest(),
        )
    )


def late_dissent(number, operator="dave"):
    return encode_entry(
        LateDissentEntry(operator=operator, payload=hexed("payload", number, operator), release=release_of(number).id)
    )


def history(releases):
    """Five entries for each release, after the policy's: two votes, decision, signature, and a late dissent."""
    entries = [policy()]
    for number in range(releases):
        entries += [received(number, "alice"), received(number, "bob"), decision(number)]
        entries += [signature(number, len(entries) - 1), late_dissent(number)]
    return entries
