"""Attestations over HTTP: limits before reading, the bad-input table, and batches that go both ways at once."""

import asyncio
import json

import pytest
from yarl import URL

from attestor.api.batch import MAX_BATCH_BYTES, MAX_LINES
from attestor.api.listeners import Limits, Listener
from attestor.core.envelope import MAX_ENVELOPE_BYTES

JSON = {"Content-Type": "application/json"}
NDJSON = {"Content-Type": "application/x-ndjson"}


async def connection(url):
    return await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))


async def head_of(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return int(lines[0].split()[1]), {
        name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
    }


def unchunked(raw):
    """The body of a whole chunked answer (RFC 9112 §7.1)."""
    rest, body = raw.partition(b"\r\n\r\n")[2], []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return b"".join(body)


def problem(document):
    assert set(document) == {"type", "title", "status", "detail", "code", "requestId"}
    assert document["type"] == f"urn:attestor:problem:{document['code']}"
    return document["status"], document["code"]


async def test_a_new_attestation_is_created_and_the_same_again_is_ok(public, http):
    for status in (201, 200):
        async with http.post(f"{public}/v1/attestations", data=b'{"a": 1}', headers=JSON) as answer:
            assert answer.status == status
            assert answer.headers["X-Request-Id"]
            assert (await answer.json())["replay"] is (status == 200)


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        pytest.param("POST", "/v1/attestations", JSON, b"x", 400, "not-json", id="not JSON"),
        pytest.param("POST", "/v1/attestations", JSON, b"", 400, "not-json", id="an empty body"),
        pytest.param("POST", "/v1/attestations", {"Content-Type": "text/plain"}, b"{}", 415, "media-type", id="a wrong content type"),
        pytest.param("POST", "/v1/attestations", JSON | {"Content-Encoding": "gzip"}, b"{}", 415, "content-encoding", id="a compressed body"),
        pytest.param("POST", "/v1/attestations?a=b", JSON, b"{}", 400, "query-invalid", id="a parameter that nobody reads"),
        pytest.param("POST", "/v1/attestations", JSON, b" " * (MAX_ENVELOPE_BYTES + 1), 413, "body-too-large", id="one byte too many"),
        pytest.param("PUT", "/v1/attestations", JSON, b"{}", 405, "method-not-allowed", id="a wrong method"),
        pytest.param("DELETE", "/v1/releases", {}, b"", 405, "method-not-allowed", id="nothing can be deleted"),
        pytest.param("GET", "/v1/nothing", {}, b"", 404, "not-found", id="an unknown URL"),
        pytest.param("GET", "/v1/releases/" + "AB" * 32, {}, b"", 404, "not-found", id="an id in capitals"),
        pytest.param("GET", "/v1/releases/" + "0" * 64, {}, b"", 404, "release-unknown", id="a release that nobody attested"),
        pytest.param("GET", "/v1/releases/%2e%2e/", {}, b"", 404, "not-found", id="a path that wants out"),
        pytest.param("POST", "/v1/attestations:batch", JSON, b"{}", 415, "media-type", id="a batch that is no NDJSON"),
    ],
)  # fmt: skip
async def test_bad_input_gets_its_problem(*, public, http, gate, method, path, headers, body, status, code):
    async with http.request(method, URL(public + path, encoded=True), headers=headers, data=body) as answer:
        assert answer.content_type == "application/problem+json"
        assert problem(await answer.json()) == (status, code)
        assert answer.headers["X-Request-Id"] == (await answer.json())["requestId"]
        assert ("Allow" in answer.headers) == (status == 405)
    assert gate.known == set()


async def test_allow_names_the_methods_that_there_are(public, http):
    async with http.put(f"{public}/v1/releases") as answer:
        assert answer.headers["Allow"] == "GET, HEAD"


async def test_head_answers_as_get_does_without_a_body(public, http):
    async with http.head(f"{public}/v1/releases") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert int(answer.headers["Content-Length"]) > 100


async def test_what_nobody_foresaw_is_answered_without_any_detail(public, http):
    async with http.post(f"{public}/v1/attestations", data=b"explode", headers=JSON) as answer:
        text = await answer.text()
    assert problem(json.loads(text)) == (500, "internal")
    assert "secret" not in text


async def test_an_announced_oversize_is_refused_before_a_byte_of_it_is_read(public, gate):
    reader, writer = await connection(public)
    writer.write(b"POST /v1/attestations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % (MAX_ENVELOPE_BYTES + 1))
    status, headers = await head_of(reader)
    assert (status, headers["connection"]) == (413, "close")
    writer.close()


async def test_an_endless_chunked_body_is_cut_soon_after_the_limit(public):
    reader, writer = await connection(public)
    writer.write(
        b"POST /v1/attestations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    sent = 0
    while not reader._buffer and sent < 64 << 20:
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        sent += 0x10000
        await writer.drain()
        await asyncio.sleep(0)
    status, _ = await head_of(reader)
    assert status == 413
    assert sent < 8 << 20  # what fits into the sockets' buffers, and not the 64 MiB that were there to send
    writer.close()


async def test_a_client_that_asks_first_is_refused_without_sending_its_body(public):
    reader, writer = await connection(public)
    writer.write(
        b"POST /v1/attestations HTTP/1.1\r\nHost: x\r\nContent-Type: text/html\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
    )
    assert (await head_of(reader))[0] == 415
    writer.close()


async def test_a_client_that_asks_first_is_told_to_go_on(public):
    reader, writer = await connection(public)
    writer.write(
        b"POST /v1/attestations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    assert (await head_of(reader))[0] == 100
    writer.write(b"{}")
    assert (await head_of(reader))[0] == 201
    writer.close()


async def test_a_body_that_ends_before_its_end_keeps_nothing(public, gate, http):
    _, writer = await connection(public)
    writer.write(
        b'POST /v1/attestations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"a":'
    )
    await writer.drain()
    writer.close()
    async with http.get(f"{public}/healthz") as answer:
        assert answer.status == 200
    assert gate.known == set()


async def test_a_body_that_dribbles_is_given_up(public, monkeypatch):
    monkeypatch.setattr("attestor.api.bodies._WHOLE_SECONDS", 0.2)
    reader, writer = await connection(public)
    writer.write(
        b"POST /v1/attestations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
    )
    assert (await head_of(reader))[0] == 408
    writer.close()


async def test_more_submissions_at_once_than_the_house_takes_are_told_to_come_back(start, gate, http):
    gate.hold = asyncio.Event()
    running = await start(Listener("127.0.0.1:0", frozenset({"submit"})), limits=Limits(submissions=2, drain_seconds=2))
    url = f"http://127.0.0.1:{running.addresses[0][1]}/v1/attestations"
    posts = [asyncio.create_task(http.post(url, data=b'{"n": %d}' % n, headers=JSON)) for n in range(3)]
    done, _ = await asyncio.wait(posts, return_when=asyncio.FIRST_COMPLETED)
    refused = done.pop().result()
    assert (refused.status, refused.headers["Retry-After"]) == (503, "1")
    assert problem(await refused.json()) == (503, "busy")
    gate.hold.set()
    assert sorted([(await post).status for post in posts]) == [201, 201, 503]


async def batch(http, url, body):
    async with http.post(f"{url}/v1/attestations:batch", data=body, headers=NDJSON) as answer:
        assert answer.content_type == "application/x-ndjson"
        return [json.loads(line) for line in (await answer.read()).splitlines()]


def outcomes(lines):
    return [(line["line"], line["problem"]["code"] if "problem" in line else "ok") for line in lines]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(b"", [], id="no line has no answer"),
        pytest.param(b"{}\n{}\n", ["ok", "ok"], id="each line is answered"),
        pytest.param(b"{}\n{}", ["ok", "ok"], id="a complete last line needs no line end"),
        pytest.param(b'{}\n{"a":', ["ok", "line-truncated"], id="a batch that ends in the middle of a line"),
        pytest.param(b"{}\n{forbidden}\n{}\n", ["ok", "unknown-key", "ok"], id="a bad line does not stop the others"),
        pytest.param(b"{}\n" + b"x" * (MAX_ENVELOPE_BYTES + 1) + b"\n{}\n", ["ok", "line-too-long", "ok"], id="an oversized line costs itself"),
        pytest.param(b"x" * (3 * MAX_ENVELOPE_BYTES) + b"\n{}\n", ["line-too-long", "ok"], id="a much oversized line too"),
        pytest.param(b"{}\n{explode}\n{}\n", ["ok", "internal"], id="what nobody foresaw ends the batch with a problem"),
    ],
)  # fmt: skip
async def test_each_line_of_a_batch_is_answered_in_its_place(public, http, body, expected):
    lines = await batch(http, public, body)
    assert outcomes(lines) == list(enumerate(expected, start=1))
    assert all(problem(line["problem"]) for line in lines if "problem" in line)


async def test_lines_over_the_count_get_one_problem_and_the_batch_stops(public, http, gate):
    lines = await batch(http, public, b"{}\n" * (MAX_LINES + 5))
    assert outcomes(lines[-2:]) == [(MAX_LINES, "ok"), (MAX_LINES + 1, "batch-too-long")]
    assert gate.lines == MAX_LINES


async def test_a_batch_that_is_announced_too_large_is_refused_at_once(public):
    reader, writer = await connection(public)
    writer.write(b"POST /v1/attestations:batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % (MAX_BATCH_BYTES + 1))
    assert (await head_of(reader))[0] == 413
    writer.close()


async def test_a_client_that_reads_nothing_while_it_sends_all_lines_is_not_stopped(public, gate):
    """10,000 answers are about 9 MB: far more than sockets hold, so this hangs where writing stops reading."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(public.rpartition(":")[2]))
    body = b'{"n": 1}\n' * MAX_LINES
    reader._transport.pause_reading()
    writer.write(b"POST /v1/attestations:batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n" % len(body))
    async with asyncio.timeout(20):
        for start in range(0, len(body), 4096):
            writer.write(body[start : start + 4096])
            await writer.drain()
        while gate.lines < MAX_LINES:  # noqa: ASYNC110 - the stand-in only counts
            await asyncio.sleep(0.01)
        reader._transport.resume_reading()
        raw = await reader.read()
    assert unchunked(raw).count(b'"receipt"') == MAX_LINES
    writer.close()


async def test_answers_come_while_the_batch_is_still_being_sent(public):
    reader, writer = await connection(public)
    writer.write(
        b"POST /v1/attestations:batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    async with asyncio.timeout(5):
        for number in (1, 2, 3):
            writer.write(b"3\r\n{}\n\r\n")
            if number == 1:
                assert (await head_of(reader))[0] == 200
            assert b'"line":%d,' % number in await reader.readuntil(b"}\n")
        writer.write(b"0\r\n\r\n")
        assert b"0\r\n\r\n" in await reader.read()
    writer.close()


async def test_a_batch_that_stalls_keeps_its_lines_and_says_so(public, monkeypatch, gate):
    monkeypatch.setattr("attestor.api.bodies._STALL_SECONDS", 0.2)
    reader, writer = await connection(public)
    writer.write(
        b"POST /v1/attestations:batch HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: 99\r\n\r\n{}\n{}"
    )
    raw = await reader.read()
    assert raw.index(b'"receipt"') < raw.index(b'"body-too-slow"')
    writer.close()
