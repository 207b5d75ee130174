"""The fingerprint of a TLS client's key: from any certificate for it, whatever else that certificate says."""

import contextlib
import hashlib
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import Malformed
from attestor.core.tls import MAX_CERTIFICATE_BYTES, fingerprint_of, load_client_fingerprint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEY = ec.generate_private_key(ec.SECP256R1())


def certificate(key, *names, serial=1, days=30):
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names])
    builder = x509.CertificateBuilder(subject, subject, key.public_key(), serial, NOW, NOW + timedelta(days=days))
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def expected(key):
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(public).hexdigest()


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(certificate(KEY, "a.example"), id="a plain certificate"),
        pytest.param(certificate(KEY, "a.example", serial=77, days=3000), id="renewed: other serial, other validity"),
        pytest.param(certificate(KEY, "good.example\0.evil.example"), id="a NUL in the common name"),
        pytest.param(certificate(KEY, "one", "two", "one"), id="several common names"),
        pytest.param(certificate(KEY), id="no name at all"),
    ],
)
def test_only_the_key_counts(der):
    assert load_client_fingerprint(der) == expected(KEY)


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(ec.generate_private_key(ec.SECP384R1()), id="P-384"),
        pytest.param(ed25519.Ed25519PrivateKey.generate(), id="Ed25519"),
        pytest.param(rsa.generate_private_key(65537, 2048), id="RSA"),
    ],
)
def test_every_kind_of_client_key_has_a_fingerprint(key):
    assert load_client_fingerprint(certificate(key, "client")) == expected(key) == fingerprint_of(key.public_key())


def test_a_certificate_that_claims_another_clients_name_has_its_own_fingerprint():
    other = ec.generate_private_key(ec.SECP256R1())
    assert load_client_fingerprint(certificate(other, "a.example")) != load_client_fingerprint(
        certificate(KEY, "a.example")
    )


def test_a_real_certificate_has_the_fingerprint_that_openssl_prints(tool, tmp_path):
    openssl = tool("openssl")
    (tmp_path / "c.der").write_bytes(certificate(KEY, "a.example"))
    public = subprocess.check_output(
        [openssl, "x509", "-inform", "DER", "-in", tmp_path / "c.der", "-noout", "-pubkey"]
    )
    der = subprocess.check_output([openssl, "pkey", "-pubin", "-outform", "DER"], input=public)
    assert hashlib.sha256(der).hexdigest() == load_client_fingerprint(certificate(KEY, "a.example"))


@pytest.mark.parametrize(
    "der",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(certificate(KEY, "a")[:-1], id="truncated"),
        pytest.param(certificate(KEY, "a") + b"\0", id="bytes after the end"),
        pytest.param(b"-----BEGIN CERTIFICATE-----", id="PEM"),
        pytest.param(b"\x30" * (MAX_CERTIFICATE_BYTES + 1), id="too long"),
    ],
)
def test_what_is_no_certificate_is_malformed(der):
    with pytest.raises(Malformed) as refusal:
        load_client_fingerprint(der)
    assert refusal.value.code == "client-certificate-unreadable"


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # a serial number of 0
@given(st.integers(0, len(certificate(KEY, "a")) - 100), st.integers(1, 255))
def test_a_changed_byte_never_raises_anything_but_malformed(place, mask):
    der = bytearray(certificate(KEY, "a"))
    der[place] ^= mask
    with contextlib.suppress(Malformed):
        assert len(load_client_fingerprint(bytes(der))) == 64
