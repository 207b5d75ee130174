"""Signing requests, polling and the last answers of a process that ends, over real mutual TLS."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime

import aiohttp
import pytest

from attestor.api.listeners import Listener
from attestor.core.suspects import Chosen

HEX = "ab" * 32
REQUEST = "11111111-2222-4333-8444-555555555555"
ASK = {
    "release": {"kind": "package", "purl": "pkg:alpm/arch/a@1-1?arch=any", "fileName": "a-1-1-any.pkg.tar.zst"},
    "artifact": {"size": 5, "sha256": HEX, "sha512": HEX * 2},
    "content": {"type": "upload"},
}


@pytest.fixture
def asks(private):
    return f"{private}/v1/signing-requests"


@pytest.fixture
async def asked(asks, https):
    async with https.post(asks, json=ASK) as answer:
        assert answer.status == 201
        return f"{asks}/{(await answer.json())['id']}"


async def test_asking_opens_a_request_and_asking_again_joins_it(asks, https):
    async with https.post(asks, json=ASK) as answer:
        assert (answer.status, answer.headers["Location"]) == (201, f"/v1/signing-requests/{REQUEST}")
    async with https.post(asks, json=ASK) as answer:
        assert answer.status == 200
        assert (await answer.json())["release"] == ASK["release"]


@pytest.mark.parametrize(
    ("change", "status", "code", "place"),
    [
        pytest.param({"artifact": {"size": "5", "sha256": HEX, "sha512": HEX * 2}}, 422, "ask-invalid", "$.artifact.size", id="a size that is text"),
        pytest.param({"artifact": {"size": 5, "sha256": HEX.upper(), "sha512": HEX * 2}}, 422, "ask-invalid", "$.artifact.sha256", id="a digest in capitals"),
        pytest.param({"artifact": {"size": 5, "sha256": HEX + "\n", "sha512": HEX * 2}}, 422, "ask-invalid", "$.artifact.sha256", id="a digest and a newline"),
        pytest.param({"extra": 1}, 422, "ask-invalid", "extra", id="a member that nobody knows"),
        pytest.param({"content": {"type": "magic"}}, 422, "ask-invalid", "$.content", id="a content of no kind"),
        pytest.param({"release": None}, 422, "ask-invalid", "$.release", id="no release"),
    ],
)  # fmt: skip
async def test_an_ask_that_does_not_fit_is_refused_with_its_place(*, asks, https, change, status, code, place):
    async with https.post(asks, json=ASK | change) as answer:
        problem = await answer.json()
    assert (answer.status, problem["code"]) == (status, code)
    assert place in problem["detail"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        pytest.param(b'{"release": 1, "release": 2}', 400, "duplicate-key", id="one name twice"),
        pytest.param(json.dumps(ASK).encode()[:-1], 400, "not-json", id="truncated"),
        pytest.param(b"[" * 40 + b"]" * 40, 400, "too-deep", id="nested without end"),
        pytest.param(b" " * 70_000, 413, "body-too-large", id="oversized"),
    ],
)
async def test_an_ask_with_two_meanings_or_none_is_refused(*, asks, https, gate, body, status, code):
    async with https.post(asks, data=body, headers={"Content-Type": "application/json"}) as answer:
        assert (answer.status, (await answer.json())["code"]) == (status, code)
    assert gate.view is None


async def test_an_upload_is_streamed_to_the_gate_and_its_signature_can_be_fetched(asked, https, gate):
    async with https.get(f"{asked}/signature") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "not-signed")
    piece = bytes(range(256)) * 4096

    async def body():
        for _ in range(8):
            yield piece

    headers = {"Content-Type": "application/octet-stream"}
    async with https.put(f"{asked}/content", data=body(), headers=headers, expect100=True) as answer:
        assert (answer.status, (await answer.json())["state"]) == (200, "signed")
    assert gate.uploaded.digest() == hashlib.sha256(piece * 8).digest()
    async with https.get(f"{asked}/signature") as answer:
        assert (answer.content_type, await answer.read()) == ("application/pgp-signature", b"\x88\x00signature")
        assert answer.headers["Content-Disposition"] == 'attachment; filename="a-1-1-any.pkg.tar.zst.sig"'


async def test_an_upload_that_breaks_off_is_no_upload(asked, private, context, keys, gate):
    _, writer = await asyncio.open_connection("127.0.0.1", int(private.rpartition(":")[2]), ssl=context(keys.client))
    path = asked.removeprefix(private).encode()
    writer.write(b"PUT " + path + b"/content HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n")
    writer.write(b"Content-Length: 1000000\r\n\r\n" + b"x" * 1000)
    async with asyncio.timeout(5):
        while gate.uploaded_bytes < 1000:  # noqa: ASYNC110 - the stand-in only counts
            await asyncio.sleep(0.01)
    writer.transport.abort()
    await asyncio.sleep(0.05)
    assert gate.view.content_present is False


async def test_withdrawing_twice_and_retrying_what_is_not_aside_are_conflicts(asked, https):
    for verb, status in (("withdraw", 200), ("withdraw", 409), ("retry", 409)):
        async with https.post(f"{asked}/{verb}") as answer:
            assert (verb, answer.status) == (verb, status)


async def test_what_the_client_has_already_is_not_sent_again(asked, https):
    async with https.get(asked) as answer:
        tag = answer.headers["ETag"]
        assert tag == f'"{hashlib.sha256(await answer.read()).hexdigest()}"'
        assert answer.headers["Cache-Control"] == "no-cache"
    for known, status in ((tag, 304), (f'W/{tag}, "x"', 304), ("*", 304), ('"x"', 200)):
        async with https.get(asked, headers={"If-None-Match": known}) as answer:
            assert (known, answer.status) == (known, status)
            assert answer.headers["ETag"] == tag
    async with https.post(f"{asked}/withdraw"):
        pass
    async with https.get(asked, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 200


@pytest.mark.parametrize("query", ["wait=61", "wait=-1", "wait=x", "wait=1&wait=2", "wat=1", "wait", "wait=%ff"])
async def test_a_query_that_does_not_fit_is_refused(asked, https, query):
    async with https.get(f"{asked}?{query}") as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "query-invalid")


async def test_filters_reach_the_gate_as_they_were_meant(public, http, gate):
    query = {"purl": "null", "file": "a b+c.zst", "digest": HEX, "state": "reached", "limit": "7"}
    async with http.get(f"{public}/v1/releases", params=query) as answer:
        assert answer.status == 200
    assert gate.wanted == {
        "purl": "null", "file_name": "a b+c.zst", "digest": HEX, "tier": None, "state": "reached", "cursor": None, "limit": 7
    }  # fmt: skip


async def test_which_suspects_are_asked_for_reaches_the_gate(public, http, gate):
    query = {"operator": "alice", "since": "2026-01-02T03:04:05+01:00", "cursor": HEX, "limit": "7"}
    async with http.get(f"{public}/v1/suspects", params=query) as answer:
        assert answer.status == 200
        [line] = (await answer.json())["releases"]
    moment = datetime(2026, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert gate.wanted == {"chosen": Chosen("alice", moment), "cursor": HEX, "limit": 7}
    assert (line["votes"][0]["operator"], line["reached"], line["decision"]) == ("one", False, 7)
    async with http.get(f"{public}/v1/suspects") as answer:
        assert answer.status == 200
    assert gate.wanted == {"chosen": Chosen(), "cursor": None, "limit": 500}


@pytest.mark.parametrize(
    "query",
    [
        "since=2026-01-02T03:04:05",
        "since=yesterday",
        "since=0.5",
        "since=2026-13-01T00:00:00Z",
        "operator=Alice",
        "operator=",
        "limit=0",
        "limit=501",
    ],
)
async def test_suspects_that_cannot_be_asked_for_so(public, http, query):
    async with http.get(f"{public}/v1/suspects?{query}") as answer:
        assert (answer.status, (await answer.json())["code"]) == (400, "query-invalid")


async def test_an_envelope_is_given_byte_for_byte(public, http):
    async with http.get(f"{public}/v1/releases/{HEX}/envelopes/one/{HEX}") as answer:
        assert await answer.read() == b'{"as":  "it came"}'


@pytest.mark.parametrize(
    ("query", "status"), [(f"digest={HEX}", 200), (f"digest={'1' * 64}", 404), ("digest=AB", 400), ("sha256=1", 400)]
)
async def test_a_bundle_is_of_the_bytes_that_are_asked_for(public, http, query, status):
    async with http.get(f"{public}/v1/releases/{HEX}/bundle?{query}") as answer:
        assert answer.status == status


async def test_a_bundle_is_json_that_can_be_polled(public, http):
    url = f"{public}/v1/releases/{HEX}/bundle"
    async with http.get(url) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        assert await answer.read() == b'{"type":"attestor-bundle"}'
        tag = answer.headers["ETag"]
    async with http.get(url, headers={"If-None-Match": tag}) as answer:
        assert answer.status == 304
    async with http.get(f"{public}/v1/releases/{'0' * 64}/bundle") as answer:
        assert (answer.status, (await answer.json())["code"]) == (404, "not-signed")


async def test_who_waits_is_answered_when_the_process_ends(start, tls_files, gate, https):
    running = await start(Listener("127.0.0.1:0", frozenset({"request"}), tls_files))
    base = f"https://127.0.0.1:{running.addresses[0][1]}/v1/signing-requests"
    async with https.post(base, json=ASK):
        pass
    waiting = asyncio.create_task(https.get(f"{base}/{REQUEST}?wait=60"))
    await gate.waiting.wait()
    async with asyncio.timeout(2):
        await running.stop()
        answer = await waiting
        assert (await answer.json())["state"] == "waiting"
    with pytest.raises(aiohttp.ClientConnectorError):
        await https.get(base)


async def test_a_submission_under_way_is_answered_when_the_process_ends(start, gate, http):
    gate.hold = asyncio.Event()
    running = await start(Listener("127.0.0.1:0", frozenset({"submit"})))
    url = f"http://127.0.0.1:{running.addresses[0][1]}/v1/attestations"
    posting = asyncio.create_task(http.post(url, data=b"{}", headers={"Content-Type": "application/json"}))
    await asyncio.sleep(0.1)
    stopping = asyncio.create_task(running.stop())
    await asyncio.sleep(0.1)
    assert not stopping.done()
    gate.hold.set()
    assert (await posting).status == 201
    await stopping
