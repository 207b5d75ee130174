"""The served API and the client on both ends of real TLS; the gate behind it is the api room's stand-in."""

import pytest

from attestor.client.calls import AttestorClient
from attestor.client.tls import client_tls
from tests.edges.api.conftest import gate, http, keys, private, public, start, tls_files  # noqa: F401 - fixtures


@pytest.fixture
async def client(private, keys):  # noqa: F811 - fixtures by name
    tls = client_tls(ca=keys.ca, certificate=keys.client[0], key=keys.client[1])
    async with AttestorClient(private, tls=tls, patience_seconds=2) as made:
        yield made
