"""People who approve: their keys, what they sign, and policies that know them."""

import hashlib
import secrets
from datetime import UTC, datetime, timedelta

from attestor.core.approvaldocuments import (
    ApprovalDocument,
    RevocationDocument,
    encode_approval,
    encode_manifest,
    encode_revocation,
)
from attestor.core.approvals import Given, rules_digest
from attestor.core.entries import moment_text
from attestor.core.policyfile import parse_policy
from tests.approvers import fingerprint, ssh_line, ssh_sign
from tests.service.makers import ORIGIN, make_policy

RULES = {
    "quota": '{ limit = 1, period = "year" }',
    "approvals": "{ hours = 48, downgrade = 2, re_sign = 2, dispute = 2, quota = 2 }",
}
REASON = "The mirror lost it; all three of us looked at the build log."
PEOPLE = ("dora", "emil", "fred")


class Person:
    """An Ed25519 key in OpenSSH's form; that ssh-keygen makes the very same is seen in tests/core/test_sshsig.py."""

    def __init__(self, name):
        self.name = name
        self.line = ssh_line(name)
        self.key = fingerprint(name)

    def sign(self, document):
        return ssh_sign(self.name, document)

    def given(self, document, manifest=None):
        return Given(self.key, document, self.sign(document), manifest)


person = Person


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
