"""Certificates: ours and gpg's are read, everything that is not one signing key is refused."""

import base64
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Malformed, Rejected, TooLarge
from attestor.openpgp.certificate import draft_certificate, parse_certificate
from attestor.openpgp.reading import read_packets
from tests.edges.openpgp.softkeys import (
    BORN,
    MAKERS,
    USER_ID,
    SoftDevice,
    flips,
    frame,
    notation,
    release_key,
    signed_packet,
    subpacket,
)


def refusal(raw):
    with pytest.raises(Rejected) as caught:
        parse_certificate(raw)
    return caught.value.code


def test_a_drafted_certificate_says_what_was_asked(release):
    certificate = release.certificate

    assert certificate.raw == release.raw
    assert (certificate.user_id, certificate.created, certificate.expires) == (USER_ID, BORN, None)
    assert certificate.algorithm is release.device.algorithm
    assert certificate.public_key == release.device.key.public_key()
    assert certificate.key_id == certificate.fingerprint[-16:]


@pytest.mark.required_in_ci
def test_gpg_imports_it_as_a_signing_key(release, gpg):
    status = gpg.import_certificate(release.raw)
    fields = gpg.run("--with-colons", "--list-keys", release.certificate.fingerprint).stdout.decode()
    key = next(line.split(":") for line in fields.splitlines() if line.startswith("pub:"))

    assert f" {release.certificate.fingerprint}" in status
    assert (key[4], key[5], key[6]) == (release.certificate.key_id, str(int(BORN.timestamp())), "")
    assert "s" in key[11]
    assert "e" not in key[11].lower()
    assert USER_ID in fields


def test_the_same_key_and_time_give_the_same_fingerprint_and_digest(release):
    first, second = (
        draft_certificate(release.device.pem, release.device.algorithm, USER_ID, created)
        for created in (BORN, BORN + timedelta(milliseconds=700))
    )
    assert first.digest == second.digest
    resealed = parse_certificate(second.seal(release.device.sign(first.digest)))
    assert resealed.fingerprint == release.certificate.fingerprint


def test_a_signature_of_another_key_does_not_seal_it(release):
    draft = draft_certificate(release.device.pem, release.device.algorithm, USER_ID, BORN)
    stranger = replace(release.device, key=fresh_key(release))
    with pytest.raises(Rejected) as caught:
        draft.seal(stranger.sign(draft.digest))
    assert caught.value.code == "certificate-invalid"


def fresh_key(release):
    kind = f"rsa{release.device.key.key_size}" if release.device.algorithm == "rsa" else str(release.device.algorithm)
    return MAKERS[kind][1]()


def test_every_single_flipped_byte_is_refused(release):
    for where, changed in flips(release.raw, every_bit=release.device.algorithm is Algorithm.ED25519):
        assert refusal(changed), where


def test_every_shortened_certificate_is_refused(release):
    for length in range(len(release.raw)):
        assert refusal(release.raw[:length])


@given(raw=st.binary(max_size=600))
def test_noise_is_refused_and_nothing_else_comes_out(raw):
    assert refusal(raw)


@given(body=st.binary(max_size=300), algorithm=st.sampled_from([1, 2, 3, 16, 17, 18, 19, 22, 25, 27]))
def test_noise_as_key_material_is_refused(body, algorithm):
    key = frame(6, b"\x04\x60\0\0\0" + bytes([algorithm]) + body)
    assert refusal(key + rest(release_key("ed25519")))


GPG_KEYS = {
    "Ed25519": ("ed25519", "never", Algorithm.ED25519),
    "RSA 2048": ("rsa2048", "never", Algorithm.RSA),
    "P-256": ("nistp256", "never", Algorithm.P256),
    "P-384": ("nistp384", "never", Algorithm.P384),
    "P-521": ("nistp521", "never", Algorithm.P521),
    "Ed25519 that expires": ("ed25519", "90d", Algorithm.ED25519),
}


def gpg_key(gpg, kind, usage, expires):
    """A binary public key that gpg made by itself."""
    user_id = f"{kind} {usage} {expires}"
    gpg.run("--passphrase", "", "--quick-gen-key", user_id, kind, usage, expires)
    return gpg.run("--export", f"={user_id}").stdout


@pytest.mark.required_in_ci
@pytest.mark.parametrize(("kind", "expires", "algorithm"), GPG_KEYS.values(), ids=GPG_KEYS)
def test_a_signing_key_that_gpg_made_is_read_and_every_flipped_byte_of_it_refused(kind, expires, algorithm, gpg):
    raw = gpg_key(gpg, kind, "sign", expires)
    certificate = parse_certificate(raw)

    assert (certificate.algorithm, certificate.user_id) == (algorithm, f"{kind} sign {expires}")
    assert (certificate.expires and certificate.expires - certificate.created) == (
        None if expires == "never" else timedelta(days=90)
    )
    assert certificate.fingerprint in gpg.run("--with-colons", "--list-keys", certificate.fingerprint).stdout.decode()
    for where, changed in flips(raw, every_bit=algorithm is Algorithm.ED25519):
        assert refusal(changed), where


@pytest.mark.required_in_ci
def test_keys_of_gpg_that_are_no_release_keys_are_refused(gpg):
    assert refusal(gpg_key(gpg, "ed25519", "cert", "never")) == "certificate-not-signing"
    assert refusal(gpg_key(gpg, "brainpoolP256r1", "sign", "never")) == "openpgp-malformed"
    assert refusal(gpg_key(gpg, "rsa1024", "sign", "never")) == "key-weak"
    assert refusal(gpg_key(gpg, "default", "default", "never")) == "certificate-unsupported"  # a subkey that encrypts
    secret = gpg.run("--export-secret-keys", "=ed25519 cert never").stdout
    assert refusal(secret) == "certificate-secret"


def test_of_the_keys_of_real_builders_only_the_plain_signing_key_could_be_a_release_key(real_input):
    """The others have subkeys, several user ids or certifications by others; as published all are armored."""
    accepted = {}
    for path in sorted(real_input("guix-sigs/builder-keys").iterdir()):
        armored = path.read_bytes()
        assert refusal(armored) in {"openpgp-malformed", "certificate-too-large"}
        raw = base64.b64decode(armored.split(b"\n\n", 1)[-1].split(b"\n=")[0].split(b"-----END")[0])
        if path.name == "maflcko.gpg":
            accepted[path.name] = parse_certificate(raw)
        else:
            assert refusal(raw) == "certificate-unsupported", path.name
    (certificate,) = accepted.values()
    assert certificate.fingerprint == "A01783C082652969B9C492B5F9C5154E44D75DF8"  # as gpg --show-keys prints it


def key_packet(release):
    return read_packets(release.raw)[0].body


def by_hand(release, *, key=None, user_id=USER_ID, kind=0x13, without=(), flags=b"\x02", extra=b"", **options):
    """A certificate whose self-certification is properly signed, with any subpackets; lengths in their longest form."""
    key = key or key_packet(release)
    text = user_id.encode("latin-1")
    fingerprint = bytes.fromhex(release.certificate.fingerprint)
    parts = {
        2: subpacket(2, int(BORN.timestamp()).to_bytes(4, "big")),
        27: subpacket(27, flags),
        33: subpacket(33, b"\x04" + fingerprint),
    }
    hashed = b"".join(part for type_, part in parts.items() if type_ not in without) + extra
    data = b"\x99" + len(key).to_bytes(2, "big") + key + b"\xb4" + len(text).to_bytes(4, "big") + text
    return frame(6, key) + frame(13, text) + signed_packet(release.device, data, kind, hashed, **options)


# rPGP 0.20, src/composed/key/shared.rs, with the features and AEAD preferences of RFC 9580.
RPGP = subpacket(30, b"\x09") + subpacket(11, b"\x09\x07") + subpacket(21, b"\x0a\x08") + subpacket(22, b"\x02\x00")
RPGP += subpacket(39, b"\x09\x02") + subpacket(25, b"\x01")
ACCEPTED = {
    "the least that is needed": by_hand,
    "as rPGP writes it for Signstar": lambda key: by_hand(key, extra=RPGP, unhashed=issuer(key)),
    "a generic certification (0x10)": lambda key: by_hand(key, kind=0x10),
    "SHA-256": lambda key: by_hand(key, hash_name="sha256", hash_id=8),
    "SHA-384": lambda key: by_hand(key, hash_name="sha384", hash_id=9),
    "certifying and signing": lambda key: by_hand(key, flags=b"\x03"),
    "flags of two octets": lambda key: by_hand(key, flags=b"\x02\x00"),
    "a notation": lambda key: by_hand(key, extra=notation(b"salt@notations.sequoia-pgp.org", bytes(32))),
    "the issuer only unhashed": lambda key: by_hand(key, without=(33,), unhashed=issuer(key)),
    "an expiry of zero": lambda key: by_hand(key, extra=subpacket(9, bytes(4))),
    "a user id beyond ASCII": lambda key: by_hand(key, user_id="B\xc3\xa4uerin <b@example.org>"),
}


def rest(release):
    """The user id and its certification, to stand behind another key."""
    return b"".join(frame(packet.tag, packet.body) for packet in read_packets(release.raw)[1:])


def issuer(release, type_=16, xor=0):
    return subpacket(type_, bytes([bytes.fromhex(release.certificate.key_id)[0] ^ xor]) + issuer_rest(release))


def issuer_rest(release):
    return bytes.fromhex(release.certificate.key_id)[1:]


@pytest.mark.parametrize("build", ACCEPTED.values(), ids=ACCEPTED)
def test_other_ways_to_write_the_same_are_read(build, ed25519):
    assert parse_certificate(build(ed25519)).fingerprint == ed25519.certificate.fingerprint


LATER = int((BORN - timedelta(seconds=1)).timestamp()).to_bytes(4, "big")
WRONG = {
    "no flags": ("certificate-not-signing", lambda key: by_hand(key, without=(27,))),
    "empty flags": ("certificate-not-signing", lambda key: by_hand(key, flags=b"")),
    "flags 00, as Signstar's configuration makes": ("certificate-not-signing", lambda key: by_hand(key, flags=b"\0")),
    "flags 01": ("certificate-not-signing", lambda key: by_hand(key, flags=b"\x01")),
    "flags twice": ("certificate-unsupported", lambda key: by_hand(key, extra=subpacket(27, b"\0"))),
    "no creation time": ("certificate-invalid", lambda key: by_hand(key, without=(2,))),
    "older than its key": ("certificate-invalid", lambda key: by_hand(key, without=(2,), extra=subpacket(2, LATER))),
    "a creation time of three octets": ("openpgp-malformed", lambda key: by_hand(key, without=(2,), extra=subpacket(2, b"123"))),
    "nobody named as issuer": ("certificate-invalid", lambda key: by_hand(key, without=(33,))),
    "another issuer, hashed": ("certificate-invalid", lambda key: by_hand(key, extra=issuer(key, xor=1))),
    "another issuer, unhashed": ("certificate-invalid", lambda key: by_hand(key, unhashed=issuer(key, xor=1))),
    "an unhashed expiry": ("certificate-unsupported", lambda key: by_hand(key, unhashed=subpacket(9, b"\0\0\0\x01"))),
    "an unhashed critical issuer": ("certificate-unsupported", lambda key: by_hand(key, unhashed=issuer(key, 0x90))),
    "a certification that expires": ("certificate-unsupported", lambda key: by_hand(key, extra=subpacket(3, b"\0\0\0\x01"))),
    "a revocation key": ("certificate-unsupported", lambda key: by_hand(key, extra=subpacket(12, bytes(22)))),
    "a subpacket that nobody knows": ("certificate-unsupported", lambda key: by_hand(key, extra=subpacket(100, b""))),
    "a critical notation": ("certificate-unsupported", lambda key: by_hand(key, extra=subpacket(0x94, bytes(8)))),
    "a revocation (0x30)": ("certificate-unsupported", lambda key: by_hand(key, kind=0x30)),
    "a subkey binding (0x18)": ("certificate-unsupported", lambda key: by_hand(key, kind=0x18)),
    "SHA-1": ("certificate-unsupported", lambda key: by_hand(key, hash_name="sha1", hash_id=2)),
    "an empty user id": ("certificate-user-id", lambda key: by_hand(key, user_id="")),
    "a user id of 256 bytes": ("certificate-user-id", lambda key: by_hand(key, user_id="a" * 256)),
    "a user id with a line feed": ("certificate-user-id", lambda key: by_hand(key, user_id="a\nb")),
    "a user id in Latin-1": ("openpgp-malformed", lambda key: by_hand(key, user_id="B\xe4uerin")),
    "a key of another type under the same certification": (
        "certificate-unsupported",
        lambda key: frame(6, key_packet(release_key("p256"))) + rest(key),
    ),
    "an older key under the same certification": (
        "certificate-invalid",
        lambda key: frame(6, b"\x04\0\0\0\0" + key_packet(key)[5:]) + rest(key),
    ),
    "a second user id": ("certificate-unsupported", lambda key: by_hand(key) + frame(13, b"me too")),
    "a second certification": ("certificate-unsupported", lambda key: key.raw + frame(2, read_packets(key.raw)[2].body)),
    "a certificate after it": ("certificate-unsupported", lambda key: key.raw * 2),
    "no certification": ("certificate-unsupported", lambda key: key.raw[: key.raw.index(USER_ID.encode()) + len(USER_ID)]),
    "a marker packet before it": ("certificate-unsupported", lambda key: frame(10, b"PGP") + key.raw),
    "a byte after it": ("openpgp-malformed", lambda key: key.raw + b"\0"),
    "armored": ("openpgp-malformed", lambda key: b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n" + base64.b64encode(key.raw)),
    "a partial length": ("openpgp-malformed", lambda key: b"\xc6\xe1" + key.raw[2:]),
    "an indeterminate length": ("openpgp-malformed", lambda key: b"\x9b" + key.raw[2:]),
    "a version 6 key": ("key-unsupported", lambda key: frame(6, b"\x06" + key_packet(key)[1:]) + rest(key)),
    "bytes after the key material": ("openpgp-malformed", lambda key: by_hand(key, key=key_packet(key) + b"\0")),
    "Curve25519 for encryption under the signing algorithm": (
        "openpgp-malformed",
        lambda key: by_hand(key, key=key_packet(key)[:6] + b"\x0a+\x06\x01\x04\x01\x97U\x01\x05\x01" + key_packet(key)[16:]),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("code", "build"), WRONG.values(), ids=WRONG)
def test_what_is_no_release_keys_certificate_is_refused(code, build, ed25519):
    assert refusal(build(ed25519)) == code


def test_more_than_64_kib_are_refused_unread(ed25519):
    with pytest.raises(TooLarge):
        parse_certificate(ed25519.raw.ljust(65537, b"\0"))


UNFIT = {
    "RSA of 1024 bits": ("key-weak", Algorithm.RSA, lambda: rsa.generate_private_key(65537, 1024)),  # noqa: S505 - weak
    "RSA of 2040 bits": ("key-weak", Algorithm.RSA, lambda: rsa.generate_private_key(65537, 2040)),  # noqa: S505 - weak
    "RSA with the exponent 3": ("key-weak", Algorithm.RSA, lambda: rsa.generate_private_key(3, 2048)),
    "secp256k1": ("key-unsupported", Algorithm.P256, lambda: ec.generate_private_key(ec.SECP256K1())),
    "Brainpool": ("key-unsupported", Algorithm.P256, lambda: ec.generate_private_key(ec.BrainpoolP256R1())),
    "DSA": ("key-unsupported", Algorithm.RSA, lambda: dsa.generate_private_key(2048)),
    "X25519": ("key-unsupported", Algorithm.ED25519, x25519.X25519PrivateKey.generate),
    "Ed448": ("key-unsupported", Algorithm.ED25519, ed448.Ed448PrivateKey.generate),
    "P-384 given as P-256": ("key-mismatch", Algorithm.P256, lambda: ec.generate_private_key(ec.SECP384R1())),
    "Ed25519 given as RSA": ("key-mismatch", Algorithm.RSA, ed25519.Ed25519PrivateKey.generate),
}


@pytest.mark.parametrize(("code", "algorithm", "make"), UNFIT.values(), ids=UNFIT)
def test_a_key_that_is_unfit_gets_no_certificate(code, algorithm, make):
    with pytest.raises(Rejected) as caught:
        draft_certificate(SoftDevice(algorithm, make()).pem, algorithm, USER_ID, BORN)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "pem", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "\udcff"]
)
def test_what_is_no_pem_is_refused(pem):
    with pytest.raises(Malformed) as caught:
        draft_certificate(pem, Algorithm.ED25519, USER_ID, BORN)
    assert caught.value.code == "key-malformed"


@pytest.mark.parametrize("user_id", ["", "a\nb", "a" * 256, "right-to-left \u202e", "\udcff"])
def test_a_user_id_that_misleads_is_refused(user_id, ed25519):
    with pytest.raises(Rejected) as caught:
        draft_certificate(ed25519.device.pem, Algorithm.ED25519, user_id, BORN)
    assert caught.value.code == "certificate-user-id"
