"""The commented policy and deployment files: one text each, filled in by ``init``, and with examples for ``ops/``."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.resources import files
from string import Template
from types import MappingProxyType
from typing import Final

from attestor.app.house import KEY_TO_COME

_PEM: Final = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA{}\n-----END PUBLIC KEY-----\n"
_DATABASE_PASSWORDS: Final = """
[database.passwords]
api = "database-api-password"
sequencer = "database-sequencer-password"
signer = "database-signer-password"
owner = "database-owner-password"
"""
_NODE: Final = """
[[hsm.nodes]]
url = "https://nethsm.example.org"
fingerprint = "{fingerprint}"
"""
_EMBEDDED: Final = """
# Parts for a first look, started with the service: PostgreSQL from a wheel and an emulated NetHSM.
[embedded]
enabled = true
folder = "embedded"
"""
_APPROVERS: Final = '''[approvers.dora]
person = "dora"
[[approvers.dora.keys]]
fingerprint = "B038110B19AEB20F068250031C115F09A48C34F1"
valid_from = 2026-01-01T00:00:00Z
valid_until = 2028-01-01T00:00:00Z
openpgp = """
-----BEGIN PGP PUBLIC KEY BLOCK-----

mDMEawFeHxYJKwYBBAHaRw8BAQdADEbBMWz2/FAuy/IKLnCMAA+ygldHyQmMadLU
54u/8Xy0IURvcmEgKGV4YW1wbGUpIDxkb3JhQGV4YW1wbGUub3JnPoiQBBMWCAA4
FiEEsDgRCxmusg8GglADHBFfCaSMNPEFAmsBXh8CGwMFCwkIBwIGFQoJCAsCBBYC
AwECHgECF4AACgkQHBFfCaSMNPHk8QD9G9SfMB/1csBWExGhuEsX9BDfPgDKnujM
bI2C+6gHWPwBAKX3MumGT6dzo5bt0+mYvn92ZOw42jiWnPoQZLeaP4EE
=wltL
-----END PGP PUBLIC KEY BLOCK-----
"""

[approvers.emil]
person = "emil"
[[approvers.emil.keys]]
fingerprint = "SHA256:1bn2rclVec6xwjV1W9EPGA1d5tJgbB8ootRt9WCKoxA"
valid_from = 2026-01-01T00:00:00Z
valid_until = 2028-01-01T00:00:00Z
ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKlcxRnJTfQ6R0FkXlpyGQYEYulRDgIWboktG2ufXxiX emil@example.org"

[approvers.fred]
person = "fred"
[[approvers.fred.keys]]
fingerprint = "SHA256:F3BL7inZbgq/1L0nukRucF0UOOROZIHWweTj3IJLGYI"
valid_from = 2026-01-01T00:00:00Z
valid_until = 2028-01-01T00:00:00Z
ssh = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICMN5f7GJrQu/onBXAsSyOquD2ktxwUzsNGGZYorr4JG fred@example.org"'''
_APPROVERS_TO_COME: Final = '''# [approvers.NAME]
# person = "NAME"
# [[approvers.NAME.keys]]
# fingerprint = "SHA256:..."
# valid_from = {start}
# valid_until = {end}
# ssh = "ssh-ed25519 ..."'''
_ISO_APPROVALS: Final = "approvals = { hours = 48, downgrade = 2, quota = 2 }"
EMPTY_TREE: Final = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
"""The root of a log without entries (RFC 6962 §2.1), as a checkpoint writes it; where every new signer's memory begins."""
FINGERPRINT_TO_COME: Final = "0" * 64

POLICY_EXAMPLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "origin": "attestor.example.org",
        # The private halves of all these were thrown away when the lines were written: nobody can vote or seal with them.
        "alice_key": _PEM.format("PvyIzC2pxUzyEBvLtkhglRkPyAby/DQEunz9Am6Byjo="),
        "bob_key": _PEM.format("AmCxPCbBE7W0MtawiCcTzNI7vyc9uxMZZmYbdtV3TfI="),
        "carol_key": _PEM.format("Sok62hDldO/dlaPj4PivfLJ3jFg4xLTbIkgq3MLHNpw="),
        "release_host_key": _PEM.format("5ktfNboxiUx558KQw0d7Yt+7SJQKm4PitPZwKqfw0UM="),
        "log_key": "attestor.example.org/log+371441f1+AefbaVuCneaaAQNERtEoUBO3j6CTrDzW6gavpCuAHzdY",
        "seal": _PEM.format("7ML3U9Uf9tlGZ6MprLtmkqKqiJFEzQEc1ImBeIDokeo="),
        "valid_from": "2026-01-01T00:00:00Z",
        "valid_until": "2028-01-01T00:00:00Z",
        "client": "5a" * 32,
        "approvers": _APPROVERS,
        "iso_approvals": _ISO_APPROVALS,
    }
)
DEPLOYMENT_EXAMPLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "policy": "policy.toml",
        "credentials": "/etc/attestor/credentials",
        "dsn_api": "postgresql://attestor_api@db.example.org/attestor?sslmode=verify-full",
        "dsn_sequencer": "postgresql://attestor_sequencer@db.example.org/attestor?sslmode=verify-full",
        "dsn_signer": "postgresql://attestor_signer@db.example.org/attestor?sslmode=verify-full",
        "dsn_owner": "postgresql://attestor_owner@db.example.org/attestor?sslmode=verify-full",
        "passwords": _DATABASE_PASSWORDS,
        "public_address": "[::]:8443",
        "request_address": "[::]:8444",
        "certificate": "/etc/attestor/server.pem",
        "client_ca": "/etc/attestor/ca.pem",
        "spool": "/var/lib/attestor/spool",
        "scratch": "/var/lib/attestor/scratch",
        "root": "/srv/release",
        "anchor": "/var/lib/attestor-anchor",
        "run": "/run/attestor-roles",
        "empty_root": EMPTY_TREE,
        "production": "true",
        "nodes": _NODE.format(fingerprint="1c" * 32),
        "embedded": "",
    }
)


def render(name: str, values: Mapping[str, str]) -> str:
    """Fill in ``policy.toml`` or ``attestor.toml``; each of its names must be there."""
    template = files("attestor.cli").joinpath("templates", name).read_text(encoding="utf-8")
    return Template(template).substitute(values).rstrip() + "\n"


def first_policy(origin: str, client: str, now: datetime, *, log_key: str, seal: str) -> str:
    """The policy that ``init`` writes: whole but for the operators' keys, so it is refused until they are in.

    ``log_key`` is a vkey, ``seal`` a PEM.
    """
    start = now.astimezone(UTC).replace(microsecond=0)
    names = {"alice_key": "alice", "bob_key": "bob", "carol_key": "carol", "release_host_key": "release-host"}
    valid = {"start": _toml_time(start), "end": _toml_time(start.replace(year=start.year + 2, day=1))}
    return render(
        "policy.toml",
        {
            **{name: KEY_TO_COME.format(operator) for name, operator in names.items()},
            "origin": origin,
            "log_key": log_key,
            "seal": seal,
            "valid_from": valid["start"],
            "valid_until": valid["end"],
            "client": client,
            "approvers": _APPROVERS_TO_COME.format(**valid),
            "iso_approvals": f"# {_ISO_APPROVALS}",
        },
    )


def first_deployment(*, embedded: bool) -> str:
    """The deployment file that ``init`` writes beside its folders; with ``embedded``, it needs no part from outside."""
    local = "postgresql://{}@127.0.0.1/attestor"
    values = {
        **DEPLOYMENT_EXAMPLE,
        "credentials": "credentials",
        "dsn_api": local.format("attestor_api"),
        "dsn_sequencer": local.format("attestor_sequencer"),
        "dsn_signer": local.format("attestor_signer"),
        "dsn_owner": local.format("attestor_owner"),
        "passwords": "" if embedded else _DATABASE_PASSWORDS,
        "public_address": "127.0.0.1:8443",
        "request_address": "127.0.0.1:8444",
        "certificate": "server.pem",
        "client_ca": "ca/ca.pem",
        "spool": "spool",
        "scratch": "scratch",
        "root": "release",
        "anchor": "anchor",
        "run": "run",
        "production": "false" if embedded else "true",
        "nodes": "nodes = []\n" if embedded else _NODE.format(fingerprint=FINGERPRINT_TO_COME),
        "embedded": _EMBEDDED if embedded else "",
    }
    return render("attestor.toml", values)


def _toml_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
