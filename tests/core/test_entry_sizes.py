"""No entry of the log ever has more than 65,535 bytes (C2SP tlog-tiles), whatever names, votes and numbers it is made of."""

import hashlib
from collections import Counter
from types import SimpleNamespace
from typing import get_args

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from attestor.core.entries import (
    MAX_NOT_COUNTED,
    MAX_NUMBER,
    MAX_PAIRS,
    CanaryEntry,
    CountedVote,
    DecisionEntry,
    Entry,
    LateDissentEntry,
    NamedArtifact,
    NamedPolicy,
    NamedRelease,
    PolicyEntry,
    Received,
    RevocationEntry,
    SignatureEntry,
    SpentApproval,
    UncountedVote,
    WithdrawalEntry,
)
from attestor.core.entrybytes import MAX_ENTRY, encode_entry, read_entry, received_entries, seal_entry
from attestor.core.errors import Malformed
from attestor.core.keys import MAX_KEYS
from attestor.core.tierrules import MAX_APPROVERS, Action
from tests.logkeys import seal

LONGEST = 63
MAX_APPROVALS = len(Action) * MAX_APPROVERS
LARGEST = 2**53 - 1
HEX, UUID, FINGERPRINT, ANCHOR = "f" * 64, "ffffffff-ffff-ffff-ffff-ffffffffffff", "F" * 40, "f" * 32
SEALED = seal()


def name(number, length):
    """A name of the policy, different for each number below 1,000."""
    return f"{number:03d}".ljust(length, "-")


def digest(*words):
    return hashlib.sha256(repr(words).encode()).digest()


LENGTHS = st.one_of(st.just(LONGEST), st.integers(3, LONGEST))
VOTES = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 7), st.integers(1, 12)), max_size=80)


@given(VOTES, LENGTHS)
@example([(operator, payload, 1) for operator in range(48) for payload in range(8)], LONGEST)
@example([(0, 0, 1000)], LONGEST)
@example([(operator, 0, 2) for operator in range(400)], LONGEST)
@settings(max_examples=60)
def test_what_one_intake_took_in_is_split_into_entries_that_fit(votes, length):
    """Each is (operator, payload, on how many releases)."""
    told = [
        (
            name(operator, length),
            digest(operator, payload),
            digest("envelope", operator, payload),
            digest(release).hex(),
        )
        for operator, payload, releases in votes
        for release in range(releases)
    ]
    entries = received_entries(told)
    named = Counter(
        (vote.operator, bytes.fromhex(vote.payload), bytes.fromhex(vote.envelope), release)
        for entry in entries
        for vote in entry.votes
        for release in vote.releases
    )
    assert named == Counter(set(told))
    for entry in entries:
        raw = encode_entry(entry)
        assert len(raw) <= MAX_ENTRY
        assert read_entry(raw) == entry


def decision(*, counted=0, uncounted=0, approvals=0, length=LONGEST, **changes):
    said = {
        "verdict": "refuse",
        "request": UUID,
        "number": MAX_NUMBER,
        "release": NamedRelease(id=HEX, kind="database", purl="p" * 512, file_name="f" * 255),
        "artifact": NamedArtifact(size=2**50, sha256=HEX, sha512=HEX * 2),
        "tier": name(0, length),
        "policy": NamedPolicy(serial=LARGEST, digest=HEX),
        "reason": "r" * LONGEST,
        "signing_key": name(0, length),
        "key": FINGERPRINT,
        "created": "9999-12-31T23:59:59Z",
        "counted": tuple(CountedVote(operator=name(number, length), payload=HEX) for number in range(counted)),
        "not_counted": tuple(
            UncountedVote(operator=name(number, length), payload=HEX, reason="r" * length)
            for number in range(uncounted)
        ),
        "evidence": HEX,
        "approvals": tuple(
            SpentApproval(action="downgrade", approver=name(number, length), document=HEX)
            for number in range(approvals)
        ),
        "requester": name(0, length),
        "period": "9999-12-31",
        "packages": HEX,
        "anchor": ANCHOR,
    }
    return DecisionEntry(**(said | changes))


@given(st.integers(0, MAX_KEYS), st.integers(0, MAX_NOT_COUNTED), st.integers(0, MAX_APPROVALS), LENGTHS)
@example(MAX_KEYS, MAX_NOT_COUNTED, MAX_APPROVALS, LONGEST)
@settings(max_examples=40)
def test_a_decision_with_as_many_votes_and_approvals_as_there_can_be_fits(counted, uncounted, approvals, length):
    entry = decision(counted=counted, uncounted=uncounted, approvals=approvals, length=length)
    raw = seal_entry(entry, SEALED)
    assert len(raw) <= MAX_ENTRY
    assert msgspec.structs.replace(read_entry(raw), seal=None) == entry


def test_more_votes_or_approvals_are_no_decision_entry():
    """The bound is the form's own, and as many operators and approvers as that no policy can have."""
    for one_more in ({"counted": MAX_KEYS + 1}, {"uncounted": MAX_NOT_COUNTED + 1}, {"approvals": MAX_APPROVALS + 1}):
        with pytest.raises(Malformed):
            read_entry(encode_entry(decision(**one_more)))


OTHERS = SimpleNamespace(
    signature=SignatureEntry(
        request=UUID,
        release=HEX,
        sha256=HEX,
        decision=LARGEST,
        signature=HEX,
        key=FINGERPRINT,
        summary=HEX,
        anchor=ANCHOR,
    ),
    policy=PolicyEntry(serial=LARGEST, digest=HEX, anchor=ANCHOR),
    withdrawal=WithdrawalEntry(operator="o" * LONGEST, payload=HEX, release=HEX, envelope=HEX),
    late_dissent=LateDissentEntry(operator="o" * LONGEST, payload=HEX, release=HEX),
    revocation=RevocationEntry(approval=HEX),
    canary=CanaryEntry(instance="i" * LONGEST, key=FINGERPRINT, created="9999-12-31T23:59:59Z", anchor=ANCHOR),
)


@pytest.mark.parametrize("kind", vars(OTHERS))
def test_entries_of_a_fixed_form_are_small_at_their_largest(kind):
    entry = getattr(OTHERS, kind)
    raw = seal_entry(entry, SEALED) if hasattr(entry, "seal") else encode_entry(entry)
    assert len(raw) < 1500
    assert msgspec.structs.replace(read_entry(raw), **({"seal": None} if hasattr(entry, "seal") else {})) == entry


def test_every_kind_of_entry_is_tried_here():
    tried = {type(entry) for entry in vars(OTHERS).values()} | {DecisionEntry, Received}
    assert tried == set(get_args(Entry))


def test_an_entry_that_the_form_allows_and_no_leaf_can_hold_is_refused():
    releases = tuple(digest(number).hex() for number in range(MAX_PAIRS))
    votes = received_entries(("o", digest(number), digest(number), HEX) for number in range(MAX_PAIRS))[0].votes
    raw = encode_entry(Received(votes=tuple(msgspec.structs.replace(vote, releases=releases) for vote in votes)))
    assert len(raw) > MAX_ENTRY
    with pytest.raises(Malformed, match="are the limit"):
        read_entry(raw)
