"""The key types that a release key may have."""

from enum import StrEnum


class Algorithm(StrEnum):
    """A release key's type, as policy and deployment files write it.

    Exactly what Signstar signs OpenPGP with on a NetHSM: no PSS, no Brainpool, no secp256k1, RSA of 2048 bits and up.
    """

    ED25519 = "ed25519"
    RSA = "rsa"
    P256 = "p256"
    P384 = "p384"
    P521 = "p521"
