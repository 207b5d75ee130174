"""Numbers that happen to be short: OpenPGP strips leading zeros, and every reader has to put them back."""

import hashlib
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA512

from attestor.core.errors import Malformed, Rejected
from attestor.openpgp.numbers import read_raw
from attestor.openpgp.signature import draft_signature, verify_signature
from tests.edges.openpgp.softkeys import BORN, mpi, release_key

A_FILE = b"a file"
SIZES = {"ed25519": (32, 32), "rsa2048": (256,), "p256": (32, 32), "p384": (48, 48), "p521": (66, 66)}


def short_signatures(release, sizes):
    """For each number of the signature one whose first byte is zero. ECDSA is random; the others depend on the time."""
    hasher = hashlib.sha512(A_FILE)
    wanted = dict(enumerate(sizes))
    for second in range(20_000):
        draft = draft_signature(
            release.certificate, created=BORN + timedelta(seconds=second), file_sha512=hasher.digest()
        )
        raw = release.device.sign(draft.digest(hasher))
        numbers = read_raw(raw, release.certificate.public_key)
        for which in [at for at, size in wanted.items() if numbers[at].bit_length() <= 8 * (size - 1)]:
            del wanted[which]
            yield numbers, draft.seal(raw, hasher)
        if not wanted:
            return
    pytest.fail("no short number among 20,000 signatures")


@pytest.mark.required_in_ci
@pytest.mark.parametrize("name", SIZES)
def test_a_signature_with_a_short_number_is_written_and_read_right(name, gpg, tmp_path):
    release = release_key(name)
    gpg.import_certificate(release.raw)
    for numbers, signature in short_signatures(release, SIZES[name]):
        assert signature.endswith(b"".join(map(mpi, numbers)))
        verify_signature(release.certificate, signature, hashlib.sha512(A_FILE))
        assert gpg.verify(tmp_path, signature, A_FILE)[0] == 0


def test_the_rsa_signature_is_the_padded_digest_info_that_the_device_is_given():
    """The device pads exactly what it gets (PKCS1 as CKM_RSA_PKCS), so DigestInfo comes from us: RFC 8017, 9.2."""
    release, digest = release_key("rsa2048"), hashlib.sha512(A_FILE).digest()
    private = release.device.key.private_numbers()
    info = bytes.fromhex("3051300d060960864801650304020305000440") + digest
    padded = b"\x00\x01" + b"\xff" * (256 - 3 - len(info)) + b"\x00" + info
    raw = pow(int.from_bytes(padded, "big"), private.d, private.public_numbers.n).to_bytes(256, "big")

    assert raw == release.device.sign(digest) == release.device.key.sign(A_FILE, PKCS1v15(), SHA512())


MALFORMED_RAW = {
    "ed25519": [b"", bytes(63), bytes(65)],
    "rsa2048": [b"", bytes(255), bytes(257)],
    "p256": [b"", b"\x30\x00", b"\x30\x06\x02\x01\xff\x02\x01\x01", bytes(64), b"\x30\x06\x02\x01\x01\x02\x01\x01\x00"],
}


@pytest.mark.parametrize("name", MALFORMED_RAW)
def test_what_a_device_cannot_have_returned_is_refused(name):
    release, hasher = release_key(name), hashlib.sha512(A_FILE)
    draft = draft_signature(release.certificate, created=BORN, file_sha512=hasher.digest())
    for raw in MALFORMED_RAW[name]:
        with pytest.raises(Malformed) as caught:
            draft.seal(raw, hasher)
        assert caught.value.code == "signature-malformed"


OUT_OF_RANGE = {
    "ed25519": [bytes(64), b"\xff" * 64],
    "rsa2048": [bytes(256), b"\xff" * 256],
    "p256": [b"\x30\x06\x02\x01\x00\x02\x01\x00", b"\x30\x26\x02\x01\x01\x02\x21\x01" + bytes(32)],
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_numbers_that_no_key_makes_do_not_verify(name):
    release, hasher = release_key(name), hashlib.sha512(A_FILE)
    draft = draft_signature(release.certificate, created=BORN, file_sha512=hasher.digest())
    for raw in OUT_OF_RANGE[name]:
        with pytest.raises(Rejected) as caught:
            draft.seal(raw, hasher)
        assert caught.value.code == "signature-invalid"
