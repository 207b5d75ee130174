"""Who gets in: TLS 1.3, certificates of the private authority, and audiences that a listener does not serve."""

import asyncio
import contextlib
import ssl

import aiohttp
import pytest

from attestor.api.listeners import Listener, TlsFiles
from attestor.core.errors import Rejected, Unavailable


async def handshake(url, context):
    """The first bytes after a request; with TLS 1.3 a refusal of the client's certificate arrives only here."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", int(url.rpartition(":")[2]), ssl=context, server_hostname="localhost"
    )
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        return await reader.read()
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_the_known_client_is_its_keys_fingerprint_and_its_address(private, https, gate, keys):
    async with https.get(f"{private}/v1/signing-requests/11111111-2222-4333-8444-555555555555") as answer:
        assert answer.status == 404
    assert (gate.clients[0].fingerprint, gate.clients[0].address) == (keys.fingerprint, "127.0.0.1")


async def test_headers_say_nothing_about_who_a_client_is(public, start, http, gate, keys):
    headers = {"X-Forwarded-For": "10.0.0.1", "Forwarded": "for=10.0.0.1", "X-Client-Cert": keys.fingerprint}
    async with http.get(f"{public}/v1/releases", headers=headers) as answer:
        assert answer.status == 200
    assert gate.clients == []


@pytest.mark.parametrize("who", ["nobody", "stranger"])
async def test_without_a_certificate_of_the_authority_no_request_is_answered(private, context, keys, who):
    try:
        answered = await handshake(private, context(getattr(keys, who, None)))
    except (ssl.SSLError, ConnectionError):
        answered = b""
    assert answered == b""


async def test_with_the_authoritys_certificate_the_same_request_is_answered(private, context, keys):
    assert (await handshake(private, context(keys.client))).startswith(b"HTTP/1.1 200 ")


async def test_tls_1_2_is_refused(private, context, keys):
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await handshake(private, context(keys.client, ssl.TLSVersion.TLSv1_2))


async def test_a_listener_for_readers_has_no_url_of_other_audiences(start, http):
    running = await start(Listener("127.0.0.1:0", frozenset({"read"})))
    base = f"http://127.0.0.1:{running.addresses[0][1]}"
    for path in ("/v1/signing-requests", "/v1/attestations", "/metrics", "/readyz"):
        async with http.get(base + path) as answer:
            assert (path, answer.status, (await answer.json())["code"]) == (path, 404, "not-found")
    async with http.get(f"{base}/healthz") as answer:
        assert answer.status == 200


@pytest.mark.parametrize(
    ("address", "audiences", "code"),
    [
        pytest.param("127.0.0.1:0", {"request"}, "listener-without-client-ca", id="requests without mutual TLS"),
        pytest.param("0.0.0.0:0", {"operate"}, "listener-without-client-ca", id="metrics for the whole network"),
        pytest.param("127.0.0.1:0", set(), "listener-without-audience", id="an empty list serves nobody"),
        pytest.param("127.0.0.1", {"read"}, "listener-address", id="no port"),
        pytest.param("127.0.0.1:65536", {"read"}, "listener-address", id="a port that is none"),
        pytest.param(":80", {"read"}, "listener-address", id="no host"),
    ],
)
async def test_a_listener_that_would_let_the_wrong_people_in_is_refused(start, address, audiences, code):
    with pytest.raises(Rejected) as refused:
        await start(Listener(address, frozenset(audiences)))
    assert refused.value.code == code


async def test_tls_without_a_client_authority_does_not_serve_requests(start, keys):
    with pytest.raises(Rejected) as refused:
        await start(Listener("127.0.0.1:0", frozenset({"request"}), TlsFiles(*keys.server)))
    assert refused.value.code == "listener-without-client-ca"


async def test_files_that_are_no_certificates_are_named(start, keys, tmp_path):
    (tmp_path / "no.pem").write_text("no certificate")
    with pytest.raises(Rejected) as refused:
        await start(Listener("127.0.0.1:0", frozenset({"read"}), TlsFiles(tmp_path / "no.pem", keys.server[1])))
    assert refused.value.code == "listener-tls"


async def test_a_taken_port_closes_the_listeners_that_were_open_already(start, http):
    taken = await start(Listener("127.0.0.1:0", frozenset({"read"})))
    with pytest.raises(Unavailable) as refused:
        await start(
            Listener("127.0.0.1:0", frozenset({"read"})),
            Listener(f"127.0.0.1:{taken.addresses[0][1]}", frozenset({"read"})),
        )
    assert refused.value.code == "listener-in-use"


async def test_more_connections_than_the_listener_takes_are_closed_at_once(start):
    running = await start(Listener("127.0.0.1:0", frozenset({"read"}), connections=2))
    opened = [await asyncio.open_connection(*running.addresses[0]) for _ in range(3)]
    for _, writer in opened[:2]:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    answers = [await reader.read(12) for reader, _ in opened[:2]]
    assert answers == [b"HTTP/1.1 200"] * 2
    with contextlib.suppress(ConnectionError):
        assert await opened[2][0].read() == b""
    for _, writer in opened:
        writer.close()


async def test_https_public_listeners_need_no_certificate_of_the_client(start, keys, context):
    running = await start(Listener("127.0.0.1:0", frozenset({"read"}), TlsFiles(*keys.server)))
    url = f"https://127.0.0.1:{running.addresses[0][1]}/healthz"
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context())) as session,
        session.get(url) as answer,
    ):
        assert answer.status == 200
