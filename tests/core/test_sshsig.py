"""SSH signatures of real ssh-keygen, of every key type that it makes without a token; a token's are made by hand.

No token is here, so its signatures are written as PROTOCOL.u2f says; ssh-keygen itself, which verifies them in software,
is asked whether they are right.
"""

import base64
import hashlib
import subprocess
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from attestor.core.errors import AttestorError, Malformed, Rejected, TooLarge
from attestor.core.sshsig import MAX_SIGNATURE, read_ssh_key, verify_ssh

NAMESPACE = "approval@attestor"
DOCUMENT = b'attestor approval v1\n{"action":"downgrade"}'
KINDS = {
    "ed25519": "ed25519",
    "p256": "ecdsa -b 256",
    "p384": "ecdsa -b 384",
    "p521": "ecdsa -b 521",
    "rsa": "rsa -b 2048",
}
COORDINATE = 32


@dataclass(frozen=True)
class SshKeygen:
    program: str
    folder: Path

    def run(self, *arguments, given=None, check=True):
        done = subprocess.run(
            [self.program, *arguments], input=given, capture_output=True, cwd=self.folder, timeout=60, check=False
        )
        assert not check or done.returncode == 0, done.stderr.decode(errors="replace")
        return done

    def make(self, name, kind):
        if not (self.folder / name).exists():
            self.run("-q", "-t", *kind.split(), "-N", "", "-C", f"{name} of the tests", "-f", name)
        return self.public(name)

    def public(self, name):
        return (self.folder / f"{name}.pub").read_text("utf-8")

    def sign(self, name, document=DOCUMENT, namespace=NAMESPACE, options=()):
        return self.run("-Y", "sign", "-n", namespace, "-f", name, *options, given=document).stdout

    def agrees(self, signature, document=DOCUMENT, namespace=NAMESPACE):
        (self.folder / "asked.sig").write_bytes(signature)
        check = ("-Y", "check-novalidate", "-n", namespace, "-s", "asked.sig")
        return self.run(*check, given=document, check=False).returncode == 0


@pytest.fixture(scope="session")
def ssh_keygen(tool, tmp_path_factory):
    return SshKeygen(tool("ssh-keygen"), tmp_path_factory.mktemp("ssh"))


@pytest.fixture
def line(ssh_keygen):
    return ssh_keygen.make("ed25519", "ed25519")


def strings(*parts):
    return b"".join(len(each).to_bytes(4) + each for each in parts)


def mpint(number):
    return number.to_bytes(number.bit_length() // 8 + 1)


def armor(raw):
    text = base64.b64encode(raw).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


def unarmored(signature):
    return base64.b64decode(b"".join(signature.split(b"\n")[1:-2]))


class SoftKey:
    """A key whose signatures are put together by hand, so that every field can be wrong."""

    def __init__(self, kind, blob, sign, application=None):
        self.kind, self.blob, self.sign, self.application = kind, blob, sign, application
        self.line = f"{kind} {base64.b64encode(blob).decode()} made by hand"

    def signature(
        self, *, algorithm=None, reserved=b"", hash_name="sha512", flags=1, sign=None, version=1, tail=b"", inner=b""
    ):
        digest = hashlib.new(hash_name, DOCUMENT).digest()
        message = b"SSHSIG" + strings(NAMESPACE.encode(), b"", hash_name.encode(), digest)
        token = b""
        if self.application is not None:
            token = bytes([flags]) + (4711).to_bytes(4)
            message = hashlib.sha256(self.application).digest() + token + hashlib.sha256(message).digest()
        raw = strings((algorithm or self.kind).encode(), (sign or self.sign)(message)) + token + inner
        head = b"SSHSIG" + version.to_bytes(4)
        return armor(head + strings(self.blob, NAMESPACE.encode(), reserved, hash_name.encode(), raw) + tail)


def soft_ed25519(application=None):
    private = ed25519.Ed25519PrivateKey.generate()
    kind = "ssh-ed25519" if application is None else "sk-ssh-ed25519@openssh.com"
    fields = [kind.encode(), private.public_key().public_bytes_raw(), *([] if application is None else [application])]
    return SoftKey(kind, strings(*fields), private.sign, application)


def soft_token_p256():
    private = ec.generate_private_key(ec.SECP256R1())
    point = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    kind = "sk-ecdsa-sha2-nistp256@openssh.com"

    def sign(message):
        return strings(*map(mpint, decode_dss_signature(private.sign(message, ec.ECDSA(SHA256())))))

    return SoftKey(kind, strings(kind.encode(), b"nistp256", point, b"ssh:"), sign, b"ssh:")


@pytest.fixture(scope="module")
def soft_rsa():
    private = rsa.generate_private_key(65537, 2048)
    numbers = private.public_key().public_numbers()
    key = SoftKey("ssh-rsa", strings(b"ssh-rsa", mpint(numbers.e), mpint(numbers.n)), None)
    key.by = {
        name: partial(private.sign, padding=padding.PKCS1v15(), algorithm=hash_)
        for name, hash_ in {
            "rsa-sha2-256": SHA256(),
            "rsa-sha2-512": SHA512(),
            "ssh-rsa": SHA1(),  # noqa: S303 - what must be refused
        }.items()
    }
    return key


def verify(public, signature, document=DOCUMENT, namespace=NAMESPACE):
    verify_ssh(read_ssh_key(public), signature, document, namespace)


def refusal(public, signature, document=DOCUMENT):
    with pytest.raises(Rejected) as caught:
        verify(public, signature, document)
    return caught.value


@pytest.mark.required_in_ci
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("hashed", ["sha512", "sha256"])
def test_what_ssh_keygen_signs_is_accepted_and_of_nothing_else(ssh_keygen, name, hashed):
    public = ssh_keygen.make(name, KINDS[name])
    signature = ssh_keygen.sign(name, options=("-O", f"hashalg={hashed}"))

    verify(public, signature)
    verify(public, signature.replace(b"\n", b"\r\n"))
    assert refusal(public, signature, DOCUMENT + b"\n").code == "approval-signature"


@pytest.mark.required_in_ci
@pytest.mark.parametrize("name", KINDS)
def test_the_fingerprint_is_that_of_ssh_keygen(ssh_keygen, name):
    public = ssh_keygen.make(name, KINDS[name])
    shown = ssh_keygen.run("-lf", f"{name}.pub").stdout.decode().split()[1]
    assert read_ssh_key(public).fingerprint == read_ssh_key(" ".join(public.split()[:2])).fingerprint == shown


@pytest.mark.required_in_ci
@pytest.mark.parametrize("make", [partial(soft_ed25519, b"ssh:work"), soft_token_p256], ids=["ed25519", "p256"])
def test_a_tokens_signature_is_taken_where_it_was_touched_for_it(ssh_keygen, make):
    key = make()
    touched, verified, untouched = key.signature(flags=0x01), key.signature(flags=0x05), key.signature(flags=0x04)
    (ssh_keygen.folder / "token.pub").write_text(key.line, "utf-8")

    assert ssh_keygen.run("-lf", "token.pub").stdout.decode().split()[1] == read_ssh_key(key.line).fingerprint
    for signature in (touched, verified):
        assert ssh_keygen.agrees(signature)
        verify(key.line, signature)
    assert "not touched" in refusal(key.line, untouched).sentence
    assert refusal(key.line, touched, b"other").code == "approval-signature"
    counter = bytearray(unarmored(touched))
    counter[-1] ^= 1
    assert refusal(key.line, armor(counter)).code == "approval-signature"


@pytest.mark.required_in_ci
def test_every_bit_of_a_signature_counts(ssh_keygen, line):
    signature = ssh_keygen.sign("ed25519")
    key = read_ssh_key(line)
    tried = 0
    for at in range(len(signature)):
        for bit in range(8):
            with pytest.raises(AttestorError) as caught:
                verify_ssh(
                    key, signature[:at] + bytes([signature[at] ^ 1 << bit]) + signature[at + 1 :], DOCUMENT, NAMESPACE
                )
            assert caught.value.code in {"approval-signature", "approval-malformed"}
            tried += 1
    assert tried == 8 * len(signature) > 2000
    verify(line, signature)


@pytest.mark.required_in_ci
@pytest.mark.parametrize("at", range(0, 512, 37))
def test_a_shorter_signature_is_refused(ssh_keygen, line, at):
    signature = ssh_keygen.sign("ed25519")
    assert refusal(line, signature[: at % len(signature)]).code == "approval-malformed"


@pytest.mark.required_in_ci
def test_another_keys_and_another_namespaces_signatures_do_not_count(ssh_keygen, line):
    ssh_keygen.make("other", "ed25519")
    assert "another key" in refusal(line, ssh_keygen.sign("other")).sentence
    assert "-n approval@attestor" in refusal(line, ssh_keygen.sign("ed25519", namespace="git")).sentence
    for near in ("approval@attestor ", "Approval@attestor", "approval@attestor\0"):
        with pytest.raises(Rejected):
            verify(line, ssh_keygen.sign("ed25519"), namespace=near)


@pytest.mark.required_in_ci
def test_a_certificate_is_no_key_and_signs_nothing_here(ssh_keygen, line):
    ssh_keygen.make("ca", "ed25519")
    ssh_keygen.run("-q", "-s", "ca", "-I", "anna", "-n", "anna", "ed25519.pub")
    signature = ssh_keygen.sign("ed25519-cert.pub")

    assert b"-cert-v01@openssh.com" in unarmored(signature)
    assert "certificate" in refusal(line, signature).sentence
    with pytest.raises(Rejected) as caught:
        read_ssh_key(ssh_keygen.public("ed25519-cert"))
    assert caught.value.code == "approver-key-invalid"


def test_rsa_signs_with_sha_2_only(soft_rsa):
    for name in ("rsa-sha2-256", "rsa-sha2-512"):
        verify(soft_rsa.line, soft_rsa.signature(algorithm=name, sign=soft_rsa.by[name]))
        # The hash that is named must be the hash that was used.
        assert refusal(soft_rsa.line, soft_rsa.signature(algorithm=name, sign=soft_rsa.by["ssh-rsa"]))
    sha1 = soft_rsa.signature(algorithm="ssh-rsa", sign=soft_rsa.by["ssh-rsa"])
    assert "rsa-sha2-256 or rsa-sha2-512" in refusal(soft_rsa.line, sha1).sentence


OTHER_FORMS = {
    "reserved field": ({"reserved": b"x"}, "approval-signature"),
    "hash MD5": ({"hash_name": "md5"}, "approval-signature"),
    "hash SHA-384": ({"hash_name": "sha384"}, "approval-signature"),
    "algorithm of another key": ({"algorithm": "ecdsa-sha2-nistp256"}, "approval-signature"),
    "algorithm of a token": (
        {"algorithm": "sk-ssh-ed25519@openssh.com", "inner": b"\1\0\0\0\0"},
        "approval-signature",
    ),
    "version 2": ({"version": 2}, "approval-malformed"),
    "version 0": ({"version": 0}, "approval-malformed"),
    "bytes after its end": ({"tail": b"\0"}, "approval-malformed"),
    "bytes after the inner end": ({"inner": b"\0"}, "approval-malformed"),
    "too short": ({"sign": lambda _: bytes(63)}, "approval-signature"),
    "empty": ({"sign": lambda _: b""}, "approval-signature"),
}


@pytest.mark.parametrize(("changed", "code"), OTHER_FORMS.values(), ids=OTHER_FORMS)
def test_a_signature_of_another_form_is_refused(changed, code):
    key = soft_ed25519()
    verify(key.line, key.signature())
    assert refusal(key.line, key.signature(**changed)).code == code


@pytest.mark.parametrize(
    "numbers",
    {
        "leading zero": lambda r, s: strings(b"\0" + mpint(r), mpint(s)),
        "negative": lambda r, s: strings(b"\xff" + r.to_bytes(COORDINATE), mpint(s)),
        "one": lambda r, _: strings(mpint(r)),
        "three": lambda r, s: strings(mpint(r), mpint(s), b""),
        "DER": lambda _r, _s: b"0\6\2\1\1\2\1\1",
        "zeros": lambda _r, _s: strings(b"", b""),
    }.values(),
    ids=["leading zero", "negative", "one", "three", "DER", "zeros"],
)
def test_ecdsa_numbers_have_one_spelling(numbers):
    key = soft_token_p256()

    def sign(message):
        raw = key.sign(message)
        size = int.from_bytes(raw[:4])
        return numbers(int.from_bytes(raw[4 : 4 + size]), int.from_bytes(raw[8 + size :]))

    assert refusal(key.line, key.signature(sign=sign)).code == "approval-malformed"


@pytest.mark.parametrize(
    "change",
    [
        lambda signature: signature + b"x",
        lambda signature: signature + b"\n",
        lambda signature: signature + signature,
        lambda signature: b"\n" + signature,
        lambda signature: signature.replace(b"SSH SIG", b"PGP SIG"),
        unarmored,
        lambda signature: signature.replace(b"\n", b" \n", 2),
        lambda _: b"",
        lambda _: b"\xff\xfe",
    ],
    ids=[
        "text after",
        "an empty line after",
        "twice",
        "an empty line before",
        "label",
        "not armored",
        "space",
        "empty",
        "binary",
    ],
)
def test_what_is_not_exactly_one_armored_signature_is_malformed(change):
    key = soft_ed25519()
    with pytest.raises(Malformed) as caught:
        verify(key.line, change(key.signature()))
    assert caught.value.code == "approval-malformed"


def test_a_signature_has_a_limit():
    with pytest.raises(TooLarge) as caught:
        verify(soft_ed25519().line, b"-" * (MAX_SIGNATURE + 1))
    assert caught.value.code == "approval-too-large"


def _rsa_line(bits, exponent=65537):
    modulus = (1 << bits - 1) + 1  # no product of two primes, which no public key says
    return _line("ssh-rsa", b"ssh-rsa", mpint(exponent), mpint(modulus))


def _line(kind, *fields):
    return f"{kind} {base64.b64encode(strings(*fields)).decode()}"


POINT = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")  # RFC 8032 §7.1


BAD_KEYS = {
    "empty": ("", "one line"),
    "one word": ("ssh-ed25519", "one line"),
    "two lines": (
        f"{_line('ssh-ed25519', b'ssh-ed25519', POINT)}\n{_line('ssh-ed25519', b'ssh-ed25519', POINT)}",
        "one line",
    ),
    "options": (f'restrict,command="id" {_line("ssh-ed25519", b"ssh-ed25519", POINT)}', "options"),
    "private key": ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", "private key"),
    "too long": (f"{_line('ssh-ed25519', b'ssh-ed25519', POINT)} {'c' * 4096}", "one line"),
    "DSA": (_line("ssh-dss", b"ssh-dss", b"\1", b"\1", b"\1", b"\1"), "none of"),
    "other name": (_line("ssh-ed25519", b"ssh-rsa", POINT), "base64"),
    "base64": ("ssh-ed25519 AAAA*", "base64"),
    "cut": (_line("ssh-ed25519", b"ssh-ed25519", POINT)[:-8], "base64"),
    "trailing field": (_line("ssh-ed25519", b"ssh-ed25519", POINT, b""), "base64"),
    "short point": (_line("ssh-ed25519", b"ssh-ed25519", POINT[:31]), "base64"),
    "small order": (_line("ssh-ed25519", b"ssh-ed25519", bytes(32)), "sound point"),
    "curve of another name": (
        _line("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", b"nistp384", b"\4" + bytes(64)),
        "base64",
    ),
    "not on the curve": (
        _line("ecdsa-sha2-nistp256", b"ecdsa-sha2-nistp256", b"nistp256", b"\4" + bytes(64)),
        "base64",
    ),
    "token for the web": (
        _line("sk-ssh-ed25519@openssh.com", b"sk-ssh-ed25519@openssh.com", POINT, b"https://x"),
        "something else than SSH",
    ),
    "token without application": (_line("sk-ssh-ed25519@openssh.com", b"sk-ssh-ed25519@openssh.com", POINT), "SSH"),
    "RSA of 1024 bits": (_rsa_line(1024), "2048"),
    "RSA with exponent 3": (_rsa_line(2048, 3), "65537"),
}


@pytest.mark.parametrize(("text", "why"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_key_that_no_approver_can_use_is_refused(text, why):
    with pytest.raises(Rejected) as caught:
        read_ssh_key(text)
    assert (caught.value.code, why in caught.value.sentence) == ("approver-key-invalid", True), caught.value.sentence
