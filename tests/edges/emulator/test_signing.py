"""Signatures against published vectors and independent verification."""

import base64
import hashlib

import nethsm
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

# Nitrokey/nethsm, src/keyfender/test/test_dispatch.ml: an Ed25519 key and its signature over "hello".
ED25519_PEM = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIIHCCOimH9qZePG/EZcb3trtpCVUy92dmaBpU1gWY5r7
-----END PRIVATE KEY-----
"""
ED25519_HELLO = "MXXfyOqswfWDcXAoE2zU2Cf2VW5GajdqZge8hh3is2uVcHW5bbewE/zlb9hvoUjAqSO7ObIm29D4Krb8CjlpCQ=="
# RFC 8032 section 7.1, test 1: the seed, the public key, the signature over nothing.
RFC8032_SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
RFC8032_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
RFC8032_EMPTY = "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
CURVES = {"EC_P256": (ec.SECP256R1(), hashes.SHA256(), 32), "EC_P384": (ec.SECP384R1(), hashes.SHA384(), 48)} | {
    "EC_P521": (ec.SECP521R1(), hashes.SHA512(), 64)
}
PSS = [nethsm.SignMode.from_string(f"PSS_SHA{bits}") for bits in (1, 224, 256, 384, 512)]
EDDSA, ECDSA = [nethsm.KeyMechanism.EDDSA_SIGNATURE], [nethsm.KeyMechanism.ECDSA_SIGNATURE]
RSA_ALL = [nethsm.KeyMechanism.RSA_SIGNATURE_PKCS1] + [
    nethsm.KeyMechanism.from_string(f"RSA_Signature_{mode.value}") for mode in PSS
]


def b64(raw: bytes) -> nethsm.Base64:
    return nethsm.Base64.encode(raw)


@pytest.fixture(scope="module")
def admin(emulator):
    return emulator.sdk("admin")


@pytest.fixture(scope="module")
def operator(emulator):
    return emulator.sdk("operator")


@pytest.fixture(scope="module")
def rsa_key(admin):
    """An imported RSA key, so that the test holds the private half too."""
    key = rsa.generate_private_key(65537, 2048)
    numbers = key.private_numbers()
    octets = [b64(n.to_bytes((n.bit_length() + 7) // 8)) for n in (numbers.p, numbers.q, numbers.public_numbers.e)]
    admin.add_key("rsa", nethsm.KeyType.RSA, RSA_ALL, nethsm.RsaPrivateKey(*octets))
    return key


def status_of(call) -> int:
    with pytest.raises(nethsm.NetHSMError) as caught:
        call()
    return caught.value.__context__.status


def test_the_devices_own_ed25519_vector(admin, operator):
    admin.add_key_pem("vector", EDDSA, ED25519_PEM)
    assert operator.sign("vector", b64(b"hello"), nethsm.SignMode.EDDSA).data == ED25519_HELLO


def test_the_rfc_8032_vector_from_a_raw_seed(emulator, admin, operator):
    seed = nethsm.GenericPrivateKey(b64(bytes.fromhex(RFC8032_SEED)))
    admin.add_key("rfc8032", nethsm.KeyType.CURVE25519, EDDSA, seed)
    assert operator.get_key("rfc8032").public_key.data.decode().hex() == RFC8032_PUBLIC
    # The SDK cannot send an empty message: its pattern for base64 asks for a character.
    reply = emulator.send("POST", "/keys/rfc8032/sign", "operator", {"mode": "EdDSA", "message": ""})
    assert base64.b64decode(reply.json["signature"]).hex() == RFC8032_EMPTY


def test_pkcs1_pads_exactly_what_is_sent_and_adds_no_digest_info(operator, rsa_key):
    digest = hashlib.sha1(b"hello").digest()  # noqa: S324 - the device's own vector signs a bare SHA-1
    signature = operator.sign("rsa", b64(digest), nethsm.SignMode.PKCS1).decode()
    public = rsa_key.public_key().public_numbers()
    padded = pow(int.from_bytes(signature), public.e, public.n).to_bytes(256)
    assert padded == b"\0\1" + b"\xff" * (256 - 3 - 20) + b"\0" + digest
    with pytest.raises(InvalidSignature):
        rsa_key.public_key().verify(signature, b"hello", padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - as above


def test_pkcs1_over_a_digest_info_is_an_ordinary_rsa_signature(operator, rsa_key):
    digest_info = bytes.fromhex("3051300d060960864801650304020305000440") + hashlib.sha512(b"hello").digest()
    signature = operator.sign("rsa", b64(digest_info), nethsm.SignMode.PKCS1).decode()
    rsa_key.public_key().verify(signature, b"hello", padding.PKCS1v15(), hashes.SHA512())
    assert operator.sign("rsa", b64(digest_info), nethsm.SignMode.PKCS1).decode() == signature


def test_pkcs1_over_more_than_the_key_can_hold_is_400(operator, rsa_key):
    assert status_of(lambda: operator.sign("rsa", b64(bytes(246)), nethsm.SignMode.PKCS1)) == 400


@pytest.mark.parametrize("mode", PSS, ids=lambda mode: mode.value)
def test_pss_takes_a_digest_of_its_length(operator, rsa_key, mode):
    algorithm = getattr(hashes, mode.value.removeprefix("PSS_"))()
    digest = hashlib.new(algorithm.name, b"hello").digest()
    signature = operator.sign("rsa", b64(digest), mode).decode()
    scheme = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)
    rsa_key.public_key().verify(signature, b"hello", scheme, algorithm)
    assert status_of(lambda: operator.sign("rsa", b64(digest + b"\0"), mode)) == 400


@pytest.mark.parametrize("name", CURVES)
def test_ecdsa_takes_exactly_its_digest_length_and_never_repeats_itself(admin, operator, name):
    curve, algorithm, length = CURVES[name]
    admin.generate_key(nethsm.KeyType.from_string(name), ECDSA, 256, key_id=name)
    public = serialization.load_pem_public_key(operator.get_key_public_key(name).encode())
    assert public.curve.name == curve.name
    digest = bytes(range(length))
    first, second = (operator.sign(name, b64(digest), nethsm.SignMode.ECDSA).decode() for _ in range(2))
    assert first != second
    for signature in (first, second):
        public.verify(signature, digest, ec.ECDSA(utils.Prehashed(algorithm)))
    for wrong in {20, 32, 48, 64, length - 1, length + 1} - {length}:
        assert status_of(lambda wrong=wrong: operator.sign(name, b64(bytes(wrong)), nethsm.SignMode.ECDSA)) == 400


@pytest.mark.parametrize("name", CURVES)
def test_a_curve_key_is_imported_as_its_scalar(admin, name):
    curve = CURVES[name][0]
    key = ec.generate_private_key(curve)
    size = (curve.key_size + 7) // 8
    scalar = key.private_numbers().private_value.to_bytes(size)
    imported = f"{name}-imported"
    admin.add_key(imported, nethsm.KeyType.from_string(name), ECDSA, nethsm.GenericPrivateKey(b64(scalar)))
    form = (serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    assert admin.get_key(imported).public_key.data.decode() == key.public_key().public_bytes(*form)
    short = nethsm.GenericPrivateKey(b64(scalar[1:]))
    assert status_of(lambda: admin.add_key("short", nethsm.KeyType.from_string(name), ECDSA, short)) == 400


@pytest.mark.parametrize(
    ("mode", "message", "sentence"),
    [
        ("ECDSA", "aGVsbG8=", "Key mechanisms do not allow requested signing."),
        ("EdDSA", "aGVsbG8", "Couldn't decode message from base64."),
        ("EdDSA", "aGVs*bG8=", "Couldn't decode message from base64."),
        ("PKCS2", "aGVsbG8=", None),
    ],
)
def test_a_request_that_does_not_fit_the_key_is_400(emulator, admin, mode, message, sentence):
    if "plain" not in admin.list_keys():
        admin.generate_key(nethsm.KeyType.CURVE25519, EDDSA, 256, key_id="plain")
    reply = emulator.send("POST", "/keys/plain/sign", "operator", {"mode": mode, "message": message})
    assert reply.status == 400
    assert sentence in (None, reply.json["message"])


def test_base64_may_be_broken_into_lines(emulator, admin):
    admin.add_key_pem("lines", EDDSA, ED25519_PEM)
    reply = emulator.send("POST", "/keys/lines/sign", "operator", {"mode": "EdDSA", "message": "aGVs\nbG8="})
    assert reply.json == {"signature": ED25519_HELLO}


def test_every_use_is_counted_and_every_refusal_is_not(emulator, admin, operator):
    admin.generate_key(nethsm.KeyType.CURVE25519, EDDSA, 256, key_id="counted")
    for _ in range(3):
        operator.sign("counted", b64(b"x"), nethsm.SignMode.EDDSA)
    assert status_of(lambda: operator.sign("counted", b64(bytes(32)), nethsm.SignMode.ECDSA)) == 400
    assert operator.get_key("counted").operations == 3
    before = emulator.sdk("metrics").get_metrics()
    operator.sign("counted", b64(b"x"), nethsm.SignMode.EDDSA)
    after = emulator.sdk("metrics").get_metrics()
    assert after["sign"] == before["sign"] + 1
    assert after["http response 200"] > before["http response 200"]


def test_a_private_key_never_leaves(emulator, admin):
    admin.add_key_pem("secret", EDDSA, ED25519_PEM)
    seed = base64.b64decode(ED25519_PEM.splitlines()[1])[-32:]
    for user in ("admin", "operator"):
        for path in ("/keys/secret", "/keys/secret/public.pem", "/keys"):
            body = emulator.send("GET", path, user).body
            assert base64.b64encode(seed)[:40] not in body
            assert seed not in body
