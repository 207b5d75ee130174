"""A log that was written as it should be is found right; whatever is changed in it is found, and where."""

import pytest

from attestor.core.entries import CanaryEntry, NamedArtifact, RevocationEntry, SpentApproval
from attestor.core.entrybytes import encode_entry, seal_entry
from attestor.core.errors import Unavailable
from attestor.core.seal import SealRing
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.tiles import parse_tile_path
from attestor.service.logcheck import check_log
from tests.loghistory import (
    ANCHOR,
    KEY,
    decision,
    hexed,
    history,
    late_dissent,
    policy,
    received,
    release_of,
    request_of,
    signature,
    withdrawal,
)
from tests.logkeys import seal
from tests.memorylog import SIGNER, MemoryLog

RING = SealRing([seal().public])
GOOD = history(120)
SIZE = 601


def silent(_done, _of):
    pass


async def found(log, seals=RING):
    report = await check_log(log, SIGNER.verifier, silent, seals=seals)
    return [(finding.code, finding.index) for finding in report.findings]


async def test_a_right_log_has_no_findings():
    seen = []
    report = await check_log(MemoryLog(GOOD), SIGNER.verifier, lambda *done: seen.append(done), seals=RING)
    assert (report.findings, report.more) == ((), 0)
    assert (report.origin, report.size, len(report.root)) == ("log.example/test", SIZE, 64)
    assert report.kinds == {"policy": 1, "received": 240, "decision": 120, "signature": 120, "late-dissent": 120}
    assert seen == [(SIZE, SIZE)]


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 513])
async def test_every_size_is_read_to_its_end(size):
    log = MemoryLog(GOOD[:size])
    report = await check_log(log, SIGNER.verifier, silent, seals=RING)
    assert (report.size, sum(report.kinds.values()), report.findings) == (size, size, ())
    expected = [
        (level, index, count)
        for level, count in [(-1, size), (0, size), (1, size // 256)]
        for index in range(-(-count // 256))
    ]
    assert len(set(log.asked)) == len(log.asked) == len(expected)


@pytest.mark.parametrize(
    ("path", "spoil", "codes"),
    [
        ("tile/0/001", lambda raw: raw[:32] + raw[:32] + raw[64:], {"tile-differs"}),
        ("tile/0/001", lambda raw: raw[:-32], {"tile-differs"}),
        ("tile/0/001", lambda raw: raw + raw[:32], {"tile-differs"}),
        ("tile/0/001", lambda _raw: None, {"tile-missing"}),
        ("tile/0/002.p/89", lambda raw: raw[:-1] + bytes([raw[-1] ^ 1]), {"tile-differs"}),
        ("tile/1/000.p/2", lambda raw: raw[32:] + raw[:32], {"tile-differs"}),
        ("tile/1/000.p/2", lambda _raw: None, {"tile-missing"}),
        ("tile/entries/001", lambda _raw: None, {"tile-missing"}),
        ("tile/entries/001", lambda raw: raw[:-1], {"bundle-malformed"}),
        ("tile/entries/001", lambda raw: b"\xff\xff" + raw[2:], {"bundle-malformed"}),
        (
            "tile/entries/002.p/89",
            lambda raw: raw[:-3] + b"x" + raw[-2:],
            {"entry-malformed", "tile-differs", "root-differs"},
        ),
    ],
)
async def test_what_is_served_and_is_not_the_signed_tree_is_found(path, spoil, codes):
    log = MemoryLog(GOOD)
    log.spoilt[path] = spoil(log.bytes_of(parse_tile_path(path)))
    kept = {code for code, _ in await found(log)}
    assert codes <= kept
    # The votes and decisions of a bundle that cannot be read are unknown to what rests on them.
    assert kept - codes <= {"decision-missing", "vote-not-received"}


@pytest.mark.parametrize("place", [0, 255, 256, 600])
async def test_a_single_changed_bit_of_any_bundle_is_found(place):
    entries = list(GOOD)
    entries[place] = late_dissent(10_000 + place)
    log = MemoryLog(GOOD)
    other = MemoryLog(entries)
    log.bytes_of = other.bytes_of
    assert ("root-differs", None) in await found(log)


@pytest.mark.parametrize(
    ("note", "code"),
    [
        (sign_checkpoint(Checkpoint("log.example/test", SIZE, bytes(32)), SIGNER), "root-differs"),
        (sign_checkpoint(Checkpoint("log.example/test", SIZE + 1, bytes(32)), SIGNER), "tile-missing"),
        (b"nothing\n", "note-malformed"),
        (
            sign_checkpoint(Checkpoint("log.example/test", SIZE, bytes(32)), SIGNER).replace(b"601", b"600"),
            "note-signature",
        ),
    ],
    ids=["another root", "more than there is", "no note", "changed"],
)
async def test_a_checkpoint_that_says_something_else_is_found(note, code):
    log = MemoryLog(GOOD)
    log.note = note
    assert code in {each for each, _ in await found(log)}


LAST = history(3)  # the policy, then two votes, decision (3, 8, 13), signature, late dissent of each
RELEASE = release_of(9).id


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ([b"{}"], [("entry-malformed", 16)]),
        ([late_dissent(9).replace(b",", b", ", 1)], [("entry-malformed", 16)]),
        ([late_dissent(9).replace(b'"version":1', b'"version":2')], [("entry-malformed", 16)]),
        ([late_dissent(0)], [("entry-twice", 16)]),
        ([LAST[3]], [("entry-twice", 16)]),
        ([LAST[4]], [("entry-twice", 16), ("signature-twice", 16)]),
        ([decision(9)], [("vote-not-received", 16), ("vote-not-received", 16)]),
        ([received(9, "alice"), decision(9)], [("vote-not-received", 17)]),
        ([received(9, "alice"), received(9, "bob", release=hexed("else")), decision(9)], [("vote-not-received", 18)]),
        ([received(9, "alice"), received(9, "bob", payload=hexed("else")), decision(9)], [("vote-not-received", 18)]),
        ([received(9, "alice"), decision(9), received(9, "bob")], [("vote-not-received", 17)]),
        ([received(9, "alice"), received(9, "bob"), decision(9), signature(9, 18)], []),
        ([signature(9, 17)], [("decision-missing", 16)]),
        ([signature(9, 16)], [("decision-missing", 16)]),
        ([signature(9, 1)], [("decision-missing", 16)]),
        ([signature(9, 3)], [("decision-differs", 16)]),
        ([signature(0, 3, request=str(hexed("x"))[:8] + "-1111-1111-1111-111111111111")], [("decision-differs", 16)]),
        ([decision(9, operators=()), signature(9, 16, key="CD" * 20)], [("decision-differs", 17)]),
        ([decision(9, operators=()), signature(9, 16, sha256=hexed("x"))], [("decision-differs", 17)]),
        ([decision(9, operators=(), verdict="refuse"), signature(9, 16)], [("decision-missing", 17)]),
        (
            [
                decision(9, operators=(), request="00000000-0000-0000-0000-00000000aaaa"),
                signature(9, 16, request="00000000-0000-0000-0000-00000000aaaa", release=release_of(0).id),
            ],
            [("decision-differs", 17), ("release-signed-twice", 17)],
        ),
        ([decision(0, request=request_of(90)), signature(0, 16, request=request_of(90))], [("signature-twice", 17)]),
        ([decision(0, request=request_of(90), key="CD" * 20), signature(0, 16, request=request_of(90), key="CD" * 20)], []),
        ([policy(1, "0b" * 32)], [("policy-forked", 16)]),
        ([policy(2, "0b" * 32)], []),
        ([policy(2, "0b" * 32, sealed_by=None)], [("seal-missing", 16)]),
        ([decision(9, operators=(), sealed_by="stranger")], [("seal-unknown", 16)]),
        ([decision(9, operators=(), sealed_by=None)], [("seal-missing", 16)]),
        ([decision(9, operators=(), sealed_by=None, verdict="refuse")], []),
        ([decision(9, operators=()).replace(b'"size":1', b'"size":2')], [("seal-invalid", 16)]),
        ([decision(9, operators=(), sealed_by=None), signature(9, 16)], [("seal-missing", 16), ("decision-missing", 17)]),
        ([withdrawal(9)], []),
    ],
)  # fmt: skip
async def test_an_entry_that_must_not_stand_there_is_found(added, expected):
    assert await found(MemoryLog([*LAST, *added])) == expected


SPENT = (SpentApproval(action="release", approver="anna", document=hexed("approval")),)
LATER = request_of(90)
AGAIN = {"operators": (), "approvals": SPENT, "request": LATER}
TAKEN_BACK = encode_entry(RevocationEntry(approval=hexed("approval")))
CANARY = seal_entry(CanaryEntry(instance="signer-1", key=KEY, created="2026-03-01T12:00:00Z", anchor=ANCHOR), seal())


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        ([decision(9, operators=(), approvals=SPENT), signature(9, 16)], []),
        ([decision(9, operators=(), approvals=SPENT), decision(9, **AGAIN)], []),
        ([decision(9, operators=(), approvals=SPENT), decision(9, **AGAIN), signature(9, 16)], []),
        ([decision(9, operators=(), approvals=SPENT), decision(9, **AGAIN), signature(9, 17, request=LATER)],
         [("approval-spent-twice", 18)]),
        ([decision(9, operators=(), approvals=SPENT), decision(8, **AGAIN), signature(8, 17, request=LATER)], []),
        ([decision(9, operators=(), approvals=SPENT, sealed_by="stranger"), decision(9, **AGAIN), signature(9, 17, request=LATER)],
         [("seal-unknown", 16)]),
        ([decision(9, operators=(), approvals=SPENT), TAKEN_BACK, signature(9, 16)], []),
        ([TAKEN_BACK, decision(9, operators=(), approvals=SPENT)], []),
        ([TAKEN_BACK, decision(9, operators=(), approvals=SPENT), signature(9, 17)], [("approval-revoked", 18)]),
        ([TAKEN_BACK, TAKEN_BACK], [("entry-twice", 17)]),
        ([CANARY], []),
        ([CANARY.replace(b"signer-1", b"signer-2")], [("seal-invalid", 16)]),
    ],
)  # fmt: skip
async def test_approvals_are_spent_once_and_not_after_they_were_taken_back(added, expected):
    assert await found(MemoryLog([*LAST, *added])) == expected


def re_signed(number, sha256, at, approvals=(), key=KEY):
    changed = {"operators": (), "artifact": NamedArtifact(size=1, sha256=sha256, sha512=sha256 * 2), "key": key}
    request = request_of(number)
    return [
        decision(0, request=request, approvals=approvals, **changed),
        signature(0, at, request=request, sha256=sha256, key=key, signature=hexed(number)),
    ]


TO_RE_SIGN = (SpentApproval(action="re-sign", approver="anna", document=hexed("approval")),)


async def test_a_second_digest_is_approved_once_and_both_are_known_from_there_on():
    first, second = hexed("file", 0), hexed("another")
    added = [
        *re_signed(90, second, 16, TO_RE_SIGN),
        *re_signed(91, second, 18, key="CD" * 20),
        *re_signed(92, first, 20, key="EF" * 20),
    ]
    assert await found(MemoryLog([*LAST, *added])) == []
    third = re_signed(93, hexed("third"), 22)
    assert await found(MemoryLog([*LAST, *added, *third])) == [("release-signed-twice", 23)]


async def test_without_a_policy_seals_are_believed():
    log = MemoryLog([*LAST, decision(9, operators=(), sealed_by="stranger"), signature(9, 16, sealed_by=None)])
    assert await found(log, seals=None) == []


async def test_a_log_that_is_all_wrong_is_not_kept_whole():
    report = await check_log(MemoryLog([b"x"] * 300), SIGNER.verifier, silent)
    assert (len(report.findings), report.more) == (100, 200)


async def test_a_log_that_does_not_answer_is_no_finding():
    class Gone(MemoryLog):
        async def tile(self, tile):
            raise Unavailable("unreachable", f"Nobody there who has {tile}.")

    with pytest.raises(Unavailable):
        await found(Gone(GOOD))
