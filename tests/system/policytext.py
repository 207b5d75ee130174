"""The policy of these tests: three who rebuild packages, one of them the real rebuilder of Arch, and one who makes images."""

from tests.logkeys import log_table

ORIGIN = "system.tests"
_HEAD = """origin = "{origin}"
serial = 1

{log}

[requesters.build-service]
clients = ["{build_service}"]

[requesters.mirror]
clients = ["{mirror}"]
"""
_OPERATOR = """
[[operators.{name}.keys]]
public_key = '''
{public_key}'''
valid_from = 2025-01-01T00:00:00Z
valid_until = 2099-01-01T00:00:00Z
statements = ["{statement}"]
scopes = [{scopes}]
"""
_TIER = """
[tiers.{name}]
kind = "{kind}"
purl = "{purl}"
operators = [{operators}]
threshold = {threshold}
dissent_limit = 0
signing_key = "{name}"
requesters = ["build-service"]
networks = ["127.0.0.0/8", "::1/128"]
"""
_SINGLE = (("databases", "database"), ("isos", "iso"), ("vm-images", "vm"))

ARCH = '{ kind = "package", type = "alpm", namespace = "arch" }'
DEBIAN = '{ kind = "package", type = "deb", namespace = "debian" }'
IMAGES = ", ".join(f'{{ kind = "{kind}", type = "generic", namespace = "arch" }}' for _, kind in _SINGLE)

ALGORITHMS = {"packages": "ed25519", "databases": "p384", "isos": "rsa", "vm-images": "p256", "debian": "p521"}
"""Each release key has another algorithm, so that every one goes the whole way."""
FIFTH_KEY = """
[signing_keys.debian]
namespace = "release"
key_id = "debian"
user = "debian"
passphrase = "hsm-debian-passphrase"
algorithm = "p521"
user_id = "Example Debian packages <debian@example.org>"
"""


def policy_text(keys, arch_rebuilder, clients):
    """*keys*: operator to public PEM; *arch_rebuilder*: the odd PEM as it is published; *clients*: requester to digest."""
    rebuilders = [_operator(name, keys[name], f"{ARCH}, {DEBIAN}") for name in ("alice", "bob", "carol")]
    return "".join(
        (
            _HEAD.format(
                origin=ORIGIN,
                log=log_table(ORIGIN),
                **{name.replace("-", "_"): digest for name, digest in clients.items()},
            ),
            *rebuilders,
            _operator("reproducible", arch_rebuilder, ARCH, "link"),
            _operator("release-host", keys["release-host"], IMAGES),
            _tier("packages", "package", "pkg:alpm/arch/*", ("alice", "bob", "reproducible"), 2),
            _tier("debian", "package", "pkg:deb/debian/*", ("alice", "bob", "carol"), 2),
            *(_tier(name, kind, "pkg:generic/arch/*", ("release-host",), 1) for name, kind in _SINGLE),
        )
    )


def deployment_text(text):
    """The embedded deployment as `attestor init` wrote it, with these algorithms (and RSA keys that are quickly made)."""
    for name, algorithm in ALGORITHMS.items():
        head, found, rest = text.partition(f"[signing_keys.{name}]")
        if found:
            stated, line, after = rest.partition('algorithm = "')
            text = head + found + stated + line + algorithm + after[after.index('"') :]
    return text.replace("rsa_bits = 4096", "rsa_bits = 2048") + FIFTH_KEY


def _operator(name, public_key, scopes, statement="rebuild"):
    return _OPERATOR.format(name=name, public_key=public_key.strip() + "\n", scopes=scopes, statement=statement)


def _tier(name, kind, purl, operators, threshold):
    listed = ", ".join(f'"{operator}"' for operator in operators)
    return _TIER.format(name=name, kind=kind, purl=purl, operators=listed, threshold=threshold)
