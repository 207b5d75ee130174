"""What approvers sign has one spelling, and a manifest another: whatever is written otherwise is no approval."""

import hashlib
import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from attestor.core import canonical
from attestor.core.approvaldocuments import (
    MAX_MANIFEST,
    MAX_MANIFEST_BYTES,
    ApprovalDocument,
    RevocationDocument,
    encode_approval,
    encode_manifest,
    encode_revocation,
    read_approval,
    read_manifest,
    read_revocation,
)
from attestor.core.errors import AttestorError, Malformed
from tests.core.approvalground import document

ONE = document()
OF_MANIFEST = document(manifest=b"any")
LINE, _, JSON = encode_approval(ONE).partition(b"\n")
TAKEN_BACK = RevocationDocument(origin="attestor.example.org", approval="ab" * 32, nonce="0" * 32)


def members(**changes):
    """The document with some members changed, or left out where they are ``...``."""
    whole = json.loads(JSON) | changes
    return canonical.encode({name: value for name, value in whole.items() if value is not ...})


@pytest.mark.parametrize("each", [ONE, OF_MANIFEST], ids=["of one request", "of a manifest"])
def test_what_was_written_is_read(each):
    raw = encode_approval(each)
    assert read_approval(raw) == each
    assert raw.startswith(b"attestor approval v1\n{")
    assert not raw.endswith(b"\n")
    assert b"null" not in raw


def test_every_member_stands_in_what_is_signed():
    assert json.loads(JSON).keys() == {
        "origin", "action", "tier", "rules", "reason", "notBefore", "until", "nonce", "request", "release", "digest",
    }  # fmt: skip


OTHER_SPELLINGS = {
    "no first line": JSON,
    "nothing": b"",
    "the first line alone": LINE,
    "the first line and its end alone": LINE + b"\n",
    "another version": b"attestor approval v2\n" + JSON,
    "the first line of a revocation": b"attestor approval revocation v1\n" + JSON,
    "the first line ended as on Windows": LINE + b"\r\n" + JSON,
    "something before the first line": b"\n" + LINE + b"\n" + JSON,
    "an empty second line": LINE + b"\n\n" + JSON,
    "a newline at the end": LINE + b"\n" + JSON + b"\n",
    "a NUL at the end": LINE + b"\n" + JSON + b"\0",
    "a byte order mark": LINE + b"\n\xef\xbb\xbf" + JSON,
    "spaces between members": LINE + b"\n" + json.dumps(json.loads(JSON)).encode(),
    "lines and indents": LINE + b"\n" + json.dumps(json.loads(JSON), indent=1).encode(),
    "members in another order": LINE
    + b"\n"
    + json.dumps(dict(reversed(json.loads(JSON).items())), separators=(",", ":")).encode(),
    "an escape where none is needed": LINE + b"\n" + JSON.replace(b'"downgrade"', b'"downgrad\\u0065"'),
    "a member twice": LINE + b"\n" + JSON.replace(b'"action":', b'"action":"quota","action":', 1),
    "an unknown member": LINE + b"\n" + members(more=1),
    "a member that is null": LINE + b"\n" + members(manifest=None),
    "no origin": LINE + b"\n" + members(origin=...),
    "no window": LINE + b"\n" + members(until=...),
    "no nonce": LINE + b"\n" + members(nonce=...),
    "a nonce of 15 bytes": LINE + b"\n" + members(nonce="0" * 30),
    "an unknown action": LINE + b"\n" + members(action="everything"),
    "an action in upper case": LINE + b"\n" + members(action="Downgrade"),
    "a digest in upper case": LINE + b"\n" + members(digest="AA" * 32),
    "a digest with a newline after it": LINE + b"\n" + members(digest="aa" * 32 + "\n"),
    "a tier that no policy can name": LINE + b"\n" + members(tier="Packages"),
    "a number for a string": LINE + b"\n" + members(origin=1),
    "an array": LINE + b"\n[]",
    "two documents": LINE + b"\n" + JSON + JSON,
    "a request, and a manifest beside it": LINE + b"\n" + members(manifest="ab" * 32),
    "neither a request nor a manifest": LINE + b"\n" + members(request=..., release=..., digest=...),
    "no digest": LINE + b"\n" + members(digest=...),
    "no release": LINE + b"\n" + members(release=...),
    "no request": LINE + b"\n" + members(request=...),
    "a digest beside a manifest": LINE + b"\n" + members(manifest="ab" * 32, request=..., release=...),
    "a request beside a manifest": LINE + b"\n" + members(manifest="ab" * 32, digest=..., release=...),
    "a time with a zone": LINE + b"\n" + members(until="2026-03-02T00:00:00+00:00"),
    "a time with fractions": LINE + b"\n" + members(until="2026-03-02T00:00:00.5Z"),
    "a time without a zone": LINE + b"\n" + members(until="2026-03-02T00:00:00"),
    "digits of another script": LINE + b"\n" + members(until="2026-03-0\u0662T00:00:00Z"),
}  # fmt: skip


@pytest.mark.parametrize("raw", OTHER_SPELLINGS.values(), ids=OTHER_SPELLINGS)
def test_an_approval_is_not(raw):
    with pytest.raises(Malformed) as refused:
        read_approval(raw)
    assert refused.value.code == "approval-malformed"


@pytest.mark.parametrize(
    "time",
    ["2026-02-29T00:00:00Z", "2026-02-30T00:00:00Z", "2026-13-01T00:00:00Z", "2026-00-01T00:00:00Z", "2026-01-00T00:00:00Z",
     "2026-01-01T24:00:00Z", "2026-01-01T00:60:00Z", "2026-01-01T00:00:62Z", "0000-01-01T00:00:00Z"],
)  # fmt: skip
@pytest.mark.parametrize("member", ["notBefore", "until"])
def test_no_calendar_has(member, time):
    with pytest.raises(Malformed, match="no calendar"):
        read_approval(LINE + b"\n" + members(**{member: time}))


@pytest.mark.parametrize("time", ["2028-02-29T00:00:00Z", "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"])
def test_a_calendar_has(time):
    assert read_approval(LINE + b"\n" + members(until=time)).until == time


RAW = encode_approval(ONE)


@given(st.integers(0, len(RAW) - 1), st.integers(1, 255))
@example(len(LINE), ord("\n") ^ ord(" "))
def test_law_no_changed_byte_leaves_it_the_same_approval(place, difference):
    changed = RAW[:place] + bytes([RAW[place] ^ difference]) + RAW[place + 1 :]
    try:
        read = read_approval(changed)
    except Malformed as error:
        assert error.code == "approval-malformed"  # noqa: PT017 - either outcome is a pass
    else:
        assert read != ONE
        assert encode_approval(read) == changed


@given(st.binary(max_size=200), st.sampled_from([b"", LINE + b"\n", LINE + b'\n{"action":']))
def test_law_whatever_is_read_is_what_would_be_written(junk, before):
    try:
        read = read_approval(before + junk)
    except Malformed:
        return
    assert encode_approval(read) == before + junk


# ------------------------------------------------------------------------------------------------ taking one back


def test_a_revocation_is_read_as_it_was_written():
    assert read_revocation(encode_revocation(TAKEN_BACK)) == TAKEN_BACK


NO_REVOCATIONS = {
    "an approval": RAW,
    "an approval under a revocation's line": b"attestor approval revocation v1\n" + JSON,
    "a revocation under an approval's line": RAW[: len(LINE) + 1] + encode_revocation(TAKEN_BACK).partition(b"\n")[2],
    "one with a space": encode_revocation(TAKEN_BACK).replace(b":", b": ", 1),
    "one with an unknown member": encode_revocation(TAKEN_BACK).replace(b"{", b'{"a":1,', 1),
    "one with a newline at the end": encode_revocation(TAKEN_BACK) + b"\n",
    "nothing": b"",
}


@pytest.mark.parametrize("raw", NO_REVOCATIONS.values(), ids=NO_REVOCATIONS)
def test_a_revocation_is_not(raw):
    with pytest.raises(Malformed) as refused:
        read_revocation(raw)
    assert refused.value.code == "approval-malformed"


@pytest.mark.parametrize(
    "raw", [encode_revocation(TAKEN_BACK), NO_REVOCATIONS["a revocation under an approval's line"]]
)
def test_a_revocation_approves_nothing(raw):
    with pytest.raises(Malformed):
        read_approval(raw)


# ------------------------------------------------------------------------------------------------ manifests


def pairs(count):
    return {(f"{number:064x}", f"{number % 7:064x}") for number in range(count)}


def manifest(listed):
    return canonical.encode({"releases": listed})


def test_a_manifest_of_ten_thousand_pairs_is_written_and_read():
    raw = encode_manifest(pairs(MAX_MANIFEST))
    assert read_manifest(raw) == pairs(MAX_MANIFEST)
    assert len(pairs(MAX_MANIFEST)) == MAX_MANIFEST == 10_000
    assert len(raw) <= MAX_MANIFEST_BYTES


def test_one_more_is_neither_written_nor_read():
    with pytest.raises(AttestorError) as refused:
        encode_manifest(pairs(MAX_MANIFEST + 1))
    assert refused.value.code == "manifest-too-large"
    with pytest.raises(AttestorError) as refused:
        read_manifest(manifest(sorted(pairs(MAX_MANIFEST + 1))))
    assert refused.value.code == "manifest-malformed"


def test_a_manifest_of_too_many_bytes_is_not_even_decoded():
    with pytest.raises(AttestorError) as refused:
        read_manifest(b"[" * (MAX_MANIFEST_BYTES + 1))
    assert refused.value.code == "manifest-too-large"


FIRST, SECOND = ("aa" * 32, "bb" * 32), ("aa" * 32, "cc" * 32)
NO_MANIFESTS = {
    "empty": manifest([]),
    "in another order": manifest([SECOND, FIRST]),
    "with a pair twice": manifest([FIRST, FIRST]),
    "with a digest in upper case": manifest([("AA" * 32, "bb" * 32)]),
    "with three in a pair": manifest([(*FIRST, "cc" * 32)]),
    "with one in a pair": manifest([FIRST[:1]]),
    "with an unknown member": manifest([FIRST]).replace(b"{", b'{"a":1,', 1),
    "with spaces": manifest([FIRST]).replace(b",", b", ", 1),
    "with a newline at the end": manifest([FIRST]) + b"\n",
    "an array": canonical.encode([FIRST]),
    "nothing": b"",
    "no UTF-8": b"\xff",
}


@pytest.mark.parametrize("raw", NO_MANIFESTS.values(), ids=NO_MANIFESTS)
def test_a_manifest_is_not(raw):
    with pytest.raises(Malformed) as refused:
        read_manifest(raw)
    assert refused.value.code == "manifest-malformed"


HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)


@given(st.lists(st.tuples(HEX, HEX), min_size=1, max_size=8))
def test_law_a_manifest_is_one_document_whatever_order_its_pairs_came_in(listed):
    raw = encode_manifest(listed)
    assert raw == encode_manifest(reversed(listed + listed[:2]))
    assert read_manifest(raw) == set(listed)


def test_a_document_of_the_longest_names_is_no_larger_than_what_is_taken():
    longest = msgspec.structs.replace(ONE, origin="o" * 63, tier="t" * 63)
    assert len(encode_approval(longest)) < 1024
    assert isinstance(read_approval(encode_approval(longest)), ApprovalDocument)
    assert hashlib.sha256(encode_approval(longest)).digest() != hashlib.sha256(RAW).digest()
