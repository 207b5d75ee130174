"""The log's own key and the signers' seals: made, and held against the policy when a role reads its own (design §8)."""

import secrets
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from attestor.config import Config, RoleView
from attestor.core.errors import Rejected
from attestor.core.policy import Policy
from attestor.core.seal import Seal, parse_seal
from attestor.core.secret import Secret
from attestor.core.tlog.note import NoteSigner, parse_skey


@dataclass(frozen=True, slots=True)
class NewSeal:
    """A signer's own key, just made."""

    secret: Secret
    """PKCS #8 PEM."""
    public_pem: str


def new_log_key(name: str) -> NoteSigner:
    """Make a log key of this name. Raises ``Rejected`` ``vkey-invalid`` for a name that no note takes."""
    return NoteSigner.create(name, secrets.token_bytes(32))


def new_seal() -> NewSeal:
    private = Ed25519PrivateKey.generate()
    secret = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return NewSeal(Secret(secret.decode()), public.decode())


def log_signer(config: Config, view: RoleView) -> NoteSigner:
    """The key of the sequencer's credential. Raises ``Rejected`` ``skey-invalid``, ``log-key-differs``."""
    signer = parse_skey(view.log_key.reveal())
    if signer.verifier != config.policy.log.key:
        raise Rejected(
            "log-key-differs",
            f"The credential {config.log.key} is the key {signer.verifier.text}, and the policy's log.key is "
            f"{config.policy.log.key.text}: give the sequencer the log's own key.",
        )
    return signer


def seal_of(config: Config, view: RoleView) -> Seal:
    """The key of the signer's credential. Raises ``Malformed`` ``not-a-seal``, ``Rejected`` ``seal-unlisted``."""
    seal = parse_seal(view.seal.reveal())
    refuse_unlisted(seal, config.policy)
    return seal


def refuse_unlisted(seal: Seal, policy: Policy) -> None:
    """Raise ``Rejected`` ``seal-unlisted`` unless the policy names the signer's key."""
    if seal.public.fingerprint not in policy.log.seals:
        raise Rejected(
            "seal-unlisted",
            f"The signer's seal is the key {seal.public.fingerprint}, which is not among the policy's log.signers: what it seals "
            "would count for nobody.",
        )
