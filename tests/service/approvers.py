"""People who approve: their keys, what they sign, and policies that know them."""

import base64
import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from functools import cache

from cryptography.hazmat.primitives.asymmetric import ed25519

from attestor.core.approvals import (
    NAMESPACE,
    ApprovalDocument,
    Given,
    RevocationDocument,
    encode_approval,
    encode_manifest,
    encode_revocation,
    rules_digest,
)
from attestor.core.entries import moment_text
from attestor.core.policyfile import parse_policy
from tests.service.makers import ORIGIN, make_policy

RULES = {
    "quota": '{ limit = 1, period = "year" }',
    "approvals": "{ hours = 48, downgrade = 2, re_sign = 2, dispute = 2, quota = 2 }",
}
REASON = "The mirror lost it; all three of us looked at the build log."
PEOPLE = ("dora", "emil", "fred")


def strings(*parts):
    return b"".join(len(each).to_bytes(4) + each for each in parts)


def _armor(raw):
    text = base64.b64encode(raw).decode()
    lines = [text[at : at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()


class Person:
    """An Ed25519 key in OpenSSH's form; that ssh-keygen makes the very same is seen in tests/core/test_sshsig.py."""

    def __init__(self, name):
        self.name = name
        self._private = ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"ssh {name}".encode()).digest())
        self._blob = strings(b"ssh-ed25519", self._private.public_key().public_bytes_raw())
        self.line = f"ssh-ed25519 {base64.b64encode(self._blob).decode()} {name}"
        self.key = "SHA256:" + base64.b64encode(hashlib.sha256(self._blob).digest()).decode().rstrip("=")

    def sign(self, document):
        digest = hashlib.sha512(document).digest()
        raw = self._private.sign(b"SSHSIG" + strings(NAMESPACE.encode(), b"", b"sha512", digest))
        signature = strings(b"ssh-ed25519", raw)
        head = b"SSHSIG" + (1).to_bytes(4)
        return _armor(head + strings(self._blob, NAMESPACE.encode(), b"", b"sha512", signature))

    def given(self, document, manifest=None):
        return Given(self.key, document, self.sign(document), manifest)


@cache
def person(name):
    return Person(name)


def approver_table(name, key, *, person_of=None, form="ssh", text=None, revoked=False):
    revocation = "revoked = 2026-01-01T00:00:00Z\n" if revoked else ""
    return f"""
[approvers.{name}]
person = "{person_of or name}"
[[approvers.{name}.keys]]
fingerprint = "{key}"
valid_from = 2025-01-01T00:00:00Z
valid_until = 2036-01-01T00:00:00Z
{revocation}{form} = '''{text}'''
"""


def approving_policy(*, rules=None, asks="greta", revoked_keys=(), tables=(), approvers=PEOPLE, **changes):
    """The policy of :func:`make_policy` with *rules* of the tier packages; *approvers* have a key each, and *asks* answers for `build-service`."""
    keys = [
        approver_table(name, person(name).key, text=person(name).line, revoked=name in revoked_keys)
        for name in approvers
    ]
    made = make_policy(rules=RULES if rules is None else rules, approvers="".join([*keys, *tables]), **changes)
    return parse_policy(made.raw.replace(b'person = "build-service"', f'person = "{asks}"'.encode()), "policy.toml")


def document(policy, action, tier="packages", *, now=None, reason=REASON, **changes):
    """What somebody signs; *changes* replace what an honest program would write."""
    rules = next(each for each in policy.tiers if each.name == tier)
    begin = (now or datetime.now(UTC)) - timedelta(minutes=1)  # noqa: TID251 - PostgreSQL's clock is the system's
    stated = {
        "origin": ORIGIN,
        "action": action,
        "tier": tier,
        "rules": rules_digest(rules, policy),
        "reason": hashlib.sha256(reason.encode()).hexdigest(),
        "not_before": moment_text(begin),
        "until": moment_text(begin + timedelta(hours=24)),
        "nonce": secrets.token_hex(16),
    }
    return encode_approval(ApprovalDocument(**(stated | changes)))


def single(policy, action, request, release, content, **changes):
    """A document for one request."""
    bound = {"request": request, "release": release.id, "digest": hashlib.sha256(content).hexdigest()}
    return document(policy, action, **(bound | changes))


def for_all(policy, action, pairs, **changes):
    """A document for a manifest of (release, content), and that manifest."""
    manifest = encode_manifest((release.id, hashlib.sha256(content).hexdigest()) for release, content in pairs)
    return document(policy, action, manifest=hashlib.sha256(manifest).hexdigest(), **changes), manifest


def revocation(approval, *, origin=ORIGIN):
    """What takes the approval with this digest (hex) back."""
    return encode_revocation(RevocationDocument(origin=origin, approval=approval, nonce=secrets.token_hex(16)))
