"""Read deployment and policy file, and give each role what is its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from attestor.config import sections
from attestor.config.checks import refusal, refuse_unfit, warnings_of
from attestor.config.credentials import CredentialStore
from attestor.config.sections import DeploymentFile, Listener, Role
from attestor.content.https import HttpsRoot
from attestor.content.roots import DirectoryRoot
from attestor.core.errors import AttestorError, Missing, Rejected
from attestor.core.limits import Rates
from attestor.core.policy import Policy
from attestor.core.policyfile import parse_policy
from attestor.core.policytables import MAX_POLICY_BYTES
from attestor.core.secret import Secret

MAX_FILE_BYTES: Final = 1 << 20
_NOBODYS: Final = Secret("")
"""Stands where a role has no such secret; it reads as no key."""


@dataclass(frozen=True, slots=True)
class ServedListener:
    """One listener with the files that TLS needs; ``key`` was looked at: only its owner may read it."""

    listener: Listener
    key: Path | None


@dataclass(frozen=True, slots=True)
class RoleView:
    """What one role's process may know, its secrets included, and nothing of another role's."""

    role: Role
    dsn: Secret
    """The whole connection string, with the password where there is one."""
    listeners: tuple[ServedListener, ...] = ()
    passphrases: Mapping[str, Secret] = field(default_factory=dict)
    """Signing key name to the passphrase of its HSM user; for the signer."""
    canary: Secret = _NOBODYS
    """The passphrase of the canary's HSM user; for the signer, where there is one."""
    seal: Secret = _NOBODYS
    """The signer's own key, PKCS #8 PEM; for the signer."""
    log_key: Secret = _NOBODYS
    """The log's secret key as an skey; for the sequencer."""


@dataclass(frozen=True, slots=True)
class Config:
    """A deployment that was read whole and fits its policy. Holds no secret."""

    path: Path
    policy: Policy
    policy_path: Path
    database: sections.Database
    listeners: tuple[Listener, ...]
    content: sections.Content
    pull_roots: Mapping[str, DirectoryRoot | HttpsRoot]
    hsm: sections.Hsm
    signing_keys: Mapping[str, sections.SigningKeySection]
    log: sections.Log
    signer: sections.Signer
    limits: Rates
    alarms: sections.Alarms
    canary: sections.Canary | None
    logging: sections.Logging
    run: sections.Run | None
    embedded: sections.Embedded | None
    credentials: CredentialStore
    warnings: tuple[str, ...]
    file: DeploymentFile = field(repr=False)

    def read_policy(self) -> Policy:
        """Read the policy file again, and hold it against the deployment as that was read at start.

        Raises ``Missing`` ``policy-missing``, ``Rejected`` ``policy-invalid``, ``config-invalid``.
        """
        policy = load_policy(self.policy_path)
        refuse_unfit(self.file, policy, str(self.path))
        return policy

    def for_role(self, role: Role | str) -> RoleView:
        """Read this role's credentials and look at its files.

        Raises ``Missing`` ``credential-missing``, ``Rejected`` ``credential-open``, ``config-invalid`` (a file or folder
        that the role needs is not there).
        """
        role = Role(role)
        if role is Role.API:
            self._refuse_missing_files()
            return RoleView(role, self._dsn("api"), listeners=self._served())
        if role is Role.SIGNER:
            self._refuse_missing_roots()
            seal = self.credentials.secret(self.signer.seal)
            canary = self.credentials.secret(self.canary.passphrase) if self.canary is not None else _NOBODYS
            return RoleView(role, self._dsn("signer"), passphrases=self._passphrases(), seal=seal, canary=canary)
        if role is Role.SEQUENCER:
            return RoleView(role, self._dsn("sequencer"), log_key=self.credentials.secret(self.log.key))
        return RoleView(role, self._dsn("owner"))

    def _dsn(self, user: str) -> Secret:
        dsn: str = getattr(self.database, f"dsn_{user}")
        name: str | None = getattr(self.database.passwords, user)
        if name is None:
            return Secret(dsn)
        password = self.credentials.secret(name)
        separator = "&" if "?" in dsn else "?"
        return Secret(f"{dsn}{separator}password={quote(password.reveal(), safe='')}")

    def _passphrases(self) -> dict[str, Secret]:
        return {name: self.credentials.secret(key.passphrase) for name, key in self.signing_keys.items()}

    def _served(self) -> tuple[ServedListener, ...]:
        return tuple(
            ServedListener(listener, None if listener.key is None else self.credentials.path(listener.key))
            for listener in self.listeners
        )

    def _refuse_missing_files(self) -> None:
        for number, listener in enumerate(self.listeners):
            for place, path in (("certificate", listener.certificate), ("client_ca", listener.client_ca)):
                if path is not None and not path.is_file():
                    raise self._refusal(f"listeners[{number}].{place}", f"there is no file {path}")
        if not self.content.spool.parent.is_dir():
            raise self._refusal("content.spool", f"there is no folder {self.content.spool.parent} to make it in")

    def _refuse_missing_roots(self) -> None:
        if not self.content.scratch.is_dir():
            raise self._refusal("content.scratch", f"there is no folder {self.content.scratch}")
        for name, root in self.pull_roots.items():
            if isinstance(root, DirectoryRoot) and not root.path.is_dir():
                raise self._refusal(f"content.roots.{name}", f"there is no folder {root.path}")

    def _refusal(self, place: str, sentence: str) -> Rejected:
        return refusal(str(self.path), place, sentence)


def load_config(path: Path) -> Config:
    """Read the deployment file and the policy that it names; reads no credential.

    Raises ``Missing`` ``config-missing``, ``policy-missing``; ``Rejected`` ``config-invalid`` and ``policy-invalid`` with file, place and sentence.
    """
    place = path.absolute()
    file = _decode(_read(place, "config-missing", MAX_FILE_BYTES), place)
    policy = load_policy(file.policy)
    refuse_unfit(file, policy, str(place))
    return Config(
        path=place,
        policy=policy,
        policy_path=file.policy,
        database=file.database,
        listeners=file.listeners,
        content=file.content,
        pull_roots=dict(_pull_root(name, file, place) for name in file.content.roots),
        hsm=file.hsm,
        signing_keys=file.signing_keys,
        log=file.log,
        signer=file.signer,
        limits=file.limits,
        alarms=file.alarms,
        canary=file.canary,
        logging=file.logging,
        run=file.run,
        embedded=file.embedded,
        credentials=CredentialStore.of_process(file.credentials.folder),
        warnings=warnings_of(file, policy),
        file=file,
    )


def load_policy(path: Path) -> Policy:
    """Read a policy file. Raises ``Missing`` ``policy-missing``, ``Rejected`` ``policy-invalid``."""
    policy = parse_policy(_read(path, "policy-missing", MAX_POLICY_BYTES), str(path))
    _refuse_bad_approvers(policy, path)
    return policy


def _refuse_bad_approvers(policy: Policy, path: Path) -> None:
    """An approver's certificate is read by the room that knows OpenPGP, which only policies with approvers need."""
    if not policy.approver_keys:
        return
    from attestor.openpgp.approvers import Approvers

    for key in policy.approver_keys.values():
        try:
            # A certificate that its owner revoked stands in the policy as revoked, and is not usable any more.
            if not key.revoked:
                Approvers().read(key)
        except Rejected as error:
            place = f"approvers.{key.approver}.keys ({key.fingerprint})"
            raise Rejected("policy-invalid", f"{path}: {place}: {error.sentence}") from error


def _read(path: Path, code: str, limit: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise Missing(code, f"{path} cannot be read: {error.strerror}.") from None


def _decode(raw: bytes, path: Path) -> DeploymentFile:
    def path_below(wanted: type, value: Any) -> object:
        if wanted is not Path or not isinstance(value, str) or not value:
            raise ValueError("Expected a path")
        return path.parent / value

    if len(raw) > MAX_FILE_BYTES:
        raise refusal(str(path), "the file", f"is over {MAX_FILE_BYTES} bytes")
    try:
        return msgspec.toml.decode(raw, type=DeploymentFile, dec_hook=path_below)
    except msgspec.DecodeError as error:
        sentence, _, place = str(error).partition(" - at `$.")
        raise refusal(str(path), place.rstrip("`") or "the file", sentence) from error
    except UnicodeDecodeError as error:
        raise refusal(str(path), "the file", "is not UTF-8") from error


def _pull_root(name: str, file: DeploymentFile, path: Path) -> tuple[str, DirectoryRoot | HttpsRoot]:
    text = file.content.roots[name]
    if "://" not in text:
        return name, DirectoryRoot(path.parent / text)
    try:
        return name, HttpsRoot(text, file.content.https_deadline_seconds, ca_file=file.content.https_ca)
    except AttestorError as error:
        raise refusal(str(path), f"content.roots.{name}", error.sentence.rstrip(".")) from error
