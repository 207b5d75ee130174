"""Approvers with SSH keys in software, and what they sign: each has the key that bears its name, fixed and worth nothing."""

import base64
import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from attestor.core.approvaldocuments import NAMESPACE, ApprovalDocument, encode_approval, encode_manifest
from attestor.core.approvals import Given, rules_digest

REQUEST = "11111111-2222-4333-8444-555555555555"


def strings(*parts):
    return b"".join(len(each).to_bytes(4) + each for each in parts)


@cache
def _secret(name):
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(f"approver {name}".encode()).digest())


def _blob(name):
    return strings(b"ssh-ed25519", _secret(name).public_key().public_bytes_raw())


def fingerprint(name):
    return "SHA256:" + base64.b64encode(hashlib.sha256(_blob(name)).digest()).decode().rstrip("=")


def ssh_line(name):
    return f"ssh-ed25519 {base64.b64encode(_blob(name)).decode()} {name}"


def ssh_sign(name, document, namespace=NAMESPACE):
    """As `ssh-keygen -Y sign -n NAMESPACE` (PROTOCOL.sshsig)."""
    signed = strings(namespace.encode(), b"", b"sha512", hashlib.sha512(document).digest())
    inner = strings(b"ssh-ed25519", _secret(name).sign(b"SSHSIG" + signed))
    whole = b"SSHSIG\0\0\0\1" + strings(_blob(name), namespace.encode(), b"", b"sha512", inner)
    text = base64.b64encode(whole).decode()
    lines = "\n".join(text[at : at + 70] for at in range(0, len(text), 70))
    return f"-----BEGIN SSH SIGNATURE-----\n{lines}\n-----END SSH SIGNATURE-----\n".encode()


def key_table(approver, key=None, *, form="ssh", text=None, mark=None, until="2036-01-01T00:00:00Z"):
    """One `[[approvers.NAME.keys]]`: the key in software with the name *key*, or the *text* and fingerprint of another."""
    return (
        f'[[approvers.{approver}.keys]]\nfingerprint = "{mark or fingerprint(key or approver)}"\n'
        f"{form} = '''{text or ssh_line(key or approver)}'''\nvalid_from = 2025-01-01T00:00:00Z\nvalid_until = {until}\n"
    )


def approver_table(approver, *keys):
    """Each is a person of the same name."""
    return f'[approvers.{approver}]\nperson = "{approver}"\n' + "".join(keys or [key_table(approver)])


def approval(action, on, sha256, policy, /, *, manifest=None, **changes):
    """What an approver signs of one request's bytes, or of a manifest's pairs."""
    tier = policy.tier_of(on)
    what = {
        "request": REQUEST,
        "release": on.id,
        "digest": sha256,
    }
    if manifest is not None:
        what = {"manifest": hashlib.sha256(manifest).hexdigest()}
    said = {
        "origin": policy.origin,
        "action": action,
        "tier": tier.name,
        "rules": rules_digest(tier, policy),
        "reason": hashlib.sha256(b"We looked at it.").hexdigest(),
        "not_before": "2026-03-01T00:00:00Z",
        "until": "2026-03-02T00:00:00Z",
        "nonce": "0" * 32,
    }
    return ApprovalDocument(**(said | what | changes))


def given(approver, document, *, manifest=None, signed_by=None, namespace=NAMESPACE):
    """The approval as it is handed in; *signed_by* another key than the one that it names."""
    raw = encode_approval(document)
    return Given(fingerprint(approver), raw, ssh_sign(signed_by or approver, raw, namespace), manifest)


def manifest_of(*pairs):
    return encode_manifest(pairs)
