"""DSSE: what is an envelope, and which keys really signed it. The counting defects of others cannot happen here."""

import ast
import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.envelope import (
    IN_TOTO,
    MAX_ENVELOPE_BYTES,
    MAX_TRIES,
    Signature,
    encode_envelope,
    pae,
    parse_envelope,
    verify,
)
from attestor.core.errors import AttestorError, Forbidden, Malformed, TooLarge
from attestor.core.keys import MAX_KEYS, KeyRing, PublicKey, parse_public_key

ROOT = Path(__file__).parents[2]
PAYLOAD = b'{"some":"claim"}'


def public(private):
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return parse_public_key(private.public_key().public_bytes(serialization.Encoding.PEM, form).decode())


def ed(number):
    private = ed25519.Ed25519PrivateKey.from_private_bytes(number.to_bytes(32))
    return private, public(private)


(A_SECRET, A), (B_SECRET, B), (WORKER_SECRET, WORKER) = ed(1), ed(2), ed(3)
P256_SECRET = ec.derive_private_key(99, ec.SECP256R1())
P256 = public(P256_SECRET)
RING = KeyRing([A, B, P256])
A_IN_TOTO = next(iter(A.hints - {A.fingerprint}))


def by(secret, keyid, payload=PAYLOAD):
    return Signature(keyid, secret.sign(pae(IN_TOTO, payload)))


def by_p256(keyid):
    return Signature(keyid, P256_SECRET.sign(pae(IN_TOTO, PAYLOAD), ec.ECDSA(hashes.SHA256())))


def envelope(*signatures, payload=PAYLOAD):
    return parse_envelope(encode_envelope(IN_TOTO, payload, signatures))


def test_the_published_vector_of_dsse_verifies():
    vector = json.loads((ROOT / "tests/vectors/dsse-hello-world.json").read_bytes())
    numbers = ec.EllipticCurvePublicNumbers(int(vector["x"]), int(vector["y"]), ec.SECP256R1()).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    key = parse_public_key(numbers.public_bytes(serialization.Encoding.PEM, form).decode())
    document = {
        "payload": vector["payload"],
        "payloadType": vector["payloadType"],
        "signatures": [{"sig": vector["sig"]}],
    }
    signed = parse_envelope(json.dumps(document).encode())
    assert signed.signed_bytes == vector["pae"].encode()
    assert verify(signed, KeyRing([key])).payload == b"hello world"


def test_the_encoding_counts_bytes_and_not_characters():
    assert pae("é", "€".encode()) == "DSSEv1 2 é 3 €".encode()


def test_the_payload_digest_is_that_of_the_exact_signed_bytes():
    signed = envelope(by(A_SECRET, A.fingerprint))
    assert signed.payload_digest == hashlib.sha256(pae(IN_TOTO, PAYLOAD)).digest()
    assert verify(signed, RING).payload_digest == signed.payload_digest


COUNTED = {
    "one key under its fingerprint": ([by(A_SECRET, A.fingerprint)], {A}),
    "one key under its in-toto key id": ([by(A_SECRET, A_IN_TOTO)], {A}),
    "one key without a key id": ([by(A_SECRET, "")], {A}),
    "one key under an unknown key id": ([by(A_SECRET, "somebody")], {A}),
    "one key under the key id of another": ([by(A_SECRET, B.fingerprint)], {A}),
    "two keys": ([by(A_SECRET, A.fingerprint), by(B_SECRET, B.fingerprint)], {A, B}),
    "two keys with exchanged key ids": ([by(A_SECRET, B.fingerprint), by(B_SECRET, A.fingerprint)], {A, B}),
    "keys of two algorithms": ([by_p256(P256.fingerprint), by(A_SECRET, "")], {A, P256}),
    "one signature sixteen times, as bitcoin-core-startos and Bails counted": ([by(A_SECRET, A.fingerprint)] * 16, {A}),
    "one key under two key ids, as in-toto and securesystemslib count": (
        [by(A_SECRET, A.fingerprint), by(A_SECRET, A_IN_TOTO)],
        {A},
    ),
    "one key under its own and another's key id, as go-witness counts": (
        [by(A_SECRET, A.fingerprint), by(A_SECRET, B.fingerprint)],
        {A},
    ),
    "one key twice with different signature bytes": ([by_p256(""), by_p256(P256.fingerprint)], {P256}),
    "an unpublished worker beside the operator": (
        [by(WORKER_SECRET, WORKER.fingerprint), by(A_SECRET, A.fingerprint)],
        {A},
    ),
    "junk of an unknown signer beside the operator": ([Signature("gpg", b"junk"), by(A_SECRET, A.fingerprint)], {A}),
}


@pytest.mark.parametrize(("signatures", "keys"), COUNTED.values(), ids=COUNTED.keys())
def test_each_key_that_signed_counts_once(signatures, keys):
    for order in (signatures, signatures[::-1]):
        assert verify(envelope(*order), RING).keys == keys


OTHER = b'{"some":"other"}'
REFUSED = {
    "nobody known signed": ([by(WORKER_SECRET, WORKER.fingerprint)], "unknown-key"),
    "nobody known signed and no key id is given": ([by(WORKER_SECRET, "")], "unknown-key"),
    "a worker signed under the operator's key id": ([by(WORKER_SECRET, A.fingerprint)], "signature-invalid"),
    "a signature over another payload": ([by(A_SECRET, A.fingerprint, OTHER)], "signature-invalid"),
    "a signature over another payload without key id": ([by(A_SECRET, "", OTHER)], "unknown-key"),
    "a signature over the payload without its encoding": (
        [Signature(A.fingerprint, A_SECRET.sign(PAYLOAD))],
        "signature-invalid",
    ),
    "a signature under another payload type": (
        [Signature(A.fingerprint, A_SECRET.sign(pae("text/plain", PAYLOAD)))],
        "signature-invalid",
    ),
    "a bad signature of a known key beside a good one": (
        [by(A_SECRET, A.fingerprint), by(B_SECRET, B.fingerprint, OTHER)],
        "signature-invalid",
    ),
    "a bad signature of a key beside a good one of the same": (
        [by(A_SECRET, A.fingerprint), by(A_SECRET, A.fingerprint, OTHER)],
        "signature-invalid",
    ),
    "an empty signature": ([Signature(A.fingerprint, b"")], "signature-invalid"),
}


@pytest.mark.parametrize(("signatures", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_bytes_without_a_right_signature_are_not_verified(signatures, code):
    for order in (signatures, signatures[::-1]):
        with pytest.raises(Forbidden) as refused:
            verify(envelope(*order), RING)
        assert refused.value.code == code


def test_an_empty_ring_knows_nobody():
    with pytest.raises(Forbidden) as refused:
        verify(envelope(by(A_SECRET, A.fingerprint)), KeyRing([]))
    assert refused.value.code == "unknown-key"


@pytest.fixture(scope="module")
def crowd():
    return [ed(1000 + number) for number in range(MAX_KEYS)]


def test_in_a_full_ring_fifteen_operators_and_one_worker_are_found(crowd):
    signatures = [by(secret, key.fingerprint) for secret, key in crowd[:15]]
    assert len(verify(envelope(by(WORKER_SECRET, "x"), *signatures), KeyRing(key for _, key in crowd)).keys) == 15


def test_many_unknown_signers_in_a_full_ring_cost_no_more_than_the_limit(crowd, monkeypatch):
    tried = []
    true_verify = PublicKey.verify
    monkeypatch.setattr(PublicKey, "verify", lambda *given: tried.append(1) or true_verify(*given))
    signatures = [by(secret, key.fingerprint) for secret, key in crowd[:14]]
    with pytest.raises(Forbidden) as refused:
        verify(envelope(by(WORKER_SECRET, "x"), by(WORKER_SECRET, "y"), *signatures), KeyRing(key for _, key in crowd))
    assert refused.value.code == "too-many-candidates"
    assert len(tried) == MAX_TRIES


def calls_of(name, path):
    nodes = (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))
    return sum(getattr(node.func, "id", getattr(node.func, "attr", None)) == name for node in nodes)


def test_verified_bytes_are_made_in_one_place_only():
    sources = [*(ROOT / "attestor").rglob("*.py"), *(ROOT / "rebuilders").rglob("*.py")]
    makers = {path.relative_to(ROOT).as_posix(): count for path in sources if (count := calls_of("Verified", path))}
    assert makers == {"attestor/core/envelope.py": 1}


def document(**changes):
    sig = base64.b64encode(by(A_SECRET, "").sig).decode()
    whole = {
        "payload": base64.b64encode(PAYLOAD).decode(),
        "payloadType": IN_TOTO,
        "signatures": [{"keyid": A.fingerprint, "sig": sig}],
    }
    return {name: value for name, value in {**whole, **changes}.items() if value is not None}


def parsed(**changes):
    return parse_envelope(json.dumps(document(**changes)).encode())


SIG = document()["signatures"][0]["sig"]
SAME = {
    "unknown members beside": {"mediaType": "x", "extra": {"a": [1, 2.5]}},
    "unknown members of a signature": {"signatures": [{"keyid": A.fingerprint, "sig": SIG, "cert": "x"}]},
    "no key id": {"signatures": [{"sig": SIG}]},
    "the url-safe alphabet in the signature": {
        "signatures": [{"sig": base64.urlsafe_b64encode(by(A_SECRET, "").sig).decode()}]
    },
    "the url-safe alphabet in the payload": {"payload": base64.urlsafe_b64encode(PAYLOAD).decode()},
    "another wrapping of the same signature": {"signatures": [{"keyid": "", "sig": SIG}] * 2},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME.keys())
def test_another_wrapping_of_the_same_bytes_is_the_same(changes):
    assert verify(parsed(**changes), RING) == verify(parsed(), RING)


NOT_ENVELOPES = {
    "no payload": ({"payload": None}, "not-an-envelope"),
    "no payload type": ({"payloadType": None}, "not-an-envelope"),
    "no signatures": ({"signatures": None}, "not-an-envelope"),
    "an empty list of signatures": ({"signatures": []}, "not-an-envelope"),
    "seventeen signatures": ({"signatures": [{"sig": SIG}] * 17}, "not-an-envelope"),
    "a signature without bytes": ({"signatures": [{"keyid": "x"}]}, "not-an-envelope"),
    "a key id that is null": ({"signatures": [{"keyid": None, "sig": SIG}]}, "not-an-envelope"),
    "signatures that are an object": ({"signatures": {"sig": SIG}}, "not-an-envelope"),
    "a payload that is an object": ({"payload": {"some": "claim"}}, "not-an-envelope"),
    "a payload type that is a number": ({"payloadType": 7}, "not-an-envelope"),
    "a payload with stray bits": ({"payload": "QUJ="}, "not-base64"),
    "a payload without padding": ({"payload": "QUI"}, "not-base64"),
    "a payload with a line break": ({"payload": "QUJD\nQUJD"}, "not-base64"),
    "a payload in two alphabets": ({"payload": "+_+_"}, "not-base64"),
    "a signature with stray bits": ({"signatures": [{"sig": "QUJ="}]}, "not-base64"),
}


@pytest.mark.parametrize(("changes", "code"), NOT_ENVELOPES.values(), ids=NOT_ENVELOPES.keys())
def test_what_is_no_envelope_is_refused(changes, code):
    with pytest.raises(Malformed) as refused:
        parsed(**changes)
    assert refused.value.code == code


def test_a_member_twice_is_refused_even_where_it_would_be_ignored():
    with pytest.raises(Malformed) as refused:
        parse_envelope(json.dumps(document()).replace("{", '{"x":1,"x":1,', 1).encode())
    assert refused.value.code == "duplicate-key"


def test_an_envelope_over_the_limit_is_refused_unread():
    whole = json.dumps(document()).encode()
    assert parse_envelope(whole.ljust(MAX_ENVELOPE_BYTES))
    with pytest.raises(TooLarge) as refused:
        parse_envelope(whole.ljust(MAX_ENVELOPE_BYTES + 1))
    assert refused.value.code == "envelope-too-large"


@given(
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.binary(max_size=60),
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8"), max_size=9), st.binary(max_size=70)), min_size=1, max_size=16
    ),
)
def test_what_is_wrapped_is_read_back(kind, payload, signatures):
    signed = parse_envelope(encode_envelope(kind, payload, [Signature(*one) for one in signatures]))
    assert (signed.payload_type, signed.payload, signed.signed_bytes) == (kind, payload, pae(kind, payload))
    assert [(one.keyid, one.sig) for one in signed.signatures] == signatures


@given(st.binary(max_size=99) | st.builds(lambda text: text.encode(), st.text(max_size=99)))
def test_no_bytes_raise_anything_but_our_errors(raw):
    with pytest.raises(AttestorError):
        parse_envelope(raw)


def outcome(raw):
    try:
        return verify(parse_envelope(raw), RING)
    except AttestorError:
        return None


def test_no_flipped_bit_ever_makes_other_bytes_or_other_signers():
    """A bit in a key id or in the white space may pass, for these prove nothing; a bit of payload, type or signature never."""
    raw = encode_envelope(IN_TOTO, PAYLOAD, [by(A_SECRET, A.fingerprint)])
    true = verify(parse_envelope(raw), RING)
    passed = set()
    for place in range(len(raw)):
        for bit in range(8):
            got = outcome(raw[:place] + bytes([raw[place] ^ (1 << bit)]) + raw[place + 1 :])
            assert got in (None, true)
            if got is not None:
                passed.add(place)
    start = raw.index(A.fingerprint.encode())
    assert passed <= set(range(raw.index(b'"keyid"'), start + 64))
