"""Detached signatures by every key type: accepted by gpg and PGPy, one exact form, refused when anything is changed."""

import base64
import hashlib
import json
import warnings
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import AttestorError, Rejected, TooLarge
from attestor.core.hashstate import parse_state
from attestor.openpgp.signature import DATA_DIGEST, Notation, draft_signature, verify_signature
from tests.edges.openpgp.softkeys import BORN, MAKERS, flips, frame, notation, release_key, signed_packet, subpacket

FILE = b"these bytes were built by three operators\n" * 50
DIGEST = hashlib.sha512(FILE).digest()
SIGNED_AT = BORN + timedelta(days=30)
LOGGED = Notation("log-entry@example.org", "log.example.org/arch 4711")


def sign(release, content=FILE, notations=(), created=SIGNED_AT):
    hasher = hashlib.sha512(content)
    draft = draft_signature(release.certificate, created=created, file_sha512=hasher.digest(), notations=notations)
    return draft.seal(release.device.sign(draft.digest(hasher)), hasher)


def verify(release, signature, content=FILE):
    return verify_signature(release.certificate, signature, hashlib.sha512(content))


def refusal(release, signature, content=FILE):
    with pytest.raises(Rejected) as caught:
        verify(release, signature, content)
    return caught.value.code


@pytest.mark.required_in_ci
@pytest.mark.parametrize("notations", [(), (LOGGED,)], ids=["alone", "with the log's notation"])
def test_gpg_accepts_the_signature_under_the_certificate(release, notations, gpg, tmp_path):
    gpg.import_certificate(release.raw)
    code, status = gpg.verify(tmp_path, sign(release, notations=notations), FILE)

    assert code == 0
    assert f"GOODSIG {release.certificate.key_id} {release.certificate.user_id}" in status
    assert f"VALIDSIG {release.certificate.fingerprint} 2025-02-01 {int(SIGNED_AT.timestamp())} 0 4 0 " in status
    assert all(f"NOTATION_NAME {each.name}" in status for each in (Notation("x@y", "z"), *notations)[1:])


@pytest.mark.required_in_ci
def test_gpg_refuses_changed_bytes(release, gpg, tmp_path):
    """A sample of the file, the hashed subpackets, and the last number; every byte is tried on our own verification."""
    gpg.import_certificate(release.raw)
    signature = sign(release)
    every = list(flips(signature, every_bit=False))
    for (at, _), changed in (*every[10:140:13], every[-1]):
        assert gpg.verify(tmp_path, changed, FILE)[0] != 0, at
    for _, changed in list(flips(FILE, every_bit=False))[::1000]:
        assert gpg.verify(tmp_path, signature, changed)[0] == 1


def test_pgpy_verifies_certificate_and_signature(release):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pgpy

        key, _ = pgpy.PGPKey.from_blob(release.raw)
        signature = pgpy.PGPSignature.from_blob(sign(release, notations=(LOGGED,)))
        assert list(key.verify(FILE, signature).good_signatures)
        assert not key.verify(FILE + b"x", signature)
    assert str(key.fingerprint) == release.certificate.fingerprint
    assert signature.notation[LOGGED.name] == LOGGED.value


def test_the_packet_has_exactly_the_subpackets_of_signstar(release):
    """Written again by hand from RFC 4880 and Signstar's order; ECDSA is random, so up to the left 16 bits."""
    signature = sign(release)
    fingerprint = bytes.fromhex(release.certificate.fingerprint)
    hashed = (
        b"\x05\x02" + int(SIGNED_AT.timestamp()).to_bytes(4, "big")
        + b"\x09\x10" + fingerprint[-8:]
        + b"\x16\x21\x04" + fingerprint
        + b"\x62\x14\0\0\0\0\x00\x19\x00\x40" + DATA_DIGEST.encode() + DIGEST
    )  # fmt: skip
    algorithm = {"ed25519": 22, "rsa": 1}.get(release.device.algorithm, 19)
    start = bytes([4, 0, algorithm, 10]) + len(hashed).to_bytes(2, "big") + hashed
    digest = hashlib.sha512(FILE + start + b"\x04\xff" + len(start).to_bytes(4, "big")).digest()
    header = 2 if len(signature) - 2 < 192 else 3

    assert signature[0] == 0xC2
    assert signature[header:].startswith(start + b"\0\0" + digest[:2])


def test_pacman_would_take_it_binary_and_small(release):
    signature = sign(release, notations=(LOGGED,))
    assert b"BEGIN PGP SIGNATURE" not in signature
    assert len(signature) < 16384


def test_what_was_signed_is_read_back(release):
    verified = verify(release, sign(release, notations=(LOGGED,)))

    assert (verified.created, verified.issuer) == (SIGNED_AT, release.certificate.fingerprint)
    assert (verified.notations, verified.file_sha512) == ((LOGGED,), DIGEST)


def test_the_same_inputs_give_the_same_bytes_and_sealing_can_be_repeated(release):
    hasher = hashlib.sha512(FILE)
    first, second = (
        draft_signature(release.certificate, created=SIGNED_AT, file_sha512=DIGEST, notations=(LOGGED,))
        for _ in range(2)
    )
    raw = release.device.sign(first.digest(hasher))

    assert first == second
    assert first.digest(hasher) == second.digest(hasher)
    assert first.seal(raw, hasher) == first.seal(raw, hasher) == second.seal(raw, hasher)


def test_the_hasher_is_left_as_it_was(release):
    hasher = hashlib.sha512(FILE)
    draft = draft_signature(release.certificate, created=SIGNED_AT, file_sha512=DIGEST)
    signature = draft.seal(release.device.sign(draft.digest(hasher)), hasher)
    verify_signature(release.certificate, signature, hasher)

    assert hasher.digest() == DIGEST


def test_a_hash_state_signs_as_the_file_does(ed25519, real_input):
    request = json.loads(real_input("signstar/sample-request.json").read_bytes())
    state = parse_state(bytes(request["required"]["input"]["content"]))
    draft = draft_signature(ed25519.certificate, created=SIGNED_AT, file_sha512=state.digest())
    signature = draft.seal(ed25519.device.sign(draft.digest(state)), state)

    assert signature == sign(ed25519, b"this is sample text")
    assert verify(ed25519, signature, b"this is sample text").file_sha512 == state.digest()


@given(content=st.binary(max_size=600), seconds=st.integers(0, 10**9))
def test_any_file_at_any_time_verifies_and_only_that_file(content, seconds):
    release = release_key("ed25519")
    signature = sign(release, content, created=BORN + timedelta(seconds=seconds))
    assert verify(release, signature, content).created == BORN + timedelta(seconds=seconds)
    assert refusal(release, signature, content + b"\0") == "signature-digest"


def test_every_single_flipped_byte_of_the_signature_is_refused(release):
    signature = sign(release, notations=(LOGGED,))
    verify(release, signature)
    for where, changed in flips(signature, every_bit=release.device.algorithm == "ed25519"):
        assert refusal(release, changed), where


def test_every_flipped_byte_of_the_file_is_refused(ed25519):
    signature = sign(ed25519)
    for _, changed in flips(FILE, every_bit=False):
        assert refusal(ed25519, signature, changed) == "signature-digest"


def test_every_shortened_signature_is_refused(release):
    signature = sign(release)
    for length in range(len(signature)):
        assert refusal(release, signature[:length]) == "openpgp-malformed"


@given(raw=st.binary(max_size=400))
def test_noise_is_refused_and_nothing_else_comes_out(raw):
    with pytest.raises(Rejected):
        verify(release_key("p256"), raw)


@given(at=st.integers(0, 258), noise=st.binary(min_size=1, max_size=8))
def test_a_signature_with_noise_in_it_is_refused(at, noise):
    signature = sign(release_key("ed25519"), notations=(LOGGED,))
    with pytest.raises(Rejected):
        verify(release_key("ed25519"), signature[:at] + noise + signature[at:])


def test_a_signature_of_another_key_is_refused(release):
    other = release_key("p256" if release.device.algorithm == "ed25519" else "ed25519")
    assert refusal(other, sign(release)) == "signature-issuer"


def test_a_signature_that_names_this_key_but_is_made_by_another_is_refused(release):
    hasher, stranger = hashlib.sha512(FILE), type(release.device)(release.device.algorithm, other_key(release))
    draft = draft_signature(release.certificate, created=SIGNED_AT, file_sha512=DIGEST)
    with pytest.raises(Rejected) as caught:
        draft.seal(stranger.sign(draft.digest(hasher)), hasher)
    assert caught.value.code == "signature-invalid"


def other_key(release):
    size = getattr(release.device.key, "key_size", None)
    name = f"rsa{size}" if release.device.algorithm == "rsa" else str(release.device.algorithm)
    return MAKERS[name][1]()


def test_armored_text_is_refused(ed25519):
    armored = (
        b"-----BEGIN PGP SIGNATURE-----\n\n" + base64.b64encode(sign(ed25519)) + b"\n-----END PGP SIGNATURE-----\n"
    )
    assert refusal(ed25519, armored) == "openpgp-malformed"


def test_more_than_16383_bytes_are_refused_unread(ed25519):
    with pytest.raises(TooLarge):
        verify(ed25519, sign(ed25519).ljust(16384, b"\0"))


def by_hand(release, *, kind=0, types=(2, 16, 33, 20), extra=b"", created=SIGNED_AT, stated=DIGEST, **options):
    """Properly signed by the right key, yet not what a release signature looks like."""
    fingerprint = bytes.fromhex(release.certificate.fingerprint)
    parts = {
        2: subpacket(2, int(created.timestamp()).to_bytes(4, "big")),
        16: subpacket(16, fingerprint[-8:]),
        33: subpacket(33, b"\x04" + fingerprint),
        20: notation(DATA_DIGEST.encode(), stated),
    }
    return signed_packet(release.device, FILE, kind, b"".join(parts[each] for each in types) + extra, **options)


WRONG = {
    "text document (0x01)": ("signature-unsupported", lambda key: by_hand(key, kind=1)),
    "certification (0x13)": ("signature-unsupported", lambda key: by_hand(key, kind=0x13)),
    "SHA-256": ("signature-unsupported", lambda key: by_hand(key, hash_name="sha256", hash_id=8)),
    "SHA-1": ("signature-unsupported", lambda key: by_hand(key, hash_name="sha1", hash_id=2)),
    "no data-digest": ("signature-unsupported", lambda key: by_hand(key, types=(2, 16, 33))),
    "no issuer fingerprint": ("signature-unsupported", lambda key: by_hand(key, types=(2, 16, 20))),
    "no creation time": ("signature-unsupported", lambda key: by_hand(key, types=(16, 33, 20))),
    "another order": ("signature-unsupported", lambda key: by_hand(key, types=(16, 2, 33, 20))),
    "expires": ("signature-unsupported", lambda key: by_hand(key, extra=subpacket(3, b"\0\0\0\x01"))),
    "an unhashed subpacket": ("signature-unsupported", lambda key: by_hand(key, unhashed=subpacket(16, bytes(8)))),
    "data-digest of another file": ("signature-digest", lambda key: by_hand(key, stated=bytes(64))),
    "data-digest too short": ("signature-digest", lambda key: by_hand(key, stated=DIGEST[:63])),
    "data-digest twice": ("notation-invalid", lambda key: by_hand(key, types=(2, 16, 33, 20, 20))),
    "created before its key": ("signature-time", lambda key: by_hand(key, created=BORN - timedelta(seconds=1))),
    "notation not ASCII": ("notation-invalid", lambda key: by_hand(key, extra=notation(b"a@b", b"\xff", 0x80))),
    "notation without domain": ("notation-invalid", lambda key: by_hand(key, extra=notation(b"plain", b"v", 0x80))),
    "notation not flagged as readable": (
        "signature-invalid",
        lambda key: by_hand(key, extra=notation(b"a@b", b"v", 0)),
    ),
    "lengths not in their shortest form": ("signature-invalid", by_hand),
    "two signature packets": ("openpgp-malformed", lambda key: sign(key) * 2),
    "a byte after the packet": ("openpgp-malformed", lambda key: sign(key) + b"\0"),
    "a certificate after it": ("openpgp-malformed", lambda key: sign(key) + key.raw),
    "a certificate": ("openpgp-malformed", lambda key: key.raw),
    "nothing": ("openpgp-malformed", lambda _: b""),
    "version 3": ("openpgp-malformed", lambda key: frame(2, b"\x03" + sign(key)[4:])),
}


@pytest.mark.parametrize(("code", "build"), WRONG.values(), ids=WRONG)
def test_a_signature_that_is_no_release_signature_is_refused(code, build, ed25519):
    assert refusal(ed25519, build(ed25519)) == code


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_a_digest_that_is_no_sha512_is_not_drafted(size, ed25519):
    with pytest.raises(Rejected) as caught:
        draft_signature(ed25519.certificate, created=SIGNED_AT, file_sha512=bytes(size))
    assert caught.value.code == "signature-digest"


def test_a_draft_refuses_the_hasher_of_another_file(ed25519):
    draft = draft_signature(ed25519.certificate, created=SIGNED_AT, file_sha512=DIGEST)
    with pytest.raises(Rejected) as caught:
        draft.digest(hashlib.sha512(b"swapped after the last attestation"))
    assert caught.value.code == "signature-digest"


TIMES = {
    "before the key": (BORN - timedelta(seconds=1), "signature-time"),
    "without a zone": (datetime(2025, 5, 5), "openpgp-time"),  # noqa: DTZ001 - the mistake under test
    "before 1970": (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), "openpgp-time"),
    "after 2106": (datetime(2106, 2, 7, 6, 28, 16, tzinfo=UTC), "openpgp-time"),
}


@pytest.mark.parametrize(("created", "code"), TIMES.values(), ids=TIMES)
def test_a_creation_time_that_cannot_be_is_refused(created, code, ed25519):
    with pytest.raises(Rejected) as caught:
        draft_signature(ed25519.certificate, created=created, file_sha512=DIGEST)
    assert caught.value.code == code


def test_a_time_of_another_zone_with_fractions_is_the_same_second(ed25519):
    elsewhere = (SIGNED_AT + timedelta(microseconds=999_999)).astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert sign(ed25519, created=elsewhere) == sign(ed25519)


NOTATIONS = {
    "data-digest's own name": (DATA_DIGEST, "v"),
    "a name without domain": ("log", "v"),
    "a name in upper case": ("Log@example.org", "v"),
    "an empty value": ("log@example.org", ""),
    "a line feed": ("log@example.org", "a\nb"),
    "a letter beyond ASCII": ("log@example.org", "é"),
    "1025 characters": ("log@example.org", "v" * 1025),
}


@pytest.mark.parametrize(("name", "value"), NOTATIONS.values(), ids=NOTATIONS)
def test_a_notation_that_others_could_read_differently_is_refused(name, value):
    with pytest.raises(Rejected) as caught:
        Notation(name, value)
    assert caught.value.code == "notation-invalid"


def test_the_largest_signature_is_within_pacmans_limit_and_one_notation_more_is_refused():
    release = release_key("rsa3072")
    most = tuple(Notation(f"n{n}@example.org", "v" * 1024) for n in range(8))
    signature = sign(release, notations=most)

    assert len(signature) < 16384 - 8192 // 8  # an RSA key of 8192 bits would still fit
    assert verify(release, signature).notations == most
    with pytest.raises(AttestorError):
        sign(release, notations=(*most, LOGGED))
