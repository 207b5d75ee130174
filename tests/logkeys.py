"""The keys of every test's log, signer and witnesses, and the policy's table of them: fixed, and worth nothing."""

import hashlib
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from attestor.core.keys import parse_public_key
from attestor.core.policy import LogPolicy, WitnessPolicy
from attestor.core.seal import parse_seal
from attestor.core.tlog.note import COSIGNATURE, NoteSigner


def _seed(name):
    return hashlib.sha256(f"attestor tests: {name}".encode()).digest()


@cache
def log_signer(origin, name="log"):
    """The log's own key, named *origin*/*name*."""
    return NoteSigner.create(f"{origin}/{name}", _seed("log"))


@cache
def witness_signer(name):
    """The key of the witness *name*, which cosigns as witness.example/*name*."""
    return NoteSigner.create(f"witness.example/{name}", _seed(f"witness {name}"), COSIGNATURE)


@cache
def _seal_key(name):
    return Ed25519PrivateKey.from_private_bytes(_seed(f"seal {name}"))


@cache
def seal_secret(name="signer"):
    """PKCS #8 PEM, as the credential holds it."""
    return _seal_key(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@cache
def seal_public(name="signer"):
    """PEM, as the policy holds it."""
    return _seal_key(name).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@cache
def seal(name="signer"):
    return parse_seal(seal_secret(name))


def log_table(origin, *, quorum=0, witnesses=None, seals=("signer",), key=None):
    """The text of `[log]`, to stand in front of other tables; *witnesses* is name to URL."""
    listed = ", ".join(f"'''{seal_public(name)}'''" for name in seals)
    tables = [
        f'[log.witnesses.{name}]\nkey = "{witness_signer(name).verifier.text}"\nurl = "{url}"\n'
        for name, url in (witnesses or {}).items()
    ]
    stated = (key or log_signer(origin).verifier).text
    return "\n".join([f'[log]\nkey = "{stated}"\nsigners = [{listed}]\nquorum = {quorum}\n', *tables])


def log_policy(origin, *, quorum=0, witnesses=None, seals=("signer",)):
    """What a policy file with the same table holds."""
    return LogPolicy(
        key=log_signer(origin).verifier,
        seal_keys=tuple(parse_public_key(seal_public(name)) for name in seals),
        quorum=quorum,
        witnesses=tuple(
            WitnessPolicy(name, witness_signer(name).verifier, url) for name, url in (witnesses or {}).items()
        ),
    )
