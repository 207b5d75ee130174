"""As whom a submission is counted: the peer's address, and what is said of it only where a named proxy says so."""

from ipaddress import ip_network

import aiohttp
import pytest

from attestor.api.listeners import Listener
from attestor.core.errors import Rejected
from tests.edges.api.conftest import PUBLIC

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def behind(start, http, gate):
    """`await behind(proxies, *headers)` is the status, the code, and as whom the gate counted the submission."""

    async def post(proxies, *said, name="X-Forwarded-For"):
        running = await start(Listener("127.0.0.1:0", PUBLIC, proxies=tuple(map(ip_network, proxies))))
        headers = [*JSON.items(), *((name, each) for each in said)]
        url = f"http://127.0.0.1:{running.addresses[0][1]}/v1/attestations"
        async with http.post(url, data=b"{}", headers=headers) as answer:
            return answer.status, (await answer.json()).get("code"), gate.peers[-1] if gate.peers else None

    return post


US = "127.0.0.0/8"


@pytest.mark.parametrize(
    ("proxies", "said", "counted"),
    [
        pytest.param([], ["198.51.100.9"], "127.0.0.1", id="nobody is named: the header is nobody's"),
        pytest.param(["192.0.2.10"], ["198.51.100.9"], "127.0.0.1", id="another is named than who calls"),
        pytest.param([US], ["198.51.100.9"], "198.51.100.9", id="a named proxy says for whom"),
        pytest.param([US], [], "127.0.0.1", id="a named proxy that calls for itself"),
        pytest.param([US], ["203.0.113.1, 198.51.100.9"], "198.51.100.9", id="what the client wrote stands left"),
        pytest.param([US], ["nonsense, 198.51.100.9"], "198.51.100.9", id="and is never read"),
        pytest.param([US], ["203.0.113.1", "198.51.100.9"], "198.51.100.9", id="of two lines the last is the proxy's"),
        pytest.param([US, "192.0.2.10"], ["203.0.113.1, 198.51.100.9, 192.0.2.10"], "198.51.100.9", id="two proxies, one behind the other"),
        pytest.param([US, "192.0.2.10"], ["198.51.100.9", "192.0.2.10"], "198.51.100.9", id="the same in two lines"),
        pytest.param([US, "192.0.2.10"], ["192.0.2.10"], "192.0.2.10", id="a proxy that calls through another"),
        pytest.param([US, "2001:db8::/64"], ["198.51.100.9,2001:db8::7"], "198.51.100.9", id="an IPv6 proxy"),
        pytest.param([US], ["2001:db8::9"], "2001:db8::9", id="an IPv6 client"),
        pytest.param([US], ["::ffff:198.51.100.9"], "198.51.100.9", id="IPv4 in IPv6 is IPv4"),
    ],
)  # fmt: skip
async def test_a_submission_is_counted_as(behind, proxies, said, counted):
    assert await behind(proxies, *said) == (201, None, counted)


@pytest.mark.parametrize(
    "said",
    [
        ["nonsense"],
        [""],
        ["198.51.100.9,"],
        ["198.51.100.9:443"],
        ["unknown"],
        ["198.51.100.9 198.51.100.8"],
        ["unix:0"],
    ],
)
async def test_what_a_named_proxy_says_must_be_an_address(behind, said):
    assert await behind([US], *said) == (400, "forwarded-malformed", None)


async def test_malformed_words_of_anyone_else_are_not_looked_at(behind):
    assert await behind(["192.0.2.10"], "nonsense") == (201, None, "127.0.0.1")


async def test_forwarded_of_rfc_7239_is_read_from_nobody(behind):
    assert await behind([US], "for=198.51.100.9", name="Forwarded") == (201, None, "127.0.0.1")


async def test_a_batch_is_counted_as_one_peer_too(start, http, gate):
    running = await start(Listener("127.0.0.1:0", PUBLIC, proxies=(ip_network(US),)))
    headers = {"Content-Type": "application/x-ndjson", "X-Forwarded-For": "198.51.100.9"}
    url = f"http://127.0.0.1:{running.addresses[0][1]}/v1/attestations:batch"
    async with http.post(url, data=b'{"a":1}\n', headers=headers) as answer:
        await answer.read()
    assert gate.peers == ["198.51.100.9"]


async def test_a_listener_that_knows_its_clients_stands_behind_no_proxy(start, tls_files):
    with pytest.raises(Rejected) as refused:
        await start(Listener("127.0.0.1:0", frozenset({"request"}), tls_files, proxies=(ip_network(US),)))
    assert refused.value.code == "listener-proxies"


async def test_what_is_no_http_is_answered_with_a_problem(public):
    from asyncio import open_connection

    reader, writer = await open_connection("127.0.0.1", int(public.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nbroken header\r\n\r\n")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert head.split(b" ")[1] == b"400"
    assert b"application/problem+json" in head
    assert b'"code":"http-malformed"' in body
    async with aiohttp.ClientSession() as session, session.get(f"{public}/metrics") as answer:
        assert 'attestor_http_problems_total{code="http-malformed"} 1.0' in await answer.text()
