"""The policy file: one that is right is read whole, and each way to get it wrong is refused with file, place and sentence."""

import base64
import hashlib
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import example, given
from hypothesis import strategies as st

from attestor.core.errors import Missing, Rejected
from attestor.core.keys import MAX_KEYS, parse_public_key
from attestor.core.naming import Kind, parse_release
from attestor.core.policy import Provenance
from attestor.core.policyfile import parse_policy
from attestor.core.policylog import MAX_WITNESSES
from attestor.core.policytables import MAX_POLICY_BYTES
from attestor.core.tlog.note import COSIGNATURE, ED25519, VerifierKey
from tests.logkeys import log_policy, log_signer, log_table, seal, seal_public, witness_signer


def spki(name):
    secret = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())
    return secret.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def pem(der, newline="\n"):
    body = base64.b64encode(der).decode()
    return f"-----BEGIN PUBLIC KEY-----{newline}{body}{newline}-----END PUBLIC KEY-----{newline}"


def key_table(operator, *, number=1, scopes='[{ kind = "package", type = "alpm", namespace = "arch" }]'):
    return f'''
[[operators.{operator}.keys]]
public_key = """
{pem(spki(f"{operator}{number}"))}"""
valid_from = 2025-01-01T00:00:00Z
valid_until = 2027-01-01T00:00:00Z
statements = ["rebuild", "link"]
scopes = {scopes}
'''


CLIENT = "ab" * 32
ORIGIN = "attestor.example.org"
WITNESSES = {"north": "https://north.example/w/", "south": "http://127.0.0.1:7380"}
POLICY = f"""
origin = "{ORIGIN}"
serial = 7

{log_table(ORIGIN, quorum=1, witnesses=WITNESSES, seals=("signer", "former"))}
{key_table("alice")}{key_table("bob")}{key_table("carol")}
[[operators.iso-host.keys]]
public_key = '''{pem(spki("iso-host1"))}'''
valid_from = 2025-01-01T00:00:00Z
valid_until = 2027-01-01T00:00:00Z
statements = ["provenance"]
provenance = [{{ build_type = "https://example.org/mkosi", builder_id = "https://example.org/host" }}]
scopes = [{{ kind = "iso", type = "generic", namespace = "arch", arch = "x86_64" }}]

[tiers.packages]
kind = "package"
purl = "pkg:alpm/arch/*"
operators = ["alice", "bob", "carol"]
threshold = 2
dissent_limit = 0
required = ["alice"]
signing_key = "packages"
requesters = ["build-service"]
networks = ["192.0.2.0/24", "2001:db8::1"]

[tiers.iso]
kind = "iso"
purl = "pkg:generic/arch/archlinux-iso?arch=x86_64"
operators = ["iso-host"]
threshold = 1
dissent_limit = 0
signing_key = "images"
requesters = ["build-service"]
networks = ["192.0.2.0/24"]

[requesters.build-service]
clients = ["{CLIENT}"]
"""


def test_a_right_policy_is_read_whole():
    policy = parse_policy(POLICY.encode(), "policy.toml")
    assert (policy.origin, policy.serial) == ("attestor.example.org", 7)
    assert (policy.raw, policy.digest) == (POLICY.encode(), hashlib.sha256(POLICY.encode()).hexdigest())
    assert policy.operators == {"alice", "bob", "carol", "iso-host"}
    assert policy.suspended == frozenset()
    assert policy.requester_known_by(CLIENT) == "build-service"
    assert policy.requester_known_by("cd" * 32) is None
    assert len(policy.key_ring) == 4
    held = policy.keys_by_fingerprint[hashlib.sha256(spki("alice1")).hexdigest()]
    assert (held.operator, held.forms, held.revoked) == ("alice", {"rebuild", "link"}, False)
    assert (held.valid_from, held.valid_until) == (datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    packages, iso = policy.tiers
    assert (packages.name, packages.kind, packages.threshold, packages.dissent_limit) == (
        "packages",
        Kind.PACKAGE,
        2,
        0,
    )
    assert (packages.required, packages.signing_key) == ({"alice"}, "packages")
    assert packages.networks == (ip_network("192.0.2.0/24"), ip_network("2001:db8::1"))
    assert (packages.single_builder, iso.single_builder) == (False, True)


def test_a_right_log_table_is_read_whole():
    log = parse_policy(POLICY.encode(), "policy.toml").log
    expected = {"north": "https://north.example/w", "south": "http://127.0.0.1:7380"}
    assert log == log_policy(ORIGIN, quorum=1, witnesses=expected, seals=("signer", "former"))
    assert (log.key.name, log.key.algorithm) == (f"{ORIGIN}/log", ED25519)
    assert [witness.key.algorithm for witness in log.witnesses] == [COSIGNATURE] * 2
    sealed = seal("former")
    log.seals.verify(sealed.public.fingerprint, sealed.sign("application/test", b"x"), "application/test", b"x")
    assert seal("mallory").public.fingerprint not in log.seals


@pytest.mark.parametrize(
    "url",
    [
        "https://w.example",
        "https://w.example:8443/a/b",
        "http://[::1]:1/",
        "http://localhost/w",
        "https://[2001:db8::1]",
    ],
)
def test_a_witness_may_be_at(url):
    text = swap('"https://north.example/w/"', f'"{url}"')
    assert parse_policy(text.encode(), "p").log.witnesses[0].url == url.rstrip("/")


def test_no_witness_is_allowed_when_none_is_waited_for():
    text = POLICY.replace(LOG, log_table(ORIGIN))
    log = parse_policy(text.encode(), "p").log
    assert (log.quorum, log.witnesses) == (0, ())


def test_a_release_finds_its_tier_or_none():
    policy = parse_policy(POLICY.encode(), "policy.toml")
    bash = parse_release("package", "pkg:alpm/arch/bash@5.3-1?arch=x86_64", "bash-5.3-1-x86_64.pkg.tar.zst")
    iso = parse_release("iso", "pkg:generic/arch/archlinux-iso@1?arch=x86_64", "archlinux-1-x86_64.iso")
    arm = parse_release("iso", "pkg:generic/arch/archlinux-iso@1?arch=aarch64", "archlinux-1-aarch64.iso")
    assert (policy.tier_of(bash).name, policy.tier_of(iso).name) == ("packages", "iso")
    with pytest.raises(Missing) as refused:
        policy.tier_of(arm)
    assert refused.value.code == "no-tier"


def test_what_a_key_may_say():
    keys = parse_policy(POLICY.encode(), "p").keys_by_fingerprint
    alice, host = (keys[hashlib.sha256(spki(name)).hexdigest()] for name in ("alice1", "iso-host1"))
    assert alice.may_say("rebuild")
    assert alice.may_say("link")
    allowed = "provenance https://example.org/mkosi https://example.org/host"
    assert not alice.may_say(allowed)
    assert host.may_say(allowed)
    for other in ("rebuild", "provenance", "provenance ", allowed + " x", "provenance https://example.org/mkosi other"):
        assert not host.may_say(other)
    assert host.provenance == {
        Provenance(build_type="https://example.org/mkosi", builder_id="https://example.org/host")
    }


def test_a_revoked_key_and_a_suspended_operator_are_read_as_such():
    text = POLICY.replace("valid_until = 2027", "revoked = 2025-06-01T00:00:00Z\nvalid_until = 2027", 1)
    text = text.replace("[[operators.bob.keys]]", "[operators.bob]\nsuspended = true\n[[operators.bob.keys]]")
    policy = parse_policy(text.encode(), "p")
    assert policy.suspended == {"bob"}
    [held] = [held for held in policy.keys.values() if held.revoked]
    assert (held.operator, held.compromised_since) == ("alice", None)
    assert held.is_suspect_at(datetime(2025, 1, 1, tzinfo=UTC)), "all that it ever signed"


def test_since_when_a_revoked_key_was_in_other_hands_is_read():
    stated = "revoked = 2025-06-01T00:00:00Z\ncompromised_since = 2025-05-01T00:00:00Z\nvalid_until = 2027"
    policy = parse_policy(POLICY.replace("valid_until = 2027", stated, 1).encode(), "p")
    [held] = [held for held in policy.keys.values() if held.revoked]
    since = datetime(2025, 5, 1, tzinfo=UTC)
    assert [held.is_suspect_at(since + timedelta(seconds=moment)) for moment in (-1, 0, 1)] == [False, True, True]
    assert held.refusal_at(since - timedelta(days=1)) == "key-revoked", "it counts for nothing, before it neither"
    others = [held for held in policy.keys.values() if not held.revoked]
    assert others
    assert not any(held.is_suspect_at(since) for held in others)


def swap(old, new):
    """Replace the first occurrence, which must be there."""
    assert old in POLICY, old
    return POLICY.replace(old, new, 1)


def drop(line):
    return swap(line + "\n", "")


def more(text):
    return POLICY + text


def other_tier(name="other", kind="package", purl="pkg:alpm/arch/bash", key="other", operators='["alice"]'):
    return f"""
[tiers.{name}]
kind = "{kind}"
purl = "{purl}"
operators = {operators}
threshold = 1
dissent_limit = 0
signing_key = "{key}"
requesters = ["build-service"]
networks = ["192.0.2.0/24"]
"""


LOG = POLICY[POLICY.index("[log]") : POLICY.index("\n[[operators.alice.keys]]")]
LOG_VKEY = log_signer(ORIGIN).verifier.text
NORTH, SOUTH = (witness_signer(name).verifier for name in WITNESSES)


def vkey_of(raw, name=f"{ORIGIN}/log", algorithm=ED25519):
    """The vkey of a key that somebody has for another purpose."""
    return VerifierKey(name, algorithm, raw).text


def log_named(name):
    return swap(LOG_VKEY, VerifierKey(name, ED25519, log_signer(ORIGIN).verifier.public).text)


def seal_key(pem_text):
    """The policy with the first signer's key replaced."""
    return swap(seal_public("signer"), pem_text)


def north_url(url):
    return swap('"https://north.example/w/"', f'"{url}"')


def crowd(count):
    return POLICY.replace(
        LOG, log_table(ORIGIN, witnesses={f"w{number}": "https://w.example" for number in range(count)})
    )


P256 = (
    ec.generate_private_key(ec.SECP256R1())
    .public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
LOG_PEM = pem(bytes.fromhex("302a300506032b6570032100") + log_signer(ORIGIN).verifier.public)
SIGNER_RAW = parse_public_key(seal_public("signer")).spki[-32:]

ALICE_SCOPE = 'scopes = [{ kind = "package", type = "alpm", namespace = "arch" }]'
WEAK = pem(bytes.fromhex("302a300506032b6570032100") + bytes(32))
ODD_SPKI = bytes.fromhex("302c300706032b65700500032100") + spki("alice1")[-32:]
ODD_PEM = pem(ODD_SPKI, "\\r\\n")

# (sentence, text, place, part of what is said)
WRONG = [
    ("an unknown key at the top", swap("serial = 7", "serial = 7\nquota = 1"), "the file", "unknown field `quota`"),
    ("an unknown key of a tier", swap("threshold = 2", "threshold = 2\nlimit = 3"), "tiers.packages", "`limit`"),
    ("an unknown key of an operator's key", swap("valid_until =", "until = 1\nvalid_until ="), "operators.alice.keys[0]", "`until`"),
    ("an unknown key of a scope", swap('namespace = "arch" }', 'namespace = "arch", name = "x" }'), "operators.alice.keys[0].scopes[0]", "`name`"),
    ("an unknown key of a requester", more("networks = []\n"), "requesters.build-service", "`networks`"),
    ("no origin", drop('origin = "attestor.example.org"'), "the file", "missing required field `origin`"),
    ("an odd origin", swap("attestor.example.org", "Attestor Example"), "origin", "must name this instance"),
    ("a serial of zero", swap("serial = 7", "serial = 0"), "serial", "must be 1"),
    ("a negative serial", swap("serial = 7", "serial = -7"), "serial", "must be 1"),
    ("a serial that no database holds", swap("serial = 7", f"serial = {2**64}"), "serial", "must be 1"),
    ("a serial of 5000 digits", swap("serial = 7", f"serial = {'7' * 5000}"), "the file", "is not TOML"),
    ("a serial in quotes", swap("serial = 7", 'serial = "7"'), "serial", "Expected `int`"),
    ("an unknown operator in a tier", swap('"alice", "bob"', '"alice", "mallory"'), "tiers.packages.operators", "'mallory' is not defined"),
    ("an unknown requester in a tier", swap('["build-service"]', '["nobody"]'), "tiers.packages.requesters", "'nobody' is not defined"),
    ("an unknown required operator", swap('required = ["alice"]', 'required = ["iso-host"]'), "tiers.packages.required", "not among the tier's"),
    ("more required operators than n", swap('required = ["alice"]', 'required = ["alice", "bob", "carol"]'), "tiers.packages.required", "more operators than the threshold"),
    ("an operator twice in a tier", swap('"alice", "bob", "carol"', '"alice", "bob", "alice"'), "tiers.packages.operators", "twice"),
    ("n of half", swap('["alice", "bob", "carol"]', '["alice", "bob"]').replace("threshold = 2", "threshold = 1", 1), "tiers.packages.threshold", "more than half of the 2"),
    ("n below half", swap("threshold = 2", "threshold = 1"), "tiers.packages.threshold", "more than half of the 3"),
    ("n above m", swap("threshold = 2", "threshold = 4"), "tiers.packages.threshold", "at most 3"),
    ("n of zero", swap("threshold = 2", "threshold = 0"), "tiers.packages.threshold", "more than half"),
    ("a negative n", swap("threshold = 2", "threshold = -2"), "tiers.packages.threshold", "more than half"),
    ("n as true", swap("threshold = 2", "threshold = true"), "tiers.packages.threshold", "Expected `int`"),
    ("n as a float", swap("threshold = 2", "threshold = 2.0"), "tiers.packages.threshold", "Expected `int`"),
    ("n in quotes", swap("threshold = 2", 'threshold = "2"'), "tiers.packages.threshold", "Expected `int`"),
    ("no n", drop("threshold = 2"), "tiers.packages", "missing required field `threshold`"),
    ("no dissent limit", drop("dissent_limit = 0"), "tiers.packages", "missing required field `dissent_limit`"),
    ("a negative dissent limit", swap("dissent_limit = 0", "dissent_limit = -1"), "tiers.packages.dissent_limit", "must be 0 to 1"),
    ("a dissent limit that disputes nothing", swap("dissent_limit = 0", "dissent_limit = 2"), "tiers.packages.dissent_limit", "must be 0 to 1"),
    ("no operators in a tier", swap('operators = ["alice", "bob", "carol"]', "operators = []"), "tiers.packages.operators", "must not be empty"),
    ("no requesters in a tier", swap('requesters = ["build-service"]', "requesters = []"), "tiers.packages.requesters", "must not be empty"),
    ("no networks in a tier", swap('["192.0.2.0/24", "2001:db8::1"]', "[]"), "tiers.packages.networks", "must not be empty"),
    ("no clients of a requester", swap(f'["{CLIENT}"]', "[]"), "requesters.build-service.clients", "must not be empty"),
    ("no statements of a key", swap('["rebuild", "link"]', "[]"), "operators.alice.keys[0].statements", "empty list allows nothing"),
    ("no scopes of a key", swap(ALICE_SCOPE, "scopes = []"), "operators.alice.keys[0].scopes", "empty list allows nothing"),
    ("no keys of an operator", more("[operators.dave]\nkeys = []\n"), "operators.dave.keys", "at least one key"),
    ("no operators at all", "origin = 'a'\nserial = 1\nlog = {key = 'a', signers = [], quorum = 0}\noperators = {}\ntiers = {}\nrequesters = {}", "operators", "must not be empty"),
    ("no tiers at all", POLICY[: POLICY.index("[tiers.packages]")] + f"[requesters.r]\nclients = ['{CLIENT}']\n[tiers]\n", "tiers", "must not be empty"),
    ("tiers that overlap by a wildcard", more(other_tier()), "tiers.other.purl", "overlaps tier packages"),
    ("tiers that overlap in both wildcards", more(other_tier(purl="pkg:alpm/*/bash")), "tiers.other.purl", "overlaps tier packages"),
    ("tiers that overlap by the architecture left out", more(other_tier(purl="pkg:alpm/arch/*?arch=any")), "tiers.other.purl", "overlaps tier packages"),
    ("a wildcard in a part of a component", swap("pkg:alpm/arch/*", "pkg:alpm/arch/linux-*"), "tiers.packages.purl", "whole component only"),
    ("a pattern with a version", swap("pkg:alpm/arch/*", "pkg:alpm/arch/bash@1-1#x"), "tiers.packages.purl", "write pkg:TYPE"),
    ("a pattern of an unknown type", swap("pkg:alpm/arch/*", "pkg:npm/arch/*"), "tiers.packages.purl", "write pkg:TYPE"),
    ("a pattern of another kind's type", swap("pkg:alpm/arch/*", "pkg:generic/arch/*"), "tiers.packages.purl", "purl of type alpm or deb"),
    ("an unknown kind", swap('kind = "package"\npurl', 'kind = "bundle"\npurl'), "tiers.packages.kind", "bundle"),
    ("one signing key for two kinds", swap('signing_key = "images"', 'signing_key = "packages"'), "tiers.iso.signing_key", "no key serves two"),
    ("an odd name of a signing key", swap('signing_key = "packages"', 'signing_key = "../k"'), "tiers.packages.signing_key", "must name a signing key"),
    ("one key under two operators", swap(pem(spki("bob1")), pem(spki("alice1"))), "operators.bob.keys[0]", "already stands under operator alice"),
    ("one key under two operators in another form", swap(pem(spki("bob1")), ODD_PEM), "operators.bob.keys[0]", "already stands under operator alice"),
    ("one key twice under one operator", more(key_table("alice").replace("valid_from = 2025", "valid_from = 2026")), "operators.alice.keys[1]", "already stands under operator alice"),
    ("a weak key", swap(pem(spki("alice1")), WEAK), "operators.alice.keys[0].public_key", "no sound point"),
    ("a private key", swap(pem(spki("alice1")), pem(spki("alice1")).replace("BEGIN PUBLIC", "BEGIN PRIVATE")), "operators.alice.keys[0].public_key", "keep it secret"),
    ("no key", swap(pem(spki("alice1")), "none"), "operators.alice.keys[0].public_key", "not exactly one PEM"),
    ("a time without zone", swap("2025-01-01T00:00:00Z", "2025-01-01T00:00:00"), "operators.alice.keys[0].valid_from", "needs a time zone"),
    ("an end without zone", swap("2027-01-01T00:00:00Z", "2027-01-01T00:00:00"), "operators.alice.keys[0].valid_until", "needs a time zone"),
    ("a compromise of a key that is not revoked", swap("valid_until =", "compromised_since = 2026-01-01T00:00:00Z\nvalid_until ="), "operators.alice.keys[0].compromised_since", "beside revoked"),
    ("a compromise after the revocation", swap("valid_until =", "revoked = 2026-01-01T00:00:00Z\ncompromised_since = 2026-01-01T00:00:01Z\nvalid_until ="), "operators.alice.keys[0].compromised_since", "not be later"),
    ("a compromise without zone", swap("valid_until =", "revoked = 2026-01-01T00:00:00Z\ncompromised_since = 2026-01-01T00:00:00\nvalid_until ="), "operators.alice.keys[0].compromised_since", "needs a time zone"),
    ("a revocation without zone", swap("valid_until =", "revoked = 2026-01-01T00:00:00\nvalid_until ="), "operators.alice.keys[0].revoked", "needs a time zone"),
    ("a date for a time", swap("2025-01-01T00:00:00Z", "2025-01-01"), "operators.alice.keys[0].valid_from", "datetime"),
    ("a key that ends before it begins", swap("2027-01-01", "2024-01-01"), "operators.alice.keys[0].valid_until", "later than valid_from"),
    ("a key that ends as it begins", swap("2027-01-01", "2025-01-01"), "operators.alice.keys[0].valid_until", "later than valid_from"),
    ("no end of a key", drop("valid_until = 2027-01-01T00:00:00Z"), "operators.alice.keys[0]", "`valid_until`"),
    ("an unknown statement", swap('"link"]', '"rumour"]'), "operators.alice.keys[0].statements", "'rumour' is unknown"),
    ("provenance without its list", swap('"link"]', '"provenance"]'), "operators.alice.keys[0].provenance", "exactly when statements"),
    ("a provenance list without the statement", swap('["provenance"]', '["link"]'), "operators.iso-host.keys[0].provenance", "exactly when statements"),
    ("a build type with a space", swap("example.org/mkosi", "example.org/mk osi"), "operators.iso-host.keys[0].provenance", "without spaces"),
    ("a scope of an unknown type", swap('type = "alpm"', 'type = "npm"'), "operators.alice.keys[0].scopes[0]", "no release of kind package"),
    ("a scope of another kind's type", swap('type = "alpm"', 'type = "generic"'), "operators.alice.keys[0].scopes[0]", "no release of kind package"),
    ("a wildcard in a scope", swap('namespace = "arch" }', 'namespace = "*" }'), "operators.alice.keys[0].scopes[0]", "takes no '*'"),
    ("an empty architecture in a scope", swap('namespace = "arch" }', 'namespace = "arch", arch = "" }'), "operators.alice.keys[0].scopes[0]", "no release of kind package"),
    ("a scope that meets no tier of its operator", swap('namespace = "arch" }', 'namespace = "artix" }'), "tiers.packages.operators", "'alice' has no key whose scopes meet"),
    ("a scope of another architecture than the tier's", swap('arch = "x86_64" }', 'arch = "i686" }'), "tiers.iso.operators", "'iso-host' has no key"),
    ("a client shared by two requesters", more(f'[requesters.other]\nclients = ["{CLIENT}"]\n'), "requesters.other.clients", "already stands under requester build-service"),
    ("a client twice", swap(f'["{CLIENT}"]', f'["{CLIENT}", "{CLIENT}"]'), "requesters.build-service.clients", "already stands"),
    ("neither clients nor users", swap(f'clients = ["{CLIENT}"]', "users = []"), "requesters.build-service.clients", "must not be empty"),
    ("a user of two requesters", swap(f'clients = ["{CLIENT}"]', f'clients = ["{CLIENT}"]\nusers = ["relay"]\n[requesters.other]\nusers = ["relay"]'), "requesters.other.users", "already stands under requester build-service"),
    ("a user twice", swap(f'clients = ["{CLIENT}"]', 'users = ["relay", "relay"]'), "requesters.build-service.users", "already stands"),
    ("a user's number", swap(f'clients = ["{CLIENT}"]', 'users = ["1000"]'), "requesters.build-service.users", "name of a system user"),
    ("a client in upper case", swap(CLIENT, CLIENT.upper()), "requesters.build-service.clients", "lower-case hex"),
    ("a client cut short", swap(CLIENT, CLIENT[:-1]), "requesters.build-service.clients", "lower-case hex"),
    ("a network with host bits", swap("192.0.2.0/24", "192.0.2.1/24"), "tiers.packages.networks", "host bits set"),
    ("a host name for a network", swap("192.0.2.0/24", "localhost"), "tiers.packages.networks", "write an address or network"),
    ("an operator's name with a space", POLICY.replace("operators.bob", 'operators."b ob"').replace('"bob"', '"b ob"'), "operators.'b ob'", "names are lower-case"),
    ("an operator's name that rings the bell", POLICY.replace("operators.bob", 'operators."b\\u0007"').replace('"bob"', '"b\\u0007"'), "operators.'b\\x07'", "names are lower-case"),
    ("a tier's name in upper case", swap("[tiers.packages]", "[tiers.Packages]"), "tiers.'Packages'", "names are lower-case"),
    ("a requester's name that is a path", POLICY.replace("requesters.build-service", 'requesters."../x"').replace('"build-service"', '"../x"'), "requesters.'../x'", "names are lower-case"),
    ("a key of the file twice", swap("serial = 7", "serial = 7\nserial = 8"), "the file", "is not TOML"),
    ("a tier twice", more("[tiers.iso]\n"), "the file", "is not TOML"),
    ("no TOML", "{}", "the file", "is not TOML"),
    ("arrays without end", "a = " + "[" * 100_000, "the file", "nested too deeply"),
    ("a tier that is no table", POLICY[: POLICY.index("[tiers.packages]")] + f"[tiers]\nx = 1\n[requesters.r]\nclients = ['{CLIENT}']\n", "tiers.x", "Expected `object`"),
    ("no log", POLICY.replace(LOG, ""), "the file", "missing required field `log`"),
    ("an unknown key of the log", swap("quorum = 1", "quorum = 1\nmirror = 1"), "log", "`mirror`"),
    ("a log that is no table", "log = 1\n" + POLICY.replace(LOG, ""), "log", "Expected `object`"),
    ("no log key", drop(f'key = "{LOG_VKEY}"'), "log", "missing required field `key`"),
    ("a log key cut short", swap(LOG_VKEY, LOG_VKEY[:-4]), "log.key", "no vkey"),
    ("a log key with another's key ID", swap(LOG_VKEY, LOG_VKEY.replace(f"+{log_signer(ORIGIN).verifier.key_id.hex()}+", "+00000000+")), "log.key", "no vkey"),
    ("a secret log key", swap(LOG_VKEY, log_signer(ORIGIN).skey), "log.key", "no vkey"),
    ("a PEM as log key", swap(LOG_VKEY, "-----BEGIN PUBLIC KEY-----"), "log.key", "no vkey"),
    ("a cosigner's key as log key", swap(LOG_VKEY, vkey_of(log_signer(ORIGIN).verifier.public, algorithm=COSIGNATURE)), "log.key", "is a key of type 4; one that signs checkpoints is of type 1"),
    ("a log of another instance", log_named("other.example.org/log"), "log.key", f"must be named {ORIGIN}/NAME"),
    ("a log named as the instance alone", log_named(ORIGIN), "log.key", f"must be named {ORIGIN}/NAME"),
    ("a log without a name of its own", log_named(f"{ORIGIN}/"), "log.key", f"must be named {ORIGIN}/NAME"),
    ("a log named below a log", log_named(f"{ORIGIN}/log/2"), "log.key", f"must be named {ORIGIN}/NAME"),
    ("a log whose name begins as the instance's", log_named(f"{ORIGIN}.evil/log"), "log.key", f"must be named {ORIGIN}/NAME"),
    ("no signers of the log", swap(LOG[LOG.index("signers") : LOG.index("quorum")], ""), "log", "missing required field `signers`"),
    ("an empty list of signers", POLICY.replace(LOG, log_table(ORIGIN, seals=())), "log.signers", "at least one key"),
    ("a signer's key that is none", seal_key("none"), "log.signers[0]", "not exactly one PEM"),
    ("a signer's weak key", seal_key(WEAK), "log.signers[0]", "no sound point"),
    ("a signer's P-256 key", seal_key(P256), "log.signers[0]", "is an ecdsa-p256 key; a signer seals with Ed25519"),
    ("a signer twice", seal_key(seal_public("former")), "log.signers[1]", "already stands under a signer"),
    ("a signer that is an operator", seal_key(pem(spki("alice1"))), "log.signers[0]", "already stands under operator alice"),
    ("a signer that is an operator, in another form", seal_key(pem(ODD_SPKI)), "log.signers[0]", "already stands under operator alice"),
    ("a signer that is the log", seal_key(LOG_PEM), "log.signers[0]", "already stands under the log"),
    ("a log that is an operator", swap(LOG_VKEY, vkey_of(spki("bob1")[-32:])), "log.key", "already stands under operator bob"),
    ("no quorum", drop("quorum = 1"), "log", "missing required field `quorum`"),
    ("a negative quorum", swap("quorum = 1", "quorum = -1"), "log.quorum", "must be 0 to 2"),
    ("a quorum of more witnesses than there are", swap("quorum = 1", "quorum = 3"), "log.quorum", "must be 0 to 2"),
    ("a quorum as true", swap("quorum = 1", "quorum = true"), "log.quorum", "Expected `int`"),
    ("a quorum of nobody", POLICY.replace(LOG, log_table(ORIGIN, quorum=1)), "log.quorum", "must be 0 to 0"),
    ("more witnesses than a note holds", crowd(MAX_WITNESSES + 1), "log.witnesses", f"more than {MAX_WITNESSES}"),
    ("an unknown key of a witness", swap("[log.witnesses.north]", "[log.witnesses.north]\nweight = 2"), "log.witnesses.north", "`weight`"),
    ("a witness without key", drop(f'key = "{NORTH.text}"'), "log.witnesses.north", "missing required field `key`"),
    ("a witness without address", drop(f'url = "{WITNESSES["north"]}"'), "log.witnesses.north", "missing required field `url`"),
    ("a witness whose name is a path", swap("[log.witnesses.north]", '[log.witnesses."../x"]'), "log.witnesses.'../x'", "names are lower-case"),
    ("a witness's key that is none", swap(NORTH.text, "none"), "log.witnesses.north.key", "no vkey"),
    ("a witness's key of another type", swap(NORTH.text, vkey_of(NORTH.public, NORTH.name)), "log.witnesses.north.key", "is a key of type 1; one that cosigns them is of type 4"),
    ("one key of two witnesses", swap(SOUTH.text, NORTH.text), "log.witnesses.south.key", "already stands under witness north"),
    ("one key of two witnesses, under another name", swap(SOUTH.text, vkey_of(NORTH.public, SOUTH.name, COSIGNATURE)), "log.witnesses.south.key", "already stands under witness north"),
    ("a witness that is the log", swap(NORTH.text, vkey_of(log_signer(ORIGIN).verifier.public, NORTH.name, COSIGNATURE)), "log.witnesses.north.key", "already stands under the log"),
    ("a witness that is a signer", swap(NORTH.text, vkey_of(SIGNER_RAW, NORTH.name, COSIGNATURE)), "log.witnesses.north.key", "already stands under a signer"),
    ("a witness that is an operator", swap(NORTH.text, vkey_of(spki("bob1")[-32:], NORTH.name, COSIGNATURE)), "log.witnesses.north.key", "already stands under operator bob"),
    ("a witness in plain HTTP", north_url("http://north.example"), "log.witnesses.north.url", "must be https://HOST"),
    ("a witness at a file", north_url("file:///etc"), "log.witnesses.north.url", "must be https://HOST"),
    ("a witness nowhere", north_url("https://"), "log.witnesses.north.url", "must be https://HOST"),
    ("a witness with a password", north_url("https://a:b@north.example"), "log.witnesses.north.url", "without user"),
    ("a witness with a query", north_url("https://north.example/?a"), "log.witnesses.north.url", "without user, query"),
    ("a witness with an empty query", north_url("https://north.example/?"), "log.witnesses.north.url", "without user, query"),
    ("a witness with a fragment", north_url("https://north.example/#a"), "log.witnesses.north.url", "without user, query"),
    ("a witness at an odd port", north_url("https://north.example:port"), "log.witnesses.north.url", "must be https://HOST"),
    ("a witness at a port too high", north_url("https://north.example:65536"), "log.witnesses.north.url", "must be https://HOST"),
    ("a witness with a space", north_url("https://north.example/a b"), "log.witnesses.north.url", "must be https://HOST"),
    ("a witness with a line feed", north_url("https://north.example/\\n"), "log.witnesses.north.url", "must be https://HOST"),
    ("a witness as a name for loopback", north_url("http://127.0.0.1.evil.example/"), "log.witnesses.north.url", "must be https://HOST"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "place", "said"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_refuses(text, place, said):
    with pytest.raises(Rejected) as refused:
        parse_policy(text.encode(), "here/policy.toml")
    assert refused.value.code == "policy-invalid"
    assert refused.value.sentence.startswith(f"here/policy.toml: {place}: ")
    assert said in refused.value.sentence
    assert refused.value.sentence.isprintable()


def test_refuses_a_file_that_is_too_large():
    with pytest.raises(Rejected, match=f"p: the file: is over {MAX_POLICY_BYTES} bytes"):
        parse_policy(POLICY.encode() + b"#" * MAX_POLICY_BYTES, "p")


def test_refuses_a_file_that_is_not_utf8():
    with pytest.raises(Rejected, match="p: the file: is not UTF-8"):
        parse_policy(POLICY.encode() + b"# \xff", "p")


def test_refuses_one_key_more_than_a_key_ring_holds():
    room = MAX_KEYS - 4
    full = POLICY + "".join(key_table("alice", number=number) for number in range(2, room + 2))
    assert len(parse_policy(full.encode(), "p").key_ring) == MAX_KEYS
    with pytest.raises(Rejected, match="one key too many"):
        parse_policy((full + key_table("alice", number=room + 2)).encode(), "p")


def test_n_of_n_is_allowed_and_so_are_tiers_side_by_side():
    parse_policy(swap("threshold = 2", "threshold = 3").encode(), "p")
    beside = other_tier(purl="pkg:alpm/artix/*", operators='["dave"]') + key_table(
        "dave", scopes='[{ kind = "package", type = "alpm", namespace = "artix" }]'
    )
    assert len(parse_policy(more(beside).encode(), "p").tiers) == 3


RAW = POLICY.encode()


@given(st.integers(0, len(RAW) - 1), st.binary(max_size=3), st.integers(0, 30))
@example(0, b"\xff", 0)
@example(0, b"\x00", 0)
def test_law_changed_bytes_are_read_or_refused_and_nothing_else(at, put, cut):
    try:
        policy = parse_policy(RAW[:at] + put + RAW[at + cut :], "p")
    except Rejected as error:
        refusal = error
    else:
        assert all(len(tier.operators) < 2 * tier.threshold for tier in policy.tiers)
        assert all(tier.operators <= policy.operators for tier in policy.tiers)
        return
    assert refusal.code == "policy-invalid"
    assert refusal.sentence.startswith("p: ")


@given(st.binary(max_size=200))
def test_law_any_bytes_are_refused(raw):
    with pytest.raises(Rejected) as refused:
        parse_policy(raw, "p")
    assert refused.value.code == "policy-invalid"


def test_a_requester_may_be_a_user_of_the_host_alone_and_a_tier_be_asked_over_its_socket_alone():
    text = POLICY.replace(f'clients = ["{CLIENT}"]', 'users = ["signstar-relay"]')
    before = parse_policy(POLICY.encode(), "policy.toml")
    after = parse_policy(re.sub("networks = .*", 'networks = ["unix"]', text).encode(), "policy.toml")
    assert after.requester_of_user("signstar-relay") == "build-service"
    assert after.requester_of_user("root") is None
    assert after.requester_known_by(CLIENT) is None
    assert [(tier.unix, tier.networks, tier.places) for tier in after.tiers] == [(True, (), ("unix",))] * len(
        after.tiers
    )
    assert {tier.unix for tier in before.tiers} == {False}
