"""A service on loopback with real TLS, in front of the gate of standin.py; the whole is tested in tests/system."""

import ipaddress
import ssl
from datetime import UTC, datetime
from types import SimpleNamespace

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from attestor.api.listeners import Limits, Listener, TlsFiles, serve
from attestor.embedded.ca import CertificateAuthority
from tests.edges.api.standin import StandIn

ALL = frozenset({"read", "submit", "request", "operate"})
PUBLIC = frozenset({"read", "submit"})


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """Certificates of one private authority, and of a foreign one: paths by name, and fingerprints."""
    folder = tmp_path_factory.mktemp("tls")
    folder.chmod(0o700)
    now = datetime.now(UTC)  # noqa: TID251 - a test of TLS, whose clock is the system's
    ours = CertificateAuthority.create(folder / "ca", name="ours", now=now)
    theirs = CertificateAuthority.create(folder / "foreign", name="theirs", now=now)
    loopback = [ipaddress.ip_address("127.0.0.1")]
    server = ours.issue("server", server_names=["localhost"], ips=loopback, client=False, valid_days=9, now=now)
    client = ours.issue("build", client=True, valid_days=9, now=now)
    stranger = theirs.issue("stranger", client=True, valid_days=9, now=now)
    return SimpleNamespace(
        ca=folder / "ca" / "ca.pem",
        server=server.write(folder / "s"),
        client=client.write(folder / "c"),
        stranger=stranger.write(folder / "x"),
        fingerprint=client.client_fingerprint,
    )


@pytest.fixture
def tls_files(keys):
    return TlsFiles(*keys.server, client_ca=keys.ca)


@pytest.fixture
def context(keys):
    """`context(pair)` is a client's TLS with that certificate, or without one."""

    def make(pair=None, version=ssl.TLSVersion.TLSv1_3):
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        made.load_verify_locations(cafile=keys.ca)
        if version is ssl.TLSVersion.TLSv1_2:
            made.maximum_version = version
        if pair:
            made.load_cert_chain(*pair)
        return made

    return make


@pytest.fixture
def gate():
    return StandIn()


@pytest.fixture
async def start(gate):
    """`await start(listener, ...)` serves the stand-in; everything is stopped after the test."""
    started = []

    async def run(*listeners, **options):
        options.setdefault("limits", Limits(drain_seconds=2))
        options.setdefault("registry", CollectorRegistry())
        running = await serve(listeners, gate, **options)
        started.append(running)
        return running

    yield run
    for running in started:
        await running.stop()


@pytest.fixture
async def public(start):
    """The base URL of a plain listener for reading and submitting, with operate on loopback."""
    running = await start(Listener("127.0.0.1:0", PUBLIC | {"operate"}))
    return f"http://127.0.0.1:{running.addresses[0][1]}"


@pytest.fixture
async def private(start, tls_files):
    """The base URL of a mutual TLS listener for everybody."""
    running = await start(Listener("127.0.0.1:0", ALL, tls_files))
    return f"https://127.0.0.1:{running.addresses[0][1]}"


@pytest.fixture
async def http():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def https(keys, context):
    """A session with the known client's certificate."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context(keys.client))) as session:
        yield session
