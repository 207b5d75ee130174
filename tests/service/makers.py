"""Makes what the use cases take: operators with real keys, policies as files, envelopes as rebuilders send them."""

import base64
import hashlib
from functools import cache

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from attestor.core.envelope import IN_TOTO, WITHDRAWAL, Signature, encode_envelope, pae
from attestor.core.naming import parse_release
from attestor.core.policyfile import parse_policy
from attestor.core.statement import (
    RebuildStatement,
    Subject,
    WithdrawalStatement,
    rebuild_payload,
    withdrawal_payload,
)
from attestor.core.wire import Artifact, Pull, ReleaseName, SigningRequestAsk
from attestor.service.ask import Client
from tests.logkeys import log_table

ORIGIN = "attestor.example.org"
CLIENT = "ab" * 32
BUILDER = Client(CLIENT, "192.0.2.7")
_SCOPES = """[{ kind = "package", type = "alpm", namespace = "arch" },
    { kind = "package", type = "deb", namespace = "debian" }, { kind = "iso", type = "generic", namespace = "arch" },
    { kind = "database", type = "generic", namespace = "arch" }]"""


@cache
def secret_key(name):
    return ed25519.Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def _public_pem(name):
    public = secret_key(name).public_key()
    return public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _key_table(operator, name, revoked, valid_until):
    revocation = "revoked = 2026-01-01T00:00:00Z\n" if name in revoked else ""
    return f"""
[[operators.{operator}.keys]]
public_key = '''{_public_pem(name)}'''
valid_from = 2025-01-01T00:00:00Z
valid_until = {valid_until.get(name, "2036-01-01T00:00:00Z")}
statements = ["rebuild"]
{revocation}scopes = {_SCOPES}
"""


def _tier(name, kind, purl, operators, **numbers):
    lines = "\n".join(f"{number} = {value}" for number, value in numbers.items())
    return f"""
[tiers.{name}]
kind = "{kind}"
purl = "{purl}"
operators = {list(operators)}
{lines}
signing_key = "{name}"
requesters = ["build-service"]
networks = ["192.0.2.0/24"]
"""


def make_policy(  # one keyword per thing that tests vary
    *,
    serial=1,
    dissent_limit=0,
    suspended=(),
    revoked=(),
    removed=(),
    valid_until=None,
    without=(),
    origin=ORIGIN,
    threshold=2,
    witnesses=None,
    log_quorum=0,
    rules=None,
    approvers="",
):
    """The log of tests/logkeys.py. Alice (two keys: alice, alice-2), Bob and Carol; tiers packages (2 of 3), debs (2 of 3), isos (1 of 1).

    *removed*: keys that have left the file; *rules*: further lines of the tier packages, by name; *approvers*: further tables.
    """
    operators = ("alice", "bob", "carol")
    tables = [f'origin = "{origin}"\nserial = {serial}\n', log_table(origin, quorum=log_quorum, witnesses=witnesses)]
    for operator in operators:
        tables.append(f"[operators.{operator}]\nsuspended = {str(operator in suspended).lower()}\n")
        names = (operator, f"{operator}-2") if operator == "alice" else (operator,)
        tables += [_key_table(operator, name, revoked, valid_until or {}) for name in names if name not in removed]
    numbers = {"threshold": threshold, "dissent_limit": dissent_limit}
    tiers = {
        "packages": _tier("packages", "package", "pkg:alpm/arch/*", operators, **numbers, **(rules or {})),
        "debs": _tier("debs", "package", "pkg:deb/debian/*", operators, **numbers),
        "isos": _tier("isos", "iso", "pkg:generic/arch/archlinux-iso", ["carol"], threshold=1, dissent_limit=0),
    }
    tables += [text for name, text in tiers.items() if name not in without]
    for requester, client in (("build-service", CLIENT), ("stranger", "cd" * 32)):
        tables.append(f'[requesters.{requester}]\nclients = ["{client}"]\nperson = "{requester}"\n')
    tables.append(approvers)
    return parse_policy("\n".join(tables).encode(), "policy.toml")


def package(name="filesystem", version="1-1", arch="any"):
    return parse_release(
        "package", f"pkg:alpm/arch/{name}@{version}?arch={arch}", f"{name}-{version}-{arch}.pkg.tar.zst"
    )


def deb(name="bash"):
    return parse_release("package", f"pkg:deb/debian/{name}@1-1?arch=amd64", f"{name}_1-1_amd64.deb")


def iso():
    return parse_release(
        "iso", "pkg:generic/arch/archlinux-iso@2025.10.01?arch=x86_64", "archlinux-2025.10.01-x86_64.iso"
    )


def _signed(kind, payload, names):
    signatures = [Signature("", secret_key(name).sign(pae(kind, payload))) for name in names]
    return encode_envelope(kind, payload, signatures)


def payload_of(release, content, log=b"log"):
    """*content* None is a failed build."""
    subject = content and Subject(
        release.file_name, hashlib.sha256(content).digest(), hashlib.sha512(content).digest(), len(content)
    )
    source = Subject("source.tar", hashlib.sha256(b"source").digest())
    outcome = "built" if subject else "failed"
    log_digest = hashlib.sha256(log).digest()
    return rebuild_payload(RebuildStatement(release, outcome, subject, inputs=(source,), log_digest=log_digest))


def vote(release, content, *names, log=b"log"):
    """An envelope in which these keys state *content* as the result; another *log* makes it another payload."""
    return _signed(IN_TOTO, payload_of(release, content, log), names)


def payload_digest(release, content, log=b"log"):
    return hashlib.sha256(pae(IN_TOTO, payload_of(release, content, log))).digest()


def withdrawal(release, taken, *names, origin=ORIGIN, reason="The build host was broken."):
    """An envelope that takes back the payload with the digest *taken*."""
    return _signed(WITHDRAWAL, withdrawal_payload(WithdrawalStatement(origin, release.id, taken, reason)), names)


def asking(release, content, source=None):
    """A request for the signature of *content*, pulled from the root `files` unless another *source* is given."""
    return SigningRequestAsk(
        release=ReleaseName(str(release.kind), release.purl, release.file_name),
        artifact=Artifact(len(content), hashlib.sha256(content).hexdigest(), hashlib.sha512(content).hexdigest()),
        content=source or Pull("files", release.file_name),
    )


def base64_of(raw):
    return base64.b64encode(raw).decode()


async def lines_of(*raw):
    for each in raw:
        yield each
