"""What the types cannot say: how the sections must fit each other and the policy. All pure.

Each refusal names file, place and what to do: ``Rejected`` ``config-invalid``.
"""

from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from os.path import normpath
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from attestor.config.sections import Database, DeploymentFile, Hsm, Listener, SigningKeySection
from attestor.core.algorithm import Algorithm
from attestor.core.errors import Rejected
from attestor.core.policy import Policy
from attestor.core.socketaddress import is_socket, socket_path

_DSNS: Final = ("dsn_api", "dsn_sequencer", "dsn_signer", "dsn_owner")
Problem = tuple[str, str]
"""Place in the file, and the sentence."""


def refuse_unfit(file: DeploymentFile, policy: Policy, source: str) -> None:
    """Raise on the first thing that does not fit."""
    for place, sentence in _problems(file, policy, Path(source).parent):
        raise refusal(source, place, sentence)


def refusal(source: str, place: str, sentence: str) -> Rejected:
    """The one form of every refusal of a deployment file."""
    return Rejected("config-invalid", f"{source}: {place}: {sentence}.")


def warnings_of(file: DeploymentFile, policy: Policy) -> tuple[str, ...]:
    """What is allowed and yet probably not meant."""
    used = {tier.signing_key for tier in policy.tiers}
    served = {audience for listener in file.listeners for audience in listener.audiences}
    unused = [f"signing_keys.{name} is used by no tier of the policy" for name in sorted(set(file.signing_keys) - used)]
    silent = [
        f"no listener serves {audience!r}" for audience in ("read", "submit", "request") if audience not in served
    ]
    blind = ["there is no [canary]: a key that cannot sign any more shows when a release needs it"]
    return (*unused, *silent, *(blind if file.hsm.production and file.canary is None else []))


def _problems(file: DeploymentFile, policy: Policy, here: Path) -> Iterator[Problem]:
    yield from _database(file.database, production=file.hsm.production)
    yield from _listeners(file.listeners, production=file.hsm.production)
    yield from _hsm(file)
    yield from _signing_keys(file.signing_keys, policy)
    yield from _canary(file)
    yield from _log(file)
    yield from _anchor(file, here)
    if file.content.max_total_bytes < file.content.max_bytes:
        yield "content.max_total_bytes", "must be at least max_bytes, or the largest content never fits"
    if file.content.spool == file.content.scratch:
        yield "content.scratch", "must be another folder than the spool"


def _database(database: Database, *, production: bool) -> Iterator[Problem]:
    for name in _DSNS:
        dsn, place = getattr(database, name), f"database.{name}"
        try:
            parts = urlsplit(dsn)
        except ValueError:
            yield place, "is no connection string: write postgresql://USER@HOST/DATABASE"
            continue
        if parts.scheme != "postgresql" or not (parts.username or "user" in parse_qs(parts.query)):
            yield place, "must be postgresql://USER@HOST/DATABASE, or postgresql://USER@/DATABASE?host=/SOCKET/FOLDER"
        if parts.password is not None or {"password", "passfile", "sslpassword"} & set(parse_qs(parts.query)):
            yield place, "holds a password; name a credential in [database.passwords] instead"
        if production and not _is_local(parts) and parse_qs(parts.query).get("sslmode") != ["verify-full"]:
            yield (
                place,
                "production reaches another host with sslmode=verify-full only: who stands between could write votes",
            )
    if len({getattr(database, name) for name in _DSNS}) < len(_DSNS):
        yield "database", "each role connects as a database user of its own, so the connection strings must all differ"


def _is_local(dsn: SplitResult) -> bool:
    """Whether a connection string leads to this host: by a socket's folder, or loopback."""
    hosts = [dsn.hostname] if dsn.hostname else parse_qs(dsn.query).get("host", [])
    return all(host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"} for host in hosts)


def _listeners(listeners: tuple[Listener, ...], *, production: bool) -> Iterator[Problem]:
    if not listeners:
        yield "listeners", "must not be empty: nobody could reach the service"
    seen: set[str] = set()
    for number, listener in enumerate(listeners):
        place = f"listeners[{number}]"
        yield from _listener(listener, place, production=production)
        if listener.address in seen and not listener.address.endswith(":0"):
            yield f"{place}.address", f"{listener.address} stands there twice"
        seen.add(listener.address)


def _listener(listener: Listener, place: str, *, production: bool) -> Iterator[Problem]:
    if not listener.audiences:
        yield f"{place}.audiences", "must list some of read, submit, request, operate; an empty list allows nobody"
    if len(set(listener.audiences)) != len(listener.audiences):
        yield f"{place}.audiences", "lists a name twice"
    yield from _proxies(listener, place)
    yield from (
        _socket(listener, place) if is_socket(listener.address) else _port(listener, place, production=production)
    )


def _port(listener: Listener, place: str, *, production: bool) -> Iterator[Problem]:
    if not _is_address(listener):
        yield f"{place}.address", "must be HOST:PORT, or [IPv6]:PORT, or unix:/PATH"
    if (listener.certificate is None) != (listener.key is None):
        yield f"{place}.key", "certificate and key (a credential's name) go together"
    if listener.client_ca is not None and listener.certificate is None:
        yield f"{place}.client_ca", "needs certificate and key: clients show theirs over TLS only"
    if "request" in listener.audiences and listener.client_ca is None:
        yield (
            f"{place}.client_ca",
            "audience 'request' knows its clients by mutual TLS, so name the CA that issues them",
        )
    if production and listener.certificate is None and not listener.loopback:
        yield f"{place}.certificate", "production serves plain HTTP on loopback addresses only"


def _socket(listener: Listener, place: str) -> Iterator[Problem]:
    try:
        socket_path(listener.address)
    except Rejected as error:
        yield f"{place}.address", error.sentence.rstrip(".")
    if {listener.certificate, listener.key, listener.client_ca} != {None}:
        yield f"{place}.certificate", "a socket has no TLS: the kernel says which user connects"
    if "operate" in listener.audiences:
        yield f"{place}.audiences", "a socket serves read, submit and request; operate needs an address"


def _proxies(listener: Listener, place: str) -> Iterator[Problem]:
    place = f"{place}.proxies"
    if listener.proxies and (is_socket(listener.address) or "request" in listener.audiences):
        yield (
            place,
            "must be empty on a socket, and where audience 'request' is: there TLS ends here, and no header says who calls",
        )
    for text in listener.proxies:
        try:
            everybody = ip_network(text).prefixlen == 0
        except ValueError as error:
            yield place, f"{error}; write the proxy's address or network, such as 192.0.2.10 or 2001:db8::/64"
            continue
        if everybody:
            yield place, f"{text} is everybody, who could then come from any address; name the proxy's own"


def _is_address(listener: Listener) -> bool:
    try:
        return bool(listener.host) and 0 <= listener.port < 65536
    except ValueError:
        return False


def _hsm(file: DeploymentFile) -> Iterator[Problem]:
    hsm: Hsm = file.hsm
    embedded = file.embedded is not None and file.embedded.enabled
    if hsm.production and embedded:
        yield "embedded.enabled", "hsm.production is true, and embedded parts are for a first look only"
    if not hsm.nodes and not embedded:
        yield "hsm.nodes", "must not be empty: nothing could sign"
    if repeated := _repeated(node.url for node in hsm.nodes):
        yield "hsm.nodes", f"{repeated} stands there twice"
    if hsm.reserved.database + hsm.reserved.image >= hsm.slots:
        yield "hsm.reserved", f"must leave one of the {hsm.slots} slots to every lane"
    if hsm.admin_passphrase == hsm.unlock_passphrase:
        yield "hsm.unlock_passphrase", "must be another credential than admin_passphrase"
    if file.signer.lease_seconds <= hsm.deadline_seconds:
        yield "signer.lease_seconds", "must be more than hsm.deadline_seconds, or a slow device loses every lease"


def _canary(file: DeploymentFile) -> Iterator[Problem]:
    if file.canary is None:
        return
    if file.canary.user in {key.user for key in file.signing_keys.values()}:
        yield "canary.user", "must be another HSM user than any that signs releases"
    others = {
        file.hsm.admin_passphrase,
        file.hsm.unlock_passphrase,
        file.signer.seal,
        file.log.key,
        *_role_secrets(file),
    }
    if file.canary.passphrase in others:
        yield "canary.passphrase", "must be a credential of its own"


def _log(file: DeploymentFile) -> Iterator[Problem]:
    others = {file.hsm.admin_passphrase, file.hsm.unlock_passphrase, *_role_secrets(file)}
    if file.log.key in others:
        yield "log.key", "must be another credential than any other role reads: only the sequencer may sign checkpoints"
    if file.signer.seal in {file.log.key, *others}:
        yield "signer.seal", "must be a credential of its own: it says that a signer said something"


def _anchor(file: DeploymentFile, here: Path) -> Iterator[Problem]:
    anchor = _plain(file.signer.anchor)
    for place, folder in _folders(file, here):
        if anchor == folder or folder in anchor.parents:
            yield (
                "signer.anchor",
                f"must not lie in {place}: who writes, clears or restores that would move what the signer remembers",
            )
        elif anchor in folder.parents:
            yield place, "must not lie in signer.anchor, which holds nothing else"


def _role_secrets(file: DeploymentFile) -> Iterator[str]:
    yield from (key.passphrase for key in file.signing_keys.values())
    yield from (listener.key for listener in file.listeners if listener.key is not None)
    passwords = file.database.passwords
    for name in (passwords.api, passwords.sequencer, passwords.signer, passwords.owner):
        if name is not None:
            yield name


def _folders(file: DeploymentFile, here: Path) -> Iterator[tuple[str, Path]]:
    """What others write, or backups hold."""
    yield "content.spool", _plain(file.content.spool)
    yield "content.scratch", _plain(file.content.scratch)
    for name, root in file.content.roots.items():
        if "://" not in root:
            yield f"content.roots.{name}", _plain(here / root)
    if file.credentials.folder is not None:
        yield "credentials.folder", _plain(file.credentials.folder)
    if file.run is not None:
        yield "run.folder", _plain(file.run.folder)
    if file.embedded is not None:
        yield "embedded.folder", _plain(file.embedded.folder)


def _plain(path: Path) -> Path:
    """Without the dots that would hide what lies in what."""
    return Path(normpath(path))


def _signing_keys(keys: dict[str, SigningKeySection], policy: Policy) -> Iterator[Problem]:
    for tier in policy.tiers:
        if tier.signing_key not in keys:
            yield f"signing_keys.{tier.signing_key}", f"is missing, and tier {tier.name} of the policy signs with it"
    for field, values in _must_differ(keys).items():
        owners: dict[object, str] = {}
        for name, value in values:
            if value in owners:
                yield (
                    f"signing_keys.{name}.{field}",
                    f"is that of signing_keys.{owners[value]}; two names for one key would let it serve two kinds",
                )
            owners[value] = name
    for name, key in keys.items():
        if (key.algorithm is Algorithm.RSA) != (key.rsa_bits is not None):
            yield f"signing_keys.{name}.rsa_bits", "stands exactly where the algorithm is rsa"


def _must_differ(keys: dict[str, SigningKeySection]) -> dict[str, list[tuple[str, object]]]:
    """One user, one passphrase and one certificate per release key: what opens one key opens no other."""
    return {
        "key_id": [(name, (key.namespace, key.key_id)) for name, key in keys.items()],
        "user": [(name, key.device_user) for name, key in keys.items()],
        "passphrase": [(name, key.passphrase) for name, key in keys.items()],
        "certificate_fingerprint": [
            (name, key.certificate_fingerprint) for name, key in keys.items() if key.certificate_fingerprint
        ],
    }


def _repeated(values: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
