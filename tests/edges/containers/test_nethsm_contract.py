"""One contract, run on the emulator and, where an engine answers, on Nitrokey's own NetHSM image alike."""

import hashlib
import ssl
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime

import pytest

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Forbidden
from attestor.core.secret import Secret
from attestor.embedded.device import emulator
from attestor.hsm.connection import NodeSettings
from attestor.hsm.device import Device, DeviceSettings
from attestor.hsm.keys import SigningKey
from attestor.hsm.plan import Certificates, KeyPlan, NamespacePlan, Plan
from attestor.hsm.provision import provision
from attestor.openpgp.certificate import draft_certificate, parse_certificate
from attestor.openpgp.signature import draft_signature, verify_signature
from tests.edges.hsm.nodes import count_nowhere

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PASSPHRASE = "a passphrase for tests"
CONTENT = b"the bytes of a package"


@asynccontextmanager
async def emulated(folder, _request):
    async with emulator(folder / "nethsm") as device:
        yield NodeSettings(url=device.url, fingerprint=device.fingerprint)


@asynccontextmanager
async def contained(_folder, request):
    request.getfixturevalue("engine")
    with nethsm_container() as (host, port):
        certificate = ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((host, port)))
        yield NodeSettings(url=f"https://{host}:{port}", fingerprint=hashlib.sha256(certificate).hexdigest())


@contextmanager
def nethsm_container():
    from testcontainers.core.container import DockerContainer
    from testcontainers.core.wait_strategies import PortWaitStrategy

    container = DockerContainer("nitrokey/nethsm:testing").with_exposed_ports(8443).waiting_for(PortWaitStrategy(8443))
    with container as started:
        yield started.get_container_host_ip(), int(started.get_exposed_port(8443))


def key_plan(algorithm):
    return KeyPlan(
        key_id=f"key-{algorithm}",
        algorithm=algorithm,
        operator=f"operator-{algorithm}",
        passphrase=Secret(f"{PASSPHRASE} {algorithm}"),
        tag=f"tag-{algorithm}",
        user_id=f"{algorithm} <{algorithm}@example.org>",
        rsa_bits=2048 if algorithm is Algorithm.RSA else None,
    )


PLAN = Plan(
    unlock=Secret(f"{PASSPHRASE} unlock"),
    admin=Secret(f"{PASSPHRASE} admin"),
    unattended_boot=True,
    namespaces=(
        NamespacePlan(
            name="release",
            administrator="admin",
            passphrase=Secret(f"{PASSPHRASE} namespace"),
            keys=tuple(key_plan(algorithm) for algorithm in Algorithm),
        ),
    ),
)


def signing_key(algorithm, passphrase=None):
    return SigningKey(
        name=str(algorithm),
        key_id=f"key-{algorithm}",
        user=f"release~operator-{algorithm}",
        passphrase=Secret(passphrase or f"{PASSPHRASE} {algorithm}"),
        algorithm=algorithm,
    )


def device_at(node):
    return Device(DeviceSettings(nodes=(node,), slots=2, deadline_seconds=20, production=False), count_nowhere)


@pytest.mark.parametrize("place", [emulated, contained])
async def test_a_device_is_provisioned_signs_with_every_key_type_and_knows_its_users(place, tmp_path, request):
    certificates = Certificates(draft_certificate, parse_certificate)
    async with place(tmp_path, request) as node:
        made = await provision(node, PLAN, certificates, now=NOW, production=False)
        again = await provision(node, PLAN, certificates, now=NOW, production=False)
        device = device_at(node)
        for algorithm in Algorithm:
            await signs(device, signing_key(algorithm))
        with pytest.raises(Forbidden, match="hsm-login"):
            await device.sign(signing_key(Algorithm.P256, "not the passphrase"), bytes(64))
        device.close()

    assert made.made
    assert not again.made


async def signs(device, key):
    certificate = parse_certificate(await device.certificate(key))
    hasher = hashlib.sha512(CONTENT)
    draft = draft_signature(certificate, created=certificate.created, file_sha512=hasher.digest())
    signature = draft.seal(await device.sign(key, draft.digest(hasher)), hasher)
    assert verify_signature(certificate, signature, hasher).file_sha512 == hasher.digest()
