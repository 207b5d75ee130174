"""The policy's ``[log]`` table: the log's own key, the signers' seals, the witnesses. One key has one purpose.

Source of the rules: design §8, C2SP signed-note, tlog-cosignature and tlog-witness.
"""

from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from attestor.core.errors import AttestorError
from attestor.core.keys import PublicKey, parse_public_key
from attestor.core.policy import LogPolicy, OperatorKey, WitnessPolicy
from attestor.core.policytables import LogTable, PolicyTable, WitnessTable, is_name, refusal
from attestor.core.tlog.note import COSIGNATURE, ED25519, VerifierKey, parse_vkey

MAX_WITNESSES: Final = 32
"""Their lines and the log's own fit one note of every implementation that is known to us."""
_RAW_KEY: Final = 32


def read_log(table: PolicyTable, operators: Mapping[PublicKey, OperatorKey], source: str) -> LogPolicy:
    """Check the table beside the operators' keys. Raises ``Rejected`` ``policy-invalid``."""
    stated = table.log
    _refuse_bad_quorum(stated, source)
    key = _vkey(stated.key, ED25519, "log.key", source)
    _refuse_bad_origin(key.name, table.origin, source)
    seals = tuple(_seal_keys(stated, source))
    witnesses = tuple(_witness(name, witness, source) for name, witness in stated.witnesses.items())
    owners = {_material(one): f"operator {held.operator}" for one, held in operators.items()}
    for place, purpose, raw in (
        ("log.key", "the log", key.public),
        *((f"log.signers[{number}]", "a signer", _material(one)) for number, one in enumerate(seals)),
        *((f"log.witnesses.{one.name}.key", f"witness {one.name}", one.key.public) for one in witnesses),
    ):
        if raw in owners:
            raise refusal(source, place, f"this key already stands under {owners[raw]}; one key has one purpose, once")
        owners[raw] = purpose
    return LogPolicy(key=key, seal_keys=seals, quorum=stated.quorum, witnesses=witnesses)


def _refuse_bad_quorum(stated: LogTable, source: str) -> None:
    if len(stated.witnesses) > MAX_WITNESSES:
        raise refusal(source, "log.witnesses", f"lists more than {MAX_WITNESSES} witnesses")
    if not 0 <= stated.quorum <= len(stated.witnesses):
        raise refusal(
            source,
            "log.quorum",
            f"must be 0 to {len(stated.witnesses)}, as many witnesses as there are; 0 waits for none",
        )


def _refuse_bad_origin(name: str, origin: str, source: str) -> None:
    start, slash, rest = name.partition("/")
    if start != origin or not slash or not is_name(rest):
        raise refusal(
            source,
            "log.key",
            f"must be named {origin}/NAME, such as {origin}/log: the log's origin, which names it for ever",
        )


def _vkey(text: str, algorithm: int, place: str, source: str) -> VerifierKey:
    try:
        key = parse_vkey(text)
    except AttestorError as error:
        raise refusal(source, place, error.sentence.rstrip(".")) from error
    if key.algorithm != algorithm:
        purpose = "signs checkpoints" if algorithm == ED25519 else "cosigns them"
        raise refusal(source, place, f"is a key of type {key.algorithm}; one that {purpose} is of type {algorithm}")
    return key


def _seal_keys(stated: LogTable, source: str) -> Iterator[PublicKey]:
    if not stated.signers:
        raise refusal(source, "log.signers", "must list at least one key: an empty list allows nobody to sign")
    for number, text in enumerate(stated.signers):
        place = f"log.signers[{number}]"
        try:
            key = parse_public_key(text)
        except AttestorError as error:
            raise refusal(source, place, error.sentence.rstrip(".")) from error
        if key.algorithm != "ed25519":
            raise refusal(source, place, f"is an {key.algorithm} key; a signer seals with Ed25519: attestor log seal")
        yield key


def _witness(name: str, stated: WitnessTable, source: str) -> WitnessPolicy:
    place = f"log.witnesses.{name}"
    if not is_name(name):
        raise refusal(source, f"log.witnesses.{name[:64]!a}", "names are lower-case letters, digits, dots and dashes")
    key = _vkey(stated.key, COSIGNATURE, f"{place}.key", source)
    if not _is_submission_prefix(stated.url):
        raise refusal(
            source,
            f"{place}.url",
            "must be https://HOST/PATH without user, query or fragment; http:// for a loopback address only",
        )
    return WitnessPolicy(name=name, key=key, url=stated.url.rstrip("/"))


def _is_submission_prefix(url: str) -> bool:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and " " not in url
    bare = f"{parts.scheme}://{parts.netloc}{parts.path}" == url and "@" not in parts.netloc
    allowed = parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host or ""))
    return plain and bare and allowed and bool(host) and port != 0


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _material(key: PublicKey) -> bytes:
    """An Ed25519 key's point, as vkeys hold it; any other key is compared whole."""
    return key.spki[-_RAW_KEY:] if key.algorithm == "ed25519" else key.spki
