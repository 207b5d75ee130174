"""Legacy in-toto links: real ones of rebuilderd verify, and nothing that is encoded ambiguously is read."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.envelope import Envelope, Signature, verify
from attestor.core.errors import AttestorError, Forbidden, Rejected
from attestor.core.keys import KeyRing, parse_public_key
from attestor.core.link import Link, canonical, parse_link

VECTOR = json.loads((Path(__file__).parents[1] / "vectors/rebuilderd-link.json").read_bytes())
NULL_PREFIX = bytes.fromhex("302c300706032b65700500032100")


def published(raw):
    body = base64.b64encode(NULL_PREFIX + raw).decode()
    return parse_public_key(f"-----BEGIN PUBLIC KEY-----\r\n{body}\r\n-----END PUBLIC KEY-----\r\n")


ARCH, DEBIAN = (published(bytes.fromhex(known["raw"])) for known in VECTOR["keys"])
SECRET = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
KEY = published(SECRET.public_key().public_bytes_raw())


def text(link):
    return json.dumps(link).encode()


def signed_by_us(signed, **outer):
    sig = SECRET.sign(canonical(signed)).hex()
    return text({"signatures": [{"keyid": KEY.fingerprint, "sig": sig}], "signed": signed, **outer})


def test_the_canonical_bytes_of_a_real_link_are_those_that_were_signed():
    link = parse_link(text(VECTOR["link"]))
    assert len(link.signed_bytes) == VECTOR["canonical_length"]
    assert link.payload_digest.hex() == VECTOR["canonical_sha256"]
    assert link.payload == link.signed_bytes
    assert link.payload_type is None


def test_a_real_link_counts_for_the_operator_and_not_for_its_unpublished_worker():
    assert verify(parse_link(text(VECTOR["link"])), KeyRing([ARCH, DEBIAN])).keys == {DEBIAN}


def test_a_real_link_is_nothing_to_who_knows_only_another_instance():
    with pytest.raises(Forbidden) as refused:
        verify(parse_link(text(VECTOR["link"])), KeyRing([ARCH]))
    assert refused.value.code == "unknown-key"


def test_the_real_link_of_arch_verifies(real_input):
    key = parse_public_key(real_input("rebuilderd/reproducible-archlinux.pub").read_text())
    link = parse_link(real_input("rebuilderd/filesystem-2025.10.12-1-any.in-toto.link").read_bytes())
    assert key == ARCH
    assert verify(link, KeyRing([key])).keys == {ARCH}


def test_the_real_invalid_link_is_refused(real_input):
    link = parse_link(real_input("rebuilderd/filesystem-2025.10.12-1-any.INVALID.in-toto.link").read_bytes())
    with pytest.raises(Forbidden) as refused:
        verify(link, KeyRing([ARCH]))
    assert refused.value.code == "signature-invalid"


CHANGES = {
    "one digest": (b"32be9549", b"32be9548"),
    "the link's name": (b"rebuild librust", b"rebuild mibrust"),
    "a material": (b"1b6fd8b8", b"1b6fd8b9"),
    "the environment": (b'"environment": null', b'"environment": {}'),
    "a member more": (b'"byproducts"', b'"by": {}, "byproducts"'),
    "a command": (b'"command": []', b'"command": ["x"]'),
    "the operator's signature": (b"51812e8d", b"51812e8c"),
}


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES.keys())
def test_a_real_link_with_anything_changed_is_refused(old, new):
    raw = text(VECTOR["link"])
    assert raw.count(old) == 1
    with pytest.raises(Forbidden) as refused:
        verify(parse_link(raw.replace(old, new)), KeyRing([DEBIAN]))
    assert refused.value.code == "signature-invalid"


def outcome(raw):
    try:
        return verify(parse_link(raw), KeyRing([DEBIAN]))
    except AttestorError:
        return None


def test_no_flipped_bit_of_a_real_link_makes_another_claim():
    raw = json.dumps(VECTOR["link"], separators=(",", ":")).encode()
    true = verify(parse_link(raw), KeyRing([DEBIAN]))
    signed_part, operator_sig = raw.index(b'"signed"'), raw.index(b"51812e8d")
    for place in range(len(raw)):
        for bit in range(8):
            got = outcome(raw[:place] + bytes([raw[place] ^ (1 << bit)]) + raw[place + 1 :])
            assert got in (None, true)
            assert got is None or not (place >= signed_part or operator_sig <= place < operator_sig + 128)


def test_order_and_white_space_are_not_signed_and_change_nothing():
    def turned(value):
        return {k: turned(v) for k, v in reversed(value.items())} if isinstance(value, dict) else value

    again = json.dumps(turned(VECTOR["link"]), indent=7).encode()
    assert parse_link(again).payload_digest == parse_link(text(VECTOR["link"])).payload_digest
    assert verify(parse_link(again), KeyRing([DEBIAN])).payload == parse_link(text(VECTOR["link"])).payload


AMBIGUOUS = {
    "a backslash": "a\\b",
    "a backslash at the end": "a\\",
    "a backslash before a quotation mark": '\\"',
    "an escaped newline, which in-toto-rs turns into a newline": "a\\nb",
    "a newline": "a\nb",
    "a NUL": "a\0b",
    "a DEL": "a\x7fb",
    "an escape character": "\x1b[0m",
    "a letter beyond ASCII": "ä",
    "a character beyond the basic plane": "😀",
    "a line separator": "\u2028",
}


@pytest.mark.parametrize("string", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
@pytest.mark.parametrize(
    "place",
    [lambda s: {"name": s}, lambda s: {s: 1}, lambda s: {"a": [{"b": [s]}]}],
    ids=["a value", "a name", "deep inside"],
)
def test_a_string_that_signers_encode_differently_is_refused(string, place):
    for ascii_only in (True, False):
        link = {"signatures": [{"keyid": "", "sig": "00"}], "signed": place(string)}
        with pytest.raises(Rejected) as refused:
            parse_link(json.dumps(link, ensure_ascii=ascii_only).encode())
        assert refused.value.code == "ambiguous-string"


def test_a_quotation_mark_is_the_one_character_that_is_escaped():
    assert canonical({"b": 'say "so"', "a": [1, None, True]}) == b'{"a":[1,null,true],"b":"say \\"so\\""}'


SIG = {"keyid": KEY.fingerprint, "sig": "00"}
REFUSED = {
    "no signatures": ({"signed": {}}, "not-a-link"),
    "an empty list of signatures": ({"signed": {}, "signatures": []}, "not-a-link"),
    "seventeen signatures": ({"signed": {}, "signatures": [SIG] * 17}, "not-a-link"),
    "no signed part": ({"signatures": [SIG]}, "not-a-link"),
    "a signed part that is a string": ({"signed": "{}", "signatures": [SIG]}, "not-a-link"),
    "a member beside": ({"signed": {}, "signatures": [SIG], "payload": ""}, "not-a-link"),
    "a signature without key id": ({"signed": {}, "signatures": [{"sig": "00"}]}, "not-a-link"),
    "a signature of GnuPG": (
        {"signed": {}, "signatures": [{"keyid": "", "other_headers": "", "signature": ""}]},
        "not-a-link",
    ),
    "upper-case hex": ({"signed": {}, "signatures": [{"keyid": "", "sig": "AB"}]}, "not-hex"),
    "half a byte": ({"signed": {}, "signatures": [{"keyid": "", "sig": "abc"}]}, "not-hex"),
    "hex with spaces": ({"signed": {}, "signatures": [{"keyid": "", "sig": "ab cd "}]}, "not-hex"),
    "an empty signature": ({"signed": {}, "signatures": [{"keyid": "", "sig": ""}]}, "not-hex"),
    "a float": ({"signed": {"return-value": 0.5}, "signatures": [SIG]}, "not-an-integer"),
    "a whole number written as a float": ({"signed": {"return-value": 1.0}, "signatures": [SIG]}, "not-an-integer"),
    "a list": ([], "not-a-link"),
}


@pytest.mark.parametrize(("link", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_no_link_is_refused(link, code):
    with pytest.raises(Rejected) as refused:
        parse_link(text(link))
    assert refused.value.code == code


def test_the_text_of_a_refusal_holds_no_control_character_of_the_sender():
    with pytest.raises(Rejected) as refused:
        parse_link(text({"signed": {}, "signatures": [SIG], "\x1b[31m\u202e" + "x" * 9999: 1}))
    assert "x1b" in refused.value.sentence
    assert refused.value.sentence.isprintable()
    assert len(refused.value.sentence) < 400


def test_a_member_twice_is_refused_before_anyone_chooses_one():
    raw = signed_by_us({"name": "a", "products": {}}).replace(b'"products"', b'"name": "b", "products"')
    with pytest.raises(Rejected) as refused:
        parse_link(raw)
    assert refused.value.code == "duplicate-key"


def test_the_same_signature_repeated_counts_once():
    link = json.loads(signed_by_us({"name": "a"}))
    link["signatures"] *= 16
    assert verify(parse_link(text(link)), KeyRing([KEY])).keys == {KEY}


def test_an_envelope_and_a_link_of_the_same_bytes_are_not_the_same():
    link = parse_link(signed_by_us({"name": "a"}))
    assert Envelope(None, link.payload, link.signatures, link.signed_bytes) != link
    assert link == Link(None, link.payload, (Signature(KEY.fingerprint, link.signatures[0].sig),), link.signed_bytes)


ASCII = st.text(st.characters(min_codepoint=32, max_codepoint=126, exclude_characters="\\"), max_size=8)
CLEAN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | ASCII,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ASCII, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(ASCII, CLEAN, max_size=4))
def test_canonical_bytes_read_back_to_the_same_and_make_the_same_again(signed):
    made = canonical(signed)
    assert json.loads(made) == signed
    assert canonical(json.loads(made)) == made
    link = parse_link(signed_by_us(signed))
    assert link.payload_digest == hashlib.sha256(made).digest()
    assert verify(link, KeyRing([KEY])).payload == made


@given(st.binary(max_size=99) | st.text(max_size=99).map(str.encode))
def test_no_bytes_raise_anything_but_our_errors(raw):
    with pytest.raises(AttestorError):
        parse_link(raw)
