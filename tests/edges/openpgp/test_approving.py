"""Approvers' signatures by real gpg, under the certificates that it exports; and certificates that no gpg makes, by hand."""

import base64
import hashlib
import subprocess
from datetime import timedelta

import pytest

from attestor.core.approvaldocuments import NAMESPACE
from attestor.core.errors import AttestorError, Malformed, Rejected, TooLarge
from attestor.core.policy import ApproverKey
from attestor.openpgp.approvers import Approvers
from attestor.openpgp.approving import MAX_SIGNATURE, OpenPgpApprover
from attestor.openpgp.personal import MAX_CERTIFICATE
from attestor.openpgp.reading import read_packets
from tests.edges.openpgp.softkeys import BORN, flips, frame, mpi, release_key, signed_packet, subpacket
from tests.gnupg import AT, DOCUMENT, MADE, Keyring, gnupg_home

SECOND = timedelta(seconds=1)
HASHES = ("SHA256", "SHA384", "SHA512")
TYPES = {"ed25519": HASHES, "rsa3072": HASHES, "nistp256": HASHES, "nistp384": HASHES[1:], "nistp521": HASHES[2:]}
"""And the hashes that gpg uses with them: none shorter than the curve's order."""


@pytest.fixture(scope="module")
def keyring(tool):
    with gnupg_home(tool) as home:
        yield Keyring(tool("gpg"), home)


@pytest.fixture
def anna(keyring):
    """An approver with an Ed25519 key."""
    return OpenPgpApprover.read(keyring.export(keyring.key("anna")), keyring.key("anna"))


def refused(call, code="approval-signature"):
    with pytest.raises(AttestorError) as caught:
        call()
    assert caught.value.code == code, caught.value
    return caught.value.sentence


def unreadable(certificate, fingerprint):
    return refused(lambda: OpenPgpApprover.read(certificate, fingerprint), "approver-key-invalid")


def armored(raw, label="PUBLIC KEY BLOCK"):
    text = base64.b64encode(raw).decode()
    lines = "\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN PGP {label}-----\n\n{lines}\n-----END PGP {label}-----\n"


def unarmored(text):
    lines = text.decode().splitlines()
    return base64.b64decode("".join(each for each in lines[lines.index("") + 1 : -1] if not each.startswith("=")))


# --- what gpg makes -------------------------------------------------------------------------------------------------


@pytest.mark.required_in_ci
@pytest.mark.parametrize("kind", TYPES)
def test_what_gpg_signs_is_accepted_and_of_nothing_else(keyring, kind):
    fingerprint = keyring.key(kind, kind)
    approver = OpenPgpApprover.read(keyring.export(fingerprint), fingerprint)
    for name in TYPES[kind]:
        signature = keyring.sign(fingerprint, "--digest-algo", name)
        approver.verify(signature, DOCUMENT, AT)
        approver.verify(unarmored(signature), DOCUMENT, AT)
    refused(lambda: approver.verify(signature, DOCUMENT + b"\n", AT))


@pytest.mark.required_in_ci
def test_a_signing_subkey_signs_for_an_offline_primary_key_until_it_is_revoked(keyring):
    primary = keyring.key("offline", usage="cert")
    unreadable(keyring.export(primary), primary)
    for usage in ("sign", "encr"):
        kind = "ed25519" if usage == "sign" else "cv25519"
        keyring.run("--batch", "--quick-add-key", primary, kind, usage, "1m", at=MADE + timedelta(days=15))
    _, subkey, _ = keyring.fingerprints("offline")
    grip = (
        keyring.run("--with-colons", "--with-keygrip", "--list-keys", primary)
        .decode()
        .split("grp:::::::::")[1]
        .split(":")[0]
    )
    (keyring.home / "private-keys-v1.d" / f"{grip}.key").rename(keyring.home / "primary.key")
    signature = keyring.sign(subkey)
    approver = OpenPgpApprover.read(keyring.export(primary), primary)

    approver.verify(signature, DOCUMENT, AT)
    assert "expired" in refused(lambda: approver.verify(signature, DOCUMENT, AT + timedelta(days=20)))
    assert "subkey" in refused(
        lambda: OpenPgpApprover.read(keyring.export(keyring.key("anna")), keyring.key("anna")).verify(
            signature, DOCUMENT, AT
        )
    )
    unreadable(keyring.export(primary), subkey)

    (keyring.home / "primary.key").rename(keyring.home / "private-keys-v1.d" / f"{grip}.key")
    keyring.edit(primary, "key 1", "revkey", "y", "0", "", "y")
    assert "Nothing in the certificate" in unreadable(keyring.export(primary), primary)


@pytest.mark.required_in_ci
def test_a_renewed_certificate_holds_as_long_as_the_newest_signature_says(keyring):
    fingerprint = keyring.key("renewed")
    before = keyring.export(fingerprint)
    keyring.run("--batch", "--quick-set-expire", fingerprint, "2y", at=MADE + timedelta(days=300))
    after = keyring.export(fingerprint)
    late = MADE + timedelta(days=400)
    signature = keyring.sign(fingerprint, at=late)

    OpenPgpApprover.read(after, fingerprint).verify(signature, DOCUMENT, late)
    assert "renew the policy's copy" in refused(
        lambda: OpenPgpApprover.read(before, fingerprint).verify(signature, DOCUMENT, late)
    )
    keyring.run("--batch", "--quick-set-expire", fingerprint, "1d", at=late)
    shortened = OpenPgpApprover.read(keyring.export(fingerprint), fingerprint)
    assert "expired" in refused(lambda: shortened.verify(signature, DOCUMENT, late + timedelta(days=10)))


@pytest.mark.required_in_ci
def test_a_revoked_certificate_is_refused_when_it_is_read(keyring):
    fingerprint = keyring.key("revoked")
    made_by_gpg = (keyring.home / "openpgp-revocs.d" / f"{fingerprint}.rev").read_text("utf-8")
    OpenPgpApprover.read(keyring.export(fingerprint), fingerprint)
    keyring.run("--batch", "--import", given=made_by_gpg.replace(":-----BEGIN", "-----BEGIN").encode())
    assert "revocation" in unreadable(keyring.export(fingerprint), fingerprint)


@pytest.mark.required_in_ci
def test_other_peoples_certifications_and_further_user_ids_change_nothing(keyring, anna):
    fingerprint = keyring.key("bodo", "nistp256")
    keyring.run("--batch", "--yes", "--local-user", keyring.key("anna"), "--quick-sign-key", fingerprint)
    keyring.run("--batch", "--quick-add-uid", fingerprint, "Bodo at work <work@example.org>")
    keyring.run("--batch", "--quick-revoke-uid", fingerprint, "bodo <bodo@example.org>", at=AT + SECOND)
    certificate = keyring.export(fingerprint)

    assert keyring.run("--list-packets", given=certificate.encode()).count(b":signature packet:") == 4
    OpenPgpApprover.read(certificate, fingerprint).verify(keyring.sign(fingerprint), DOCUMENT, AT + SECOND)


@pytest.mark.required_in_ci
def test_a_signature_holds_at_its_time_only(keyring, anna):
    signature = keyring.sign(keyring.key("anna"))
    for early in (timedelta(0), timedelta(minutes=5), -timedelta(days=300)):
        anna.verify(signature, DOCUMENT, AT - early)
    assert "future" in refused(lambda: anna.verify(signature, DOCUMENT, AT - timedelta(minutes=5, seconds=1)))
    assert "expired" in refused(lambda: anna.verify(signature, DOCUMENT, MADE + timedelta(days=365)))

    brief = keyring.sign(keyring.key("anna"), "--default-sig-expire", "1d")
    anna.verify(brief, DOCUMENT, AT + timedelta(days=1) - SECOND)
    assert "was valid until" in refused(lambda: anna.verify(brief, DOCUMENT, AT + timedelta(days=1)))


OTHER_WAYS = {
    "SHA-1": (("--digest-algo", "SHA1"), "SHA-256"),
    "RIPEMD-160": (("--digest-algo", "RIPEMD160"), "SHA-256"),
    "SHA-224": (("--digest-algo", "SHA224"), "SHA-256"),
    "text mode": (("--textmode",), "type 0x01"),
    "critical notation": (("--set-notation", "!approve@example.org=not really"), "type 20 is critical"),
    "critical policy": (("--sig-policy-url", "!https://example.org"), "type 26 is critical"),
}


@pytest.mark.required_in_ci
@pytest.mark.parametrize(("options", "why"), OTHER_WAYS.values(), ids=OTHER_WAYS)
def test_gpg_signatures_of_other_kinds_do_not_count(keyring, anna, options, why):
    signature = keyring.sign(keyring.key("anna"), *options)
    assert why in refused(lambda: anna.verify(signature, DOCUMENT, AT))


@pytest.mark.required_in_ci
def test_a_notation_that_is_not_critical_is_let_pass(keyring, anna):
    options = ("--set-notation", "note@example.org=hello", "--sender", "anna@example.org")
    anna.verify(keyring.sign(keyring.key("anna"), *options), DOCUMENT, AT)


@pytest.mark.required_in_ci
def test_another_keys_signature_does_not_count(keyring, anna):
    signature = keyring.sign(keyring.key("other"))
    assert keyring.key("anna") in refused(lambda: anna.verify(signature, DOCUMENT, AT))


@pytest.mark.required_in_ci
def test_what_is_not_one_detached_signature_is_malformed(keyring, anna):
    own = keyring.key("anna")
    one = keyring.sign(own)
    several = keyring.sign(own, "--local-user", f"{keyring.key('other')}!")
    for given in (
        several,
        one + one,
        unarmored(one) * 2,
        keyring.sign(own, how="--clear-sign"),
        keyring.sign(own, how="--sign"),
        unarmored(keyring.sign(own, how="--sign")),
        keyring.export(own).encode(),
        b"text before\n" + one,
        one + b"text after\n",
        unarmored(one) + b"\0",
        one.replace(b"SIGNATURE", b"MESSAGE"),
        b"",
        b"\xff",
    ):
        refused(lambda given=given: anna.verify(given, DOCUMENT, AT), "approval-malformed")
    with pytest.raises(TooLarge):
        anna.verify(bytes(MAX_SIGNATURE + 1), DOCUMENT, AT)
    anna.verify(one, DOCUMENT, AT)


@pytest.mark.required_in_ci
@pytest.mark.parametrize(("kind", "every_bit"), [("ed25519", True), ("nistp256", False), ("rsa3072", False)])
def test_no_bit_of_a_signature_can_be_changed(keyring, kind, every_bit):
    fingerprint = keyring.key(kind, kind)
    approver = OpenPgpApprover.read(keyring.export(fingerprint), fingerprint)
    signature = unarmored(keyring.sign(fingerprint))
    approver.verify(signature, DOCUMENT, AT)
    changed = list(flips(signature, every_bit=every_bit))
    assert len(changed) == len(signature) * (8 if every_bit else 1) > 100
    for where, each in changed:
        with pytest.raises(AttestorError) as caught:
            approver.verify(each, DOCUMENT, AT)
        assert caught.value.code in {"approval-signature", "approval-malformed"}, where


@pytest.mark.required_in_ci
def test_no_bit_of_a_certificate_can_be_changed_into_another_one_that_lives_longer(keyring):
    """A changed self-signature is none; what is left holds for no longer and lets no more sign."""
    fingerprint = keyring.key("anna")
    raw = unarmored(keyring.export(fingerprint).encode())
    late, signature = MADE + timedelta(days=366), keyring.sign(fingerprint)
    for _, each in flips(raw, every_bit=False):
        try:
            approver = OpenPgpApprover.read(armored(each), fingerprint)
        except Rejected as error:
            assert error.code == "approver-key-invalid"  # noqa: PT017 - most are refused, some bits mean nothing
            continue
        refused(lambda approver=approver: approver.verify(signature, DOCUMENT, late))


@pytest.mark.required_in_ci
def test_only_one_public_certificate_of_that_fingerprint_is_taken(keyring):
    own, other = keyring.key("anna"), keyring.key("other")
    certificate = keyring.export(own)
    secret = keyring.run("--batch", "--armor", "--export-secret-keys", own).decode()
    wrong = {
        certificate: other,
        keyring.export(own, other): own,
        certificate + certificate: own,
        secret: own,
        armored(unarmored(secret.encode())): own,
        keyring.sign(own).decode(): own,
        f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{'A' * 64}\n-----END PGP PUBLIC KEY BLOCK-----\n": own,
        armored(unarmored(certificate.encode()) * 2): own,
        armored(b""): own,
        armored(bytes(MAX_CERTIFICATE + 1)): own,
        "": own,
        certificate.replace("BEGIN", "BEGAN"): own,
    }
    assert len(wrong) == 12
    for text, fingerprint in wrong.items():
        unreadable(text, fingerprint)
    unreadable(certificate, own.lower())
    assert "secret" in unreadable(armored(unarmored(secret.encode())), own)
    OpenPgpApprover.read(f"\n{certificate}\n\n".replace("\n", "\r\n"), own)


@pytest.mark.required_in_ci
@pytest.mark.parametrize(
    ("kind", "usage"), [("rsa1024", "sign"), ("dsa1024", "sign"), ("secp256k1", "sign"), ("brainpoolP256r1", "sign")]
)
def test_weak_and_unsupported_keys_are_refused(keyring, kind, usage):
    fingerprint = keyring.key(kind, kind, usage)
    unreadable(keyring.export(fingerprint), fingerprint)


# --- what gpg never makes -------------------------------------------------------------------------------------------

PRIMARY = release_key("ed25519")
SUBKEY = release_key("p256")
LATER = BORN + timedelta(days=100)
"""When the certificates made by hand are looked at."""
SIGN, CERTIFY = b"\x02", b"\x01"


def key_body(release):
    return read_packets(release.raw)[0].body


def hashed(body):
    return b"\x99" + len(body).to_bytes(2, "big") + body


def time(moment):
    return int(moment.timestamp()).to_bytes(4, "big")


def area(*, days=1, flags=None, more=()):
    parts = [subpacket(2, time(BORN + timedelta(days=days)))]
    parts += [] if flags is None else [subpacket(27, flags)]
    return b"".join((*parts, *more))


def over_user_id(kind=0x13, device=PRIMARY.device, **fields):
    user_id = b"Anna <anna@example.org>"
    data = hashed(key_body(PRIMARY)) + b"\xb4" + len(user_id).to_bytes(4, "big") + user_id
    options = {name: fields.pop(name) for name in ("hash_name", "hash_id") if name in fields}
    return signed_packet(device, data, kind, area(**fields), **options)


def over_subkey(kind, device, hashed_area, **options):
    return signed_packet(device, hashed(key_body(PRIMARY)) + hashed(key_body(SUBKEY)), kind, hashed_area, **options)


def back_signature(device=SUBKEY.device, kind=0x19, **fields):
    return subpacket(32, read_packets(over_subkey(kind, device, area(**fields)))[0].body)


def by_hand(*user_id_signatures, subkey_signatures=None, direct=()):
    parts = [frame(6, key_body(PRIMARY)), *direct, frame(13, b"Anna <anna@example.org>"), *user_id_signatures]
    if subkey_signatures is not None:
        parts += [frame(14, key_body(SUBKEY)), *subkey_signatures]
    return armored(b"".join(parts))


def signature_by(release, *, days=2, **options):
    fingerprint = bytes.fromhex(release.certificate.fingerprint)
    more = (subpacket(33, b"\x04" + fingerprint), *options.pop("more", ()))
    return signed_packet(release.device, DOCUMENT, options.pop("kind", 0), area(days=days, more=more), **options)


def holds(certificate, release=PRIMARY, at=LATER, **options):
    """Whether a signature counts that this key makes under the certificate."""
    try:
        approver = OpenPgpApprover.read(certificate, PRIMARY.certificate.fingerprint)
        approver.verify(signature_by(release, **options), DOCUMENT, at)
    except Malformed:
        raise
    except Rejected as error:
        assert error.code in {"approver-key-invalid", "approval-signature"}  # noqa: PT017 - both ways of not holding
        return False
    return True


GOOD = over_user_id(flags=SIGN)
LAPSES = {
    name: lambda count, type_=type_: subpacket(type_, (count * 86400).to_bytes(4, "big"))
    for name, type_ in (("it", 3), ("key", 9))
}
PRIMARIES = {
    "signs": (True, by_hand(GOOD)),
    "no flags": (False, by_hand(over_user_id())),
    "certifies only": (False, by_hand(over_user_id(flags=CERTIFY))),
    "nothing signed": (False, by_hand()),
    "signed by another": (False, by_hand(over_user_id(flags=SIGN, device=SUBKEY.device))),
    "hash SHA-1": (False, by_hand(over_user_id(flags=SIGN, hash_name="sha1", hash_id=2))),
    "hash SHA-256": (True, by_hand(over_user_id(flags=SIGN, hash_name="sha256", hash_id=8))),
    "lapsed": (False, by_hand(over_user_id(flags=SIGN, more=[LAPSES["it"](99)]))),
    "not lapsed": (True, by_hand(over_user_id(flags=SIGN, more=[LAPSES["it"](100)]))),
    "expired": (False, by_hand(over_user_id(flags=SIGN, more=[LAPSES["key"](100)]))),
    "not expired": (True, by_hand(over_user_id(flags=SIGN, more=[LAPSES["key"](101)]))),
    "never expires": (True, by_hand(over_user_id(flags=SIGN, more=[LAPSES["key"](0)]))),
    "lapsed, not expired": (False, by_hand(over_user_id(flags=SIGN, more=[LAPSES["it"](99), LAPSES["key"](300)]))),
    "from the future": (False, by_hand(over_user_id(flags=SIGN, days=101))),
    "critical, unknown": (False, by_hand(GOOD, over_user_id(flags=SIGN, more=[subpacket(0x80 | 100, b"")]))),
    "not critical, unknown": (True, by_hand(GOOD, over_user_id(flags=SIGN, more=[subpacket(100, b"")]))),
    "flags twice": (False, by_hand(over_user_id(flags=SIGN, more=[subpacket(27, SIGN)]))),
    "newest signs no more": (False, by_hand(GOOD, over_user_id(flags=CERTIFY, days=50))),
    "newest signs again": (
        True,
        by_hand(GOOD, over_user_id(flags=CERTIFY, days=40), over_user_id(flags=SIGN, days=50)),
    ),
    "two of one second": (False, by_hand(GOOD, over_user_id(flags=CERTIFY))),
    "newest has expired": (False, by_hand(GOOD, over_user_id(flags=SIGN, days=50, more=[LAPSES["key"](60)]))),
    "user id taken back": (False, by_hand(GOOD, over_user_id(0x30, days=50))),
    "user id certified again": (True, by_hand(GOOD, over_user_id(0x30, days=50), over_user_id(flags=SIGN, days=51))),
    "another took theirs back": (True, by_hand(GOOD, over_user_id(0x30, days=50, device=SUBKEY.device))),
    "direct": (
        True,
        by_hand(direct=[signed_packet(PRIMARY.device, hashed(key_body(PRIMARY)), 0x1F, area(flags=SIGN))]),
    ),
    "direct, of a revoker": (
        True,
        by_hand(GOOD, direct=[signed_packet(PRIMARY.device, hashed(key_body(PRIMARY)), 0x1F, area(days=50))]),
    ),
    "revoked": (
        False,
        by_hand(GOOD, direct=[signed_packet(PRIMARY.device, hashed(key_body(PRIMARY)), 0x20, area(days=200))]),
    ),
    "revoked by somebody": (
        False,
        by_hand(GOOD, direct=[signed_packet(SUBKEY.device, hashed(key_body(PRIMARY)), 0x20, area(days=200))]),
    ),
    "revoked in version 3": (False, by_hand(GOOD, frame(2, b"\x03\x05\x20" + bytes(20)))),
    "version 3": (True, by_hand(GOOD, frame(2, b"\x03\x05\x10" + bytes(20)))),
    "version 6": (True, by_hand(GOOD, frame(2, b"\x06\x10" + bytes(20)))),
    "cut": (True, by_hand(GOOD, frame(2, b"\x04"))),
    "user attribute": (True, by_hand(GOOD, frame(17, b"\x02\x01x"), GOOD)),
    "a packet of no certificate": (False, by_hand(GOOD, frame(11, b"x"))),
}


@pytest.mark.parametrize(("expected", "certificate"), PRIMARIES.values(), ids=PRIMARIES)
def test_a_primary_key_signs_while_its_newest_self_signature_lets_it(expected, certificate):
    assert holds(certificate) is expected


def test_a_certificate_has_a_limit_and_says_how_to_make_it_shorter():
    assert holds(by_hand(GOOD * 300))
    assert "export-minimal" in unreadable(
        by_hand(GOOD * (MAX_CERTIFICATE // len(GOOD) + 1)), PRIMARY.certificate.fingerprint
    )


def test_a_point_of_small_order_is_no_key():
    """Under it one signature fits every document: R the neutral element, S zero."""
    neutral = b"\1" + bytes(31)
    body = key_body(PRIMARY)[:-32] + neutral
    said = area(flags=SIGN)
    start = bytes([4, 0x13, 22, 10]) + len(said).to_bytes(2, "big") + said
    data = hashed(body) + b"\xb4\0\0\0\1A" + start + b"\x04\xff" + len(start).to_bytes(4, "big")
    numbers = mpi(int.from_bytes(neutral)) + mpi(0)
    signature = start + b"\0\0" + hashlib.sha512(data).digest()[:2] + numbers
    certificate = armored(frame(6, body) + frame(13, b"A") + frame(2, signature))
    assert "sound point" in unreadable(
        certificate, hashlib.sha1(hashed(body), usedforsecurity=False).hexdigest().upper()
    )


def test_a_signature_older_than_its_key_does_not_count():
    assert holds(by_hand(GOOD), days=0)
    assert not holds(by_hand(GOOD), days=-1)


AGREED = area(flags=SIGN, more=[back_signature()])
MASTER = over_user_id(flags=CERTIFY)


def bound(*areas, master=MASTER, more=(), **options):
    bindings = [over_subkey(0x18, PRIMARY.device, each, **options) for each in areas]
    return by_hand(master, subkey_signatures=[*bindings, *more])


SUBKEYS = {
    "bound": (True, bound(AGREED)),
    "bound, back-signature unhashed": (True, bound(area(flags=SIGN), unhashed=back_signature())),
    "not bound": (False, bound()),
    "not agreed": (False, bound(area(flags=SIGN))),
    "agreed by the primary key": (False, bound(area(flags=SIGN, more=[back_signature(device=PRIMARY.device)]))),
    "agreed in another type": (False, bound(area(flags=SIGN, more=[back_signature(kind=0x18)]))),
    "agreed for a while": (False, bound(area(flags=SIGN, more=[back_signature(more=[LAPSES["it"](300)])]))),
    "agreement cut": (False, bound(area(flags=SIGN, more=[subpacket(32, b"\x04")]))),
    "for encryption": (False, bound(area(flags=b"\x0c", more=[back_signature()]))),
    "bound by itself": (False, by_hand(MASTER, subkey_signatures=[over_subkey(0x18, SUBKEY.device, AGREED)])),
    "bound with SHA-1": (False, bound(AGREED, hash_name="sha1", hash_id=2)),
    "newest does not agree": (False, bound(AGREED, area(flags=SIGN, days=50))),
    "expired": (False, bound(area(flags=SIGN, more=[back_signature(), LAPSES["key"](100)]))),
    "lapsed": (False, bound(area(flags=SIGN, more=[back_signature(), LAPSES["it"](99)]))),
    "revoked": (False, bound(AGREED, more=[over_subkey(0x28, PRIMARY.device, area(days=200))])),
    "revoked by anybody": (False, bound(AGREED, more=[over_subkey(0x28, SUBKEY.device, area())])),
    "primary key expired": (False, bound(AGREED, master=over_user_id(flags=CERTIFY, more=[LAPSES["key"](100)]))),
    "primary key not self-signed": (False, bound(AGREED, master=b"")),
}


@pytest.mark.parametrize(("expected", "certificate"), SUBKEYS.values(), ids=SUBKEYS)
def test_a_subkey_signs_when_both_keys_say_so(expected, certificate):
    assert holds(certificate, SUBKEY) is expected


def test_a_revocation_of_a_subkey_in_another_place_is_not_overlooked():
    misplaced = over_subkey(0x28, PRIMARY.device, area())
    assert not holds(by_hand(MASTER, misplaced, subkey_signatures=[over_subkey(0x18, PRIMARY.device, AGREED)]), SUBKEY)


FIELDS = {
    "plain": (True, {}),
    "issuer also unhashed": (True, {"unhashed": subpacket(16, bytes.fromhex(PRIMARY.certificate.key_id))}),
    "another issuer unhashed": (False, {"unhashed": subpacket(16, bytes(8))}),
    "notation unhashed": (False, {"unhashed": subpacket(20, bytes(8))}),
    "type 0x02": (False, {"kind": 2}),
    "type 0x10": (False, {"kind": 0x10}),
    "lapsed": (False, {"more": [LAPSES["it"](98)]}),
    "never lapses": (True, {"more": [LAPSES["it"](0)]}),
    "critical, unknown": (False, {"more": [subpacket(0x80 | 100, b"")]}),
    "not critical, unknown": (True, {"more": [subpacket(100, b"")]}),
    "critical flags": (False, {"more": [subpacket(0x80 | 27, SIGN)]}),
}


@pytest.mark.parametrize(("expected", "fields"), FIELDS.values(), ids=FIELDS)
def test_every_field_of_a_signature_is_looked_at(expected, fields):
    assert holds(by_hand(GOOD), **fields) is expected


MALFORMED = {
    "made twice": signature_by(PRIMARY, more=[subpacket(2, time(BORN))]),
    "time of three octets": signature_by(PRIMARY, more=[subpacket(3, b"\0\0\0")]),
    "version 3": frame(2, b"\x03\x05\x00" + bytes(20)),
    "version 6": frame(2, b"\x06\x00" + bytes(20)),
    "marker before it": frame(10, b"PGP") + signature_by(PRIMARY),
}


@pytest.mark.parametrize("signature", MALFORMED.values(), ids=MALFORMED)
def test_a_signature_that_can_be_read_in_two_ways_is_malformed(signature):
    approver = OpenPgpApprover.read(by_hand(GOOD), PRIMARY.certificate.fingerprint)
    refused(lambda: approver.verify(signature, DOCUMENT, LATER), "approval-malformed")


# --- both forms -----------------------------------------------------------------------------------------------------


def listed(form, text, fingerprint):
    return ApproverKey("anna", form, text, fingerprint, MADE, MADE + timedelta(days=3650), revoked=False)


@pytest.mark.required_in_ci
def test_the_form_in_the_policy_decides_which_signature_counts(keyring, tool, tmp_path):
    program = tool("ssh-keygen")
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True, timeout=60)
    command = [program, "-Y", "sign", "-n", NAMESPACE, "-f", tmp_path / "key"]
    by_ssh = subprocess.run(command, input=DOCUMENT, capture_output=True, check=True, timeout=60).stdout
    shown = subprocess.run(
        [program, "-lf", tmp_path / "key"], capture_output=True, check=True, timeout=60
    ).stdout.decode()
    ssh = listed("ssh", (tmp_path / "key.pub").read_text("utf-8"), shown.split()[1])
    own = keyring.key("anna")
    openpgp, by_gpg = listed("openpgp", keyring.export(own), own), keyring.sign(own)
    approvers = Approvers()

    for key, signature, others in ((ssh, by_ssh, by_gpg), (openpgp, by_gpg, by_ssh)):
        approvers.read(key)
        approvers.verify(key, signature, DOCUMENT, AT)
        refused(lambda key=key, signature=signature: approvers.verify(key, signature, b"", AT))
        refused(lambda key=key, others=others: approvers.verify(key, others, DOCUMENT, AT), "approval-malformed")
    for wrong in (
        listed("ssh", ssh.text, openpgp.fingerprint),
        listed("ssh", openpgp.text, ssh.fingerprint),
        listed("openpgp", ssh.text, openpgp.fingerprint),
        listed("openpgp", openpgp.text, ssh.fingerprint),
    ):
        refused(lambda wrong=wrong: approvers.read(wrong), "approver-key-invalid")
        refused(lambda wrong=wrong: approvers.verify(wrong, by_ssh, DOCUMENT, AT), "approver-key-invalid")
