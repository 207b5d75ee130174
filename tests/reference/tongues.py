"""The same in both tongues: real keys, names, envelopes, policies and tags of approvals for the plain ones of the reference."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from attestor.core import tierrules
from attestor.core.envelope import IN_TOTO, WITHDRAWAL, Signature, encode_envelope, pae
from attestor.core.errors import Rejected
from attestor.core.keys import ed25519_key
from attestor.core.naming import Kind, parse_release
from attestor.core.policy import ApproverKey, OperatorKey, Policy, PurlPattern, Scope, Tier
from attestor.core.quota import Period, Quota
from attestor.core.statement import (
    RebuildStatement,
    Subject,
    WithdrawalStatement,
    rebuild_payload,
    withdrawal_payload,
)
from attestor.core.tierrules import ApprovalRules
from attestor.core.versions import VersionOrder
from tests.logkeys import log_policy
from tests.reference import evaluator as plain

ORIGIN = "here"
START = datetime(2026, 11, 27, 20, tzinfo=UTC)
"""A Friday: the next day, week and month are near, and the year's end is a jump away."""
LOG = log_policy(ORIGIN)
ACTIONS = tuple(action.value for action in tierrules.Action)


# ------------------------------------------------------------------------------------------------ bytes, keys, names


def content(label):
    """The bytes that a label stands for: (SHA-256, SHA-512, size)."""
    raw = label.encode() * 3
    return hashlib.sha256(raw), hashlib.sha512(raw), len(raw)


@cache
def secret(name):
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"reference {name}".encode()).digest())


class _Remembering:
    """A public key that verifies each signature once: every look of a signer verifies all envelopes again."""

    def __init__(self, key):
        self._key = key
        self.verify = cache(self._verify)

    def _verify(self, signature, message):
        self._key.verify(signature, message)


Ed25519PublicKey.register(_Remembering)


@cache
def public(name):
    key = secret(name).public_key()
    return replace(ed25519_key(key.public_bytes_raw()), _native=_Remembering(key))


def plain_release(real):
    return plain.Release(real.id, real.kind.value, real.type, real.namespace, real.name, real.version, real.arch)


@cache
def alpm(name, version, arch, suffix="zst"):
    return parse_release(
        "package", f"pkg:alpm/arch/{name}@{version}?arch={arch}", f"{name}-{version}-{arch}.pkg.tar.{suffix}"
    )


@cache
def deb(name, version, arch):
    spelled = version.rpartition(":")[2]
    return parse_release("package", f"pkg:deb/debian/{name}@{version}?arch={arch}", f"{name}_{spelled}_{arch}.deb")


@cache
def image(version, arch="x86_64"):
    return parse_release(
        "iso", f"pkg:generic/arch/archlinux-iso@{version}?arch={arch}", f"archlinux-{version}-{arch}.iso"
    )


@cache
def database(sequence, name="core"):
    return parse_release("database", f"pkg:generic/arch/{name}.db@{sequence}?arch=x86_64", f"{name}.db.tar.gz")


@cache
def rebuild_envelope(release, label, key, number):
    subject = None
    if label is not None:
        sha256, sha512, size = content(label)
        subject = Subject(release.file_name, sha256.digest(), sha512.digest(), size)
    log = hashlib.sha256(b"log %d" % number).digest()
    inputs = (Subject("source.tar", hashlib.sha256(b"source").digest()),)
    outcome = "built" if subject else "failed"
    return _signed(IN_TOTO, rebuild_payload(RebuildStatement(release, outcome, subject, inputs, log_digest=log)), key)


@cache
def lying_envelope(release, label, key, number, what):
    """A statement of the right SHA-256 and of another size or SHA-512."""
    sha256, sha512, size = content(label)
    wrong = hashlib.sha512(b"other").digest()
    subject = Subject(
        release.file_name,
        sha256.digest(),
        wrong if what == "sha512" else sha512.digest(),
        size + 1 if what == "size" else size,
    )
    log = hashlib.sha256(b"log %d" % number).digest()
    return _signed(IN_TOTO, rebuild_payload(RebuildStatement(release, "built", subject, log_digest=log)), key)


@cache
def withdrawal_envelope(release, taken, key):
    return _signed(WITHDRAWAL, withdrawal_payload(WithdrawalStatement(ORIGIN, release.id, taken, "A mistake.")), key)


def _signed(kind, payload, key):
    signed = pae(kind, payload)
    envelope = encode_envelope(kind, payload, [Signature(public(key).fingerprint, secret(key).sign(signed))])
    return envelope, hashlib.sha256(signed).digest()


# ------------------------------------------------------------------------------------------------ policies


def real_tier(tier):
    namespace = {"deb": "debian"}.get(tier.type, "arch")
    rules = ApprovalRules(hours=tier.hours, **{each.replace("-", "_"): n for each, n in tier.approvals.items()})
    return Tier(
        name=tier.name,
        kind=Kind(tier.kind),
        pattern=PurlPattern(tier.type, namespace, tier.product, tier.arch),
        operators=tier.operators,
        threshold=tier.n,
        dissent_limit=tier.dissent_limit,
        required=tier.required,
        signing_key=tier.signing_key,
        requesters=tier.requesters,
        networks=(),
        version_order=VersionOrder(tier.order),
        quota=Quota(tier.quota[0], Period(tier.quota[1])) if tier.quota else None,
        approvals=rules if tier.approvals else None,
    )


@cache
def _operator_key(key):
    return OperatorKey(
        operator=key.owner,
        public_key=public(key.name),
        valid_from=key.first,
        valid_until=key.end,
        forms=frozenset({"rebuild"}),
        provenance=frozenset(),
        scopes=tuple(Scope(Kind(kind), *rest) for kind, *rest in key.scopes),
        revoked=key.revoked,
    )


def real_policy(policy):
    raw = repr((policy.serial, policy.tiers, policy.keys, sorted(policy.suspended), policy.approver_keys)).encode()
    return Policy(
        origin=ORIGIN,
        serial=policy.serial,
        digest=hashlib.sha256(raw).hexdigest(),
        keys={public(key.name): _operator_key(key) for key in policy.keys},
        suspended=policy.suspended,
        operators=frozenset(key.owner for key in policy.keys),
        tiers=tuple(map(real_tier, policy.tiers)),
        requesters={},
        log=LOG,
        raw=raw,
        approver_keys={
            key.name: ApproverKey(key.owner, "ssh", "", key.name, key.first, key.end, key.revoked)
            for key in policy.approver_keys
        },
        persons=policy.person_of_approver,
        persons_of_requesters=policy.person_of_requester,
    )


# ------------------------------------------------------------------------------------------------ approvals


def approval_tag(key, document):
    """What stands for a signature."""
    return hashlib.sha256(key.encode() + document).digest()


def verify_tag(key, signature, signed, at):
    if signature != approval_tag(key.fingerprint, signed):
        raise Rejected("approval-signature", "This is no signature of that key.")
