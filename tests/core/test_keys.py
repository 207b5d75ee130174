"""Public keys: one material, one key; whatever is not exactly one sound public key is refused."""

import base64
import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import AttestorError, Rejected
from attestor.core.keys import MAX_KEYS, KeyRing, parse_public_key

VECTORS = Path(__file__).parents[1] / "vectors"
NULL_PREFIX = bytes.fromhex("302c300706032b65700500032100")
ED_PREFIX = bytes.fromhex("302a300506032b6570032100")
MESSAGE = b"some bytes"


def pem(der, newline="\n"):
    body = base64.encodebytes(der).decode().replace("\n", newline)
    return f"-----BEGIN PUBLIC KEY-----{newline}{body}-----END PUBLIC KEY-----{newline}"


def spki(private):
    return private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def secret_pem(private):
    form = serialization.PrivateFormat.PKCS8
    return private.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


ED = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
P256 = ec.derive_private_key(0x1234567, ec.SECP256R1())
P384 = ec.derive_private_key(0x7654321, ec.SECP384R1())
ED_POINT = spki(ED)[-32:]


def compressed(private):
    return private.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint)


def with_curve_of_secp256k1():
    return spki(ec.derive_private_key(5, ec.SECP256K1()))


def off_curve(private):
    der = bytearray(spki(private))
    der[-1] ^= 1
    return bytes(der)


SOUND = {
    "Ed25519": (ED, "ed25519"),
    "P-256": (P256, "ecdsa-p256"),
    "P-384": (P384, "ecdsa-p384"),
}


@pytest.mark.parametrize(("private", "algorithm"), SOUND.values(), ids=SOUND.keys())
def test_a_sound_key_is_read_with_its_fingerprint(private, algorithm):
    key = parse_public_key(pem(spki(private)))
    assert (key.algorithm, key.spki) == (algorithm, spki(private))
    assert key.fingerprint == hashlib.sha256(spki(private)).hexdigest()
    assert key.fingerprint in key.hints


SPELLINGS = {
    "CRLF": pem(spki(ED), "\r\n"),
    "an explicit NULL, as rebuilderd publishes it": pem(NULL_PREFIX + ED_POINT),
    "an explicit NULL and CRLF": pem(NULL_PREFIX + ED_POINT, "\r\n"),
    "no newline at the end": pem(spki(ED)).rstrip(),
    "empty lines around": "\n\n" + pem(spki(ED)) + "\n \n",
}


@pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_two_spellings_of_one_key_are_one_key(text):
    key = parse_public_key(pem(spki(ED)))
    again = parse_public_key(text)
    assert (again, hash(again), again.fingerprint) == (key, hash(key), key.fingerprint)
    assert len(KeyRing([key, again, again])) == 1


@pytest.mark.parametrize("known", json.loads((VECTORS / "rebuilderd-link.json").read_bytes())["keys"])
def test_the_key_ids_of_real_rebuilderd_instances_are_hints(known):
    key = parse_public_key(pem(NULL_PREFIX + bytes.fromhex(known["raw"]), "\r\n"))
    assert key.hints == {key.fingerprint, known["keyid"]}
    assert KeyRing([key]).hinted(known["keyid"]) is key


def test_the_real_published_key_is_read(real_input):
    key = parse_public_key(real_input("rebuilderd/reproducible-archlinux.pub").read_text())
    assert "1ae6d32cb5bb8a98312106de28e50af7e09a9b294d51df459537908ac1288b8f" in key.hints


REFUSED = {
    "nothing": ("", "not-a-public-key"),
    "another text": ("ssh-ed25519 AAAA", "not-a-public-key"),
    "an Ed25519 private key": (secret_pem(ED), "private-key"),
    "a P-256 private key": (secret_pem(P256), "private-key"),
    "a private key after a public one": (pem(spki(ED)) + secret_pem(ED), "private-key"),
    "two public keys": (pem(spki(ED)) + pem(spki(P256)), "several-keys"),
    "one public key twice": (pem(spki(ED)) * 2, "several-keys"),
    "an RSA key": (pem(spki(rsa.generate_private_key(65537, 2048))), "unsupported-key"),
    "an X25519 key": (pem(spki(x25519.X25519PrivateKey.generate())), "unsupported-key"),
    "a key of an unknown curve": (pem(with_curve_of_secp256k1()), "unsupported-key"),
    "a P-521 key": (pem(spki(ec.derive_private_key(5, ec.SECP521R1()))), "unsupported-key"),
    "a compressed point": (
        pem(bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + compressed(P256)),
        "unsupported-key",
    ),
    "a P-256 point off the curve": (pem(off_curve(P256)), "not-a-public-key"),
    "a P-384 point off the curve": (pem(off_curve(P384)), "not-a-public-key"),
    "a P-256 coordinate beyond the field": (pem(spki(P256)[:-64] + b"\xff" * 64), "not-a-public-key"),
    "junk after the DER of Ed25519": (pem(spki(ED) + b"\0"), "not-a-public-key"),
    "junk after the DER of P-256": (pem(spki(P256) + b"\0"), "not-a-public-key"),
    "a short Ed25519 point": (pem(spki(ED)[:-1]), "not-a-public-key"),
    "text before": ("see: " + pem(spki(ED)), "not-a-public-key"),
    "text after": (pem(spki(ED)) + "x", "not-a-public-key"),
    "a comment between": (pem(spki(ED)).replace("\n", "\nComment: x\n", 1), "not-a-public-key"),
    "a truncated block": (pem(spki(ED))[:-5], "not-a-public-key"),
    "stray bits in the base64": (pem(spki(ED)).replace("Hg=\n", "Hh=\n").replace("=\n", "\n"), "not-a-public-key"),
    "a certificate's label": (pem(spki(ED)).replace("PUBLIC KEY", "CERTIFICATE"), "not-a-public-key"),
    "a text over the limit": (pem(spki(ED)) + "\n" * 5000, "not-a-public-key"),
    "a non-canonical y": (pem(ED_PREFIX + (2**255 - 19 + 3).to_bytes(32, "little")), "weak-key"),
    "a point off the curve": (pem(ED_PREFIX + (2).to_bytes(32, "little")), "weak-key"),
    "all ones": (pem(ED_PREFIX + b"\xff" * 32), "weak-key"),
}


@pytest.mark.parametrize(("text", "code"), REFUSED.values(), ids=REFUSED.keys())
def test_what_is_not_exactly_one_sound_public_key_is_refused(text, code):
    with pytest.raises(Rejected) as refused:
        parse_public_key(text)
    assert refused.value.code == code


@pytest.mark.parametrize("point", json.loads((VECTORS / "ed25519-small-order.json").read_bytes()))
@pytest.mark.parametrize("prefix", [ED_PREFIX, NULL_PREFIX], ids=["canonical", "with NULL"])
def test_every_encoding_of_a_small_order_point_is_weak(point, prefix):
    with pytest.raises(Rejected) as refused:
        parse_public_key(pem(prefix + bytes.fromhex(point)))
    assert refused.value.code == "weak-key"


def test_the_small_order_points_really_let_one_signature_fit_many_messages():
    """Why they are refused: under the neutral element, R = B and S = 1 sign everything."""
    neutral = ed25519.Ed25519PublicKey.from_public_bytes((1).to_bytes(32, "little"))
    base_point = bytes.fromhex("58" + "66" * 31)
    neutral.verify(base_point + (1).to_bytes(32, "little"), b"any")
    neutral.verify(base_point + (1).to_bytes(32, "little"), b"message")


@given(st.binary(min_size=32, max_size=32))
def test_ordinary_ed25519_keys_are_never_called_weak(seed):
    parse_public_key(pem(spki(ed25519.Ed25519PrivateKey.from_private_bytes(seed))))


def raw_form(der, size):
    r, s = decode_dss_signature(der)
    return r.to_bytes(size) + s.to_bytes(size)


def signatures():
    p256, p384 = P256.sign(MESSAGE, ec.ECDSA(hashes.SHA256())), P384.sign(MESSAGE, ec.ECDSA(hashes.SHA384()))
    return {
        "Ed25519": (ED, ED.sign(MESSAGE)),
        "P-256 as DER": (P256, p256),
        "P-256 as r and s": (P256, raw_form(p256, 32)),
        "P-384 as DER": (P384, p384),
        "P-384 as r and s": (P384, raw_form(p384, 48)),
    }


SIGNED = pytest.mark.parametrize(("private", "signature"), signatures().values(), ids=signatures().keys())


@SIGNED
def test_a_true_signature_verifies_over_these_bytes_only(private, signature):
    key = parse_public_key(pem(spki(private)))
    assert key.verify(signature, MESSAGE) is True
    assert key.verify(signature, MESSAGE + b"\0") is False


@SIGNED
def test_a_signature_with_anything_changed_added_or_missing_is_false(private, signature):
    key = parse_public_key(pem(spki(private)))
    bad = [
        signature[:-1],
        signature[1:],
        signature + b"\0",
        b"\0" + signature,
        signature * 2,
        b"",
        bytes(len(signature)),
    ]
    bad += [
        bytes(b ^ (1 << bit if at == place else 0) for at, b in enumerate(signature))
        for place in range(len(signature))
        for bit in (0, 7)
    ]
    assert not [one.hex() for one in bad if key.verify(one, MESSAGE)]


def test_a_signature_made_with_another_hash_is_false():
    key = parse_public_key(pem(spki(P384)))
    assert key.verify(P384.sign(MESSAGE, ec.ECDSA(hashes.SHA256())), MESSAGE) is False


@given(st.binary(max_size=120))
def test_malformed_signatures_are_false_and_never_raise(signature):
    assert not any(parse_public_key(pem(spki(private))).verify(signature, MESSAGE) for private in (ED, P256, P384))


@given(st.text(max_size=80) | st.binary(max_size=80).map(pem))
def test_no_text_raises_anything_but_our_errors(text):
    with pytest.raises(AttestorError):
        parse_public_key(text)


def test_a_ring_refuses_more_keys_than_one_envelope_may_search():
    keys = [
        parse_public_key(pem(spki(ed25519.Ed25519PrivateKey.from_private_bytes(n.to_bytes(32)))))
        for n in range(MAX_KEYS + 1)
    ]
    assert len(KeyRing(keys[:-1])) == MAX_KEYS
    with pytest.raises(Rejected) as refused:
        KeyRing(keys)
    assert refused.value.code == "too-many-keys"
