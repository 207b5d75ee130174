"""One POST, against a real server that fails in the ways that services do."""

import asyncio
import json
import ssl
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from ipaddress import ip_address

import pytest
from aiohttp import web

from attestor.core.errors import AttestorError, Exhausted, Forbidden, Missing, Rejected, TooLarge, Unavailable
from attestor.embedded.ca import CertificateAuthority
from rebuilders.submission import MEDIA_TYPE, Service, submit

RECEIPT = {
    "payloadDigest": "ab" * 32,
    "replay": False,
    "aMemberOfTomorrow": {"x": 1},
    "releases": [
        {
            "id": "cd" * 32,
            "kind": "package",
            "purl": "pkg:alpm/arch/x@1-1?arch=any",
            "fileName": "x-1-1-any.pkg.tar.zst",
            "state": "pending",
            "agreeing": ["berlin"],
            "dissenting": [],
            "equivocating": [],
            "missing": 1,
            "tier": "packages",
        }
    ],
}


def problem(status, code="some-code", detail="What was wrong.", headers=None):
    body = {"type": f"urn:attestor:problem:{code}", "title": "t", "status": status, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json", headers=headers)


def receipt(status=201):
    return web.json_response(RECEIPT, status=status)


async def drop(request):
    request.transport.abort()
    return web.Response()


async def hang(request):
    await asyncio.sleep(30)
    return web.Response()


@asynccontextmanager
async def serving(*answers, tls=None):
    """A server that gives these answers in turn, the last one for ever; yields its URL and the bodies it got."""
    got = []

    async def answer(request):
        got.append((await request.read(), request.headers["Content-Type"], time.monotonic()))
        one = answers[min(len(got), len(answers)) - 1]
        return await one(request) if asyncio.iscoroutinefunction(one) else one()

    app = web.Application()
    app.router.add_post("/v1/attestations", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{port}", got
    finally:
        await runner.cleanup()


async def test_an_accepted_envelope_gives_its_receipt_and_members_of_tomorrow_are_ignored():
    async with serving(receipt) as (url, got):
        read, answer = await submit(Service(url, 5), b"envelope")
    assert [one[:2] for one in got] == [(b"envelope", MEDIA_TYPE)]
    assert (read.payload_digest, read.replay, read.releases[0].state, read.releases[0].missing) == (
        "ab" * 32,
        False,
        "pending",
        1,
    )
    assert json.loads(answer) == RECEIPT


PASSING = [
    pytest.param([lambda: problem(503)], id="503"),
    pytest.param([lambda: web.Response(status=502, text="<html>")], id="502 of a proxy"),
    pytest.param([lambda: problem(429, headers={"Retry-After": "0"})], id="429 that says when"),
    pytest.param([drop], id="a connection that is dropped"),
    pytest.param([lambda: problem(503), drop, lambda: problem(504)], id="three troubles one after the other"),
]


@pytest.mark.parametrize("troubles", PASSING)
async def test_what_may_pass_is_tried_again_with_the_same_bytes(troubles):
    async with serving(*troubles, receipt) as (url, got):
        read, _ = await submit(Service(url, 20), b"envelope")
    assert read.payload_digest == "ab" * 32
    assert [one[0] for one in got] == [b"envelope"] * (len(troubles) + 1)


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_waited_for(status):
    async with serving(lambda: problem(status, headers={"Retry-After": "1"}), receipt) as (url, got):
        await submit(Service(url, 5), b"envelope")
    assert 1 <= got[1][2] - got[0][2] < 2


async def test_a_retry_after_beyond_the_deadline_is_not_waited_for():
    began = time.monotonic()
    async with serving(lambda: problem(503, "too-busy", headers={"Retry-After": "9999999999"})) as (url, got):
        with pytest.raises(Unavailable) as failure:
            await submit(Service(url, 2), b"envelope")
    assert (failure.value.code, len(got)) == ("too-busy", 1)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        pytest.param(lambda: problem(503, "database-away"), "database-away", id="a service that stays away"),
        pytest.param(drop, "server-unreachable", id="connections that always drop"),
        pytest.param(hang, "server-unreachable", id="a server that never answers"),
    ],
)
async def test_tries_end_with_the_deadline_and_the_last_reason(trouble, code):
    began = time.monotonic()
    async with serving(trouble) as (url, _):
        with pytest.raises(Unavailable) as failure:
            await submit(Service(url, 1.5), b"envelope")
    assert failure.value.code == code
    assert time.monotonic() - began < 3


async def test_nobody_listening_is_unavailable():
    with pytest.raises(Unavailable) as failure:
        await submit(Service("http://127.0.0.1:9", 0.3), b"envelope")
    assert failure.value.code == "server-unreachable"


FINAL = [
    pytest.param(400, Rejected, id="400"),
    pytest.param(403, Forbidden, id="403"),
    pytest.param(404, Missing, id="404"),
    pytest.param(413, TooLarge, id="413"),
    pytest.param(422, Rejected, id="422"),
    pytest.param(429, Exhausted, id="429 that names no time"),
    pytest.param(500, Unavailable, id="500"),
]


@pytest.mark.parametrize(("status", "error"), FINAL)
async def test_a_refusal_is_final_and_tells_the_problems_code_and_detail(status, error):
    async with serving(lambda: problem(status, "key-out-of-scope", "Not yours.")) as (url, got):
        with pytest.raises(AttestorError) as failure:
            await submit(Service(url, 5), b"envelope")
    assert type(failure.value) is error
    assert (failure.value.code, failure.value.sentence, len(got)) == ("key-out-of-scope", "Not yours.", 1)


ODD = [
    pytest.param(
        lambda: web.Response(status=418, text="<html>"), "http-418", id="a refusal that is no problem document"
    ),
    pytest.param(lambda: web.json_response({"status": 422}, status=422), "http-422", id="a problem without type"),
    pytest.param(lambda: web.Response(status=302, headers={"Location": "/elsewhere"}), "http-302", id="a redirect"),
    pytest.param(lambda: web.Response(status=200, text="ok"), "answer-unreadable", id="a receipt that is not JSON"),
    pytest.param(lambda: web.json_response({"releases": []}), "answer-unreadable", id="a receipt without digest"),
    pytest.param(lambda: web.Response(body=bytes(2 << 20)), "answer-unreadable", id="an endless answer"),
]


@pytest.mark.parametrize(("answer", "code"), ODD)
async def test_an_odd_answer_is_an_error_of_its_own(answer, code):
    async with serving(answer) as (url, got):
        with pytest.raises(Rejected) as failure:
            await submit(Service(url, 5), b"envelope")
    assert (failure.value.code, len(got)) == (code, 1)


async def test_what_a_service_says_cannot_move_the_terminals_cursor():
    async with serving(lambda: problem(422, "a\x1b[2Jb", "x\x1b]0;owned\x07\u202ey")) as (url, _):
        with pytest.raises(Rejected) as failure:
            await submit(Service(url, 5), b"envelope")
    assert str(failure.value) == "x?]0;owned??y [a?[2Jb]"


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "ftp://localhost",
        "example.org",
        "https://",
        "https://user:pw@example.org",
        "https://h/?x=1",
        "https://[",
        "",
    ],
)
async def test_a_server_that_is_not_https_or_this_machine_is_refused_before_anything_is_sent(url):
    with pytest.raises(Rejected) as failure:
        await submit(Service(url, 5), b"envelope")
    assert failure.value.code == "server-url"


@pytest.fixture
def ca(tmp_path):
    return CertificateAuthority.create(tmp_path / "ca", name="test", now=_now())


def _now():
    return datetime.now(UTC)  # noqa: TID251 - OpenSSL compares the certificate with the real clock


@pytest.fixture
def server_tls(ca, tmp_path):
    issued = ca.issue("service", ips=[ip_address("127.0.0.1")], client=False, valid_days=1, now=_now())
    (tmp_path / "pair").mkdir(mode=0o700)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*issued.write(tmp_path / "pair"))
    return context


async def test_a_service_is_trusted_by_the_ca_that_is_given(server_tls, tmp_path):
    async with serving(receipt, tls=server_tls) as (url, _):
        read, _ = await submit(Service(url, 5, tmp_path / "ca" / "ca.pem"), b"envelope")
    assert read.payload_digest == "ab" * 32


async def test_a_service_whose_ca_is_unknown_is_refused_at_once(server_tls):
    async with serving(receipt, tls=server_tls) as (url, got):
        with pytest.raises(Rejected) as failure:
            await submit(Service(url, 5), b"envelope")
    assert (failure.value.code, got) == ("tls-refused", [])


async def test_nothing_is_sent_over_tls_1_2(server_tls, tmp_path):
    server_tls.maximum_version = ssl.TLSVersion.TLSv1_2
    async with serving(receipt, tls=server_tls) as (url, got):
        # Which of the two depends on whether the alert or the end of the connection is seen first.
        with pytest.raises((Rejected, Unavailable)) as failure:
            await submit(Service(url, 0.5, tmp_path / "ca" / "ca.pem"), b"envelope")
    assert failure.value.code in {"tls-refused", "server-unreachable"}
    assert got == []


async def test_a_ca_file_that_holds_no_certificate_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("nothing")
    with pytest.raises(Rejected) as failure:
        await submit(Service("https://127.0.0.1:9", 5, tmp_path / "ca.pem"), b"envelope")
    assert failure.value.code == "ca-unreadable"
