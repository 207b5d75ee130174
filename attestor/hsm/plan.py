"""What a provisioned device shall hold, and where an existing one contradicts it. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from nethsm import Role

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Rejected
from attestor.core.secret import Secret
from attestor.hsm.keys import ASKING, Login, require_id
from attestor.hsm.survey import DeviceFound, KeyFound, NamespaceFound

RSA_BITS: Final = range(2048, 8193)


@dataclass(frozen=True, slots=True)
class KeyPlan:
    """A release key with the one Operator and the one tag that it has to itself.

    :raises Rejected: a name that the device cannot have, or a length that does not fit the algorithm.
    """

    key_id: str
    algorithm: Algorithm
    operator: str
    """Without its namespace."""
    passphrase: Secret
    tag: str
    user_id: str
    """Of the OpenPGP certificate."""
    rsa_bits: int | None = None
    """For RSA, and only for RSA."""

    def __post_init__(self) -> None:
        for text, what in ((self.key_id, "key ID"), (self.operator, "Operator's name"), (self.tag, "tag")):
            require_id(text, what)
        if (self.algorithm is Algorithm.RSA) != (self.rsa_bits is not None):
            raise Rejected("hsm-plan", f"The key {self.key_id}: an RSA key, and no other, needs its length in bits.")
        if self.rsa_bits is not None and self.rsa_bits not in RSA_BITS:
            raise Rejected("hsm-plan", f"The key {self.key_id}: an RSA key has 2048 to 8192 bits.")


@dataclass(frozen=True, slots=True)
class CanaryPlan:
    """The Operator who has the tags of all keys of a namespace, for the canary alone.

    :raises Rejected: a name that the device cannot have.
    """

    operator: str
    """Without its namespace."""
    passphrase: Secret

    def __post_init__(self) -> None:
        require_id(self.operator, "canary's name")


@dataclass(frozen=True, slots=True)
class NamespacePlan:
    """A namespace, its Administrator, its keys.

    :raises Rejected: a name that the device cannot have, or two keys with the same ID, Operator or tag.
    """

    name: str
    administrator: str
    passphrase: Secret
    keys: tuple[KeyPlan, ...]
    canary: CanaryPlan | None = None

    def __post_init__(self) -> None:
        require_id(self.name, "namespace")
        require_id(self.administrator, "Administrator's name")
        names = [{key.key_id for key in self.keys}, {key.operator for key in self.keys}, {key.tag for key in self.keys}]
        if any(len(each) != len(self.keys) for each in names):
            raise Rejected(
                "hsm-plan", f"The namespace {self.name}: each key has an ID, an Operator and a tag of its own."
            )
        if self.administrator in {key.operator for key in self.keys}:
            raise Rejected("hsm-plan", f"The namespace {self.name}: its Administrator cannot be an Operator too.")
        if self.canary is not None and self.canary.operator in {
            self.administrator,
            *(key.operator for key in self.keys),
        }:
            raise Rejected("hsm-plan", f"The namespace {self.name}: the canary's user must be nobody else's too.")

    @property
    def login(self) -> Login:
        """Its Administrator."""
        return Login(f"{self.name}~{self.administrator}", self.passphrase)

    def operator(self, key: KeyPlan) -> Login:
        """The Operator of one of its keys."""
        return Login(f"{self.name}~{key.operator}", key.passphrase)

    @property
    def canary_login(self) -> Login | None:
        """The canary's Operator."""
        return Login(f"{self.name}~{self.canary.operator}", self.canary.passphrase) if self.canary is not None else None


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole device.

    :raises Rejected: one namespace twice.
    """

    unlock: Secret
    admin: Secret
    """The passphrase of ``admin``, the Administrator outside of all namespaces."""
    unattended_boot: bool
    namespaces: tuple[NamespacePlan, ...]

    def __post_init__(self) -> None:
        if len({each.name for each in self.namespaces}) != len(self.namespaces):
            raise Rejected("hsm-plan", "The plan has a namespace twice.")


class Certificate(Protocol):
    """What has to be known of a certificate (see :class:`attestor.openpgp.certificate.Certificate`)."""

    @property
    def user_id(self) -> str:
        """Its one user id."""

    @property
    def public_key(self) -> PublicKeyTypes:
        """Its one key."""


class Draft(Protocol):
    """A certificate for the HSM to sign."""

    @property
    def digest(self) -> bytes:
        """SHA-512, 64 bytes."""

    def seal(self, raw_signature: bytes) -> bytes:
        """The certificate; raises Rejected if the signature does not verify."""


DraftCertificate = Callable[[str, Algorithm, str, datetime], Draft]
"""From public key (PEM), algorithm, user id and creation time."""
ParseCertificate = Callable[[bytes], Certificate]
"""Raises Rejected for what is no verified certificate."""


@dataclass(frozen=True, slots=True)
class Certificates:
    """How OpenPGP certificates are made and read, in another room."""

    draft: DraftCertificate
    parse: ParseCertificate


def contradictions(plan: Plan, found: DeviceFound, parse: ParseCertificate) -> Iterator[str]:
    """A sentence for each thing in the device that is otherwise than planned; what is only missing is none."""
    for namespace in plan.namespaces:
        role = found.administrators.get(namespace.name)
        user = namespace.login.user
        if role is not None and role is not Role.ADMINISTRATOR:
            yield f"the user {user} has the role {role.value}, not Administrator"
        if role is None and namespace.name in found.namespaces:
            yield f"the namespace {namespace.name} exists, but not its Administrator {user}, whom nobody outside can add"
        if namespace.name in found.surveyed:
            yield from _in_namespace(namespace, found.surveyed[namespace.name], parse)


def _in_namespace(plan: NamespacePlan, found: NamespaceFound, parse: ParseCertificate) -> Iterator[str]:
    yield from _in_canary(plan, found)
    for key in plan.keys:
        operator = plan.operator(key).user
        user = found.users.get(operator)
        if user is not None and user.role is not Role.OPERATOR:
            yield f"the user {operator} has the role {user.role.value}, not Operator"
        if user is not None and set(user.tags) - {key.tag}:
            yield f"the Operator {operator} has the tags {', '.join(user.tags)}, and shall have {key.tag} only"
        yield from _others_with_tag(plan, key, found)
        if key.key_id in found.keys:
            yield from _in_key(key, found.keys[key.key_id], parse)


def _in_canary(plan: NamespacePlan, found: NamespaceFound) -> Iterator[str]:
    login = plan.canary_login
    user = found.users.get(login.user) if login is not None else None
    if login is None or user is None:
        return
    if user.role is not Role.OPERATOR:
        yield f"the user {login.user} has the role {user.role.value}, not Operator"
    more = set(user.tags) - {key.tag for key in plan.keys}
    if more:
        yield f"the canary's Operator {login.user} has the tags {', '.join(sorted(more))}, which are no planned key's"


def _others_with_tag(plan: NamespacePlan, key: KeyPlan, found: NamespaceFound) -> Iterator[str]:
    operator, canary = plan.operator(key).user, plan.canary_login
    for name, user in found.users.items():
        if key.tag in user.tags and name not in {operator, canary.user if canary is not None else None}:
            yield f"the user {name} has the tag {key.tag} too, and could sign with {key.key_id}"
    for key_id, other in found.keys.items():
        if key.tag in other.tags and key_id != key.key_id:
            yield f"the key {key_id} has the tag {key.tag} too, and {operator} could sign with it"


def _in_key(plan: KeyPlan, found: KeyFound, parse: ParseCertificate) -> Iterator[str]:
    asking = ASKING[plan.algorithm]
    if found.type is not asking.key_type or found.mechanisms != (asking.mechanism,):
        has = ", ".join(each.value for each in found.mechanisms)
        yield f"the key {plan.key_id} is {found.type.value} with {has}, not {plan.algorithm} for {asking.mechanism.value} only"
    if set(found.tags) - {plan.tag}:
        yield f"the key {plan.key_id} has the tags {', '.join(found.tags)}, and shall have {plan.tag} only"
    public_key = load_pem_public_key(found.public_key.encode())
    if isinstance(public_key, RSAPublicKey) and plan.rsa_bits not in {None, public_key.key_size}:
        yield f"the key {plan.key_id} has {public_key.key_size} bits, not {plan.rsa_bits}"
    if found.certificate is not None:
        yield from _in_certificate(plan, found.certificate, public_key, parse)


def _in_certificate(plan: KeyPlan, raw: bytes, public_key: PublicKeyTypes, parse: ParseCertificate) -> Iterator[str]:
    try:
        certificate = parse(raw)
    except Rejected as error:
        yield f"the key {plan.key_id} holds a certificate that cannot be used: {error.sentence}"
        return
    if _der(certificate.public_key) != _der(public_key):
        yield f"the key {plan.key_id} holds the certificate of another key"
    if certificate.user_id != plan.user_id:
        yield f"the certificate of {plan.key_id} is for {certificate.user_id!r}, not {plan.user_id!r}"


def _der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
