"""The client says what the service said: the same types, the same errors, and patience only where it may help."""

import asyncio

import msgspec
import pytest
from aiohttp import web

from attestor.api import problems
from attestor.client.answers import error_of
from attestor.client.calls import AttestorClient
from attestor.client.patience import Unreachable, patiently
from attestor.client.tls import client_tls
from attestor.core.errors import (
    AttestorError,
    Conflict,
    Exhausted,
    Halted,
    Missing,
    OverRate,
    Rejected,
    Unavailable,
)
from attestor.core.wire import Artifact, ReleaseName, SigningRequestAsk, Upload

HEX = "ab" * 32
ASK = SigningRequestAsk(
    ReleaseName("package", "pkg:alpm/arch/a@1-1?arch=any", "a-1-1-any.pkg.tar.zst"), Artifact(5, HEX, HEX * 2), Upload()
)


async def test_what_is_submitted_and_read_comes_back_as_the_same_types(client):
    assert (await client.submit(b'{"a": 1}')).replay is False
    assert (await client.submit(b'{"a": 1}')).replay is True
    assert (await client.release(HEX)).decision.missing == 1
    assert len((await client.explain(HEX)).events) == 1
    assert (await client.envelope(HEX, "one", HEX)) == b'{"as":  "it came"}'
    assert (await client.bundle(HEX)) == (await client.bundle(HEX, HEX)) == b'{"type":"attestor-bundle"}'
    with pytest.raises(Missing):
        await client.bundle(HEX, "1" * 64)


async def test_filters_are_sent_and_absent_ones_are_not(client, gate):
    page = await client.releases(purl="pkg:a/b@1?arch=any&x", limit=3, cursor=None)
    assert page.releases[0].id == HEX
    assert (gate.wanted["purl"], gate.wanted["limit"], gate.wanted["cursor"]) == ("pkg:a/b@1?arch=any&x", 3, None)


async def test_suspects_are_read_as_they_were_meant(client, gate):
    page = await client.suspects(operator="alice", since="2026-01-02T03:04:05Z", cursor=None)
    assert (page.releases[0].votes[0].operator, page.policy_serial) == ("one", 2)
    assert (gate.wanted["chosen"].operator, gate.wanted["chosen"].since.isoformat()) == (
        "alice",
        "2026-01-02T03:04:05+00:00",
    )


async def test_a_request_lives_through_the_client(client):
    view = await client.ask(ASK)
    assert (view.state, view.content, (await client.request(view.id)).id) == ("waiting", Upload(), view.id)
    assert (await client.requests(state="waiting")).requests == (view,)
    assert (await client.withdraw(view.id)).state == "withdrawn"
    with pytest.raises(Conflict) as refused:
        await client.retry(view.id)
    assert refused.value.code == "request-state"


async def test_the_services_problem_is_raised_as_the_error_that_it_was(client):
    with pytest.raises(Missing) as refused:
        await client.release("0" * 64)
    assert refused.value.code == "release-unknown"
    assert "(request " in refused.value.sentence


@pytest.mark.parametrize("class_", problems.TABLE)
def test_each_error_of_the_table_comes_back_with_its_code_in_a_class_that_says_the_same(class_):
    error = problems.WrongMethod("PUT", "GET") if class_ is problems.WrongMethod else class_("a-code", "A sentence.")
    problem = problems.problem_of(error, "r1")
    answer = problems.refusal(error, problem)
    again = error_of(problem.status, answer.body)
    assert again.code == error.code
    # A client cannot tell what halted a service from what is merely away: it may try again later, with either.
    assert isinstance(again if class_ is Halted else error, Unavailable if class_ is Halted else type(again))


def test_an_answer_that_is_no_problem_is_an_error_that_says_so():
    assert (error_of(502, b"<html>").code, type(error_of(502, b"<html>"))) == ("answer-unreadable", Unavailable)


async def test_nobody_at_the_address_is_said_after_the_patience(unused_tcp_port):
    async with AttestorClient(f"http://127.0.0.1:{unused_tcp_port}", patience_seconds=0.3) as client:
        with pytest.raises(Unavailable) as refused:
            await client.release(HEX)
    assert refused.value.code == "unreachable"


async def test_a_server_of_another_authority_is_refused_at_once(private, keys):
    foreign = keys.ca.parent.parent / "foreign" / "ca.pem"
    async with AttestorClient(private, tls=client_tls(ca=foreign), patience_seconds=60) as client:
        with pytest.raises(Rejected) as refused:
            await client.release(HEX)
    assert refused.value.code == "tls-refused"


async def test_a_client_without_a_certificate_gets_no_answer(private, keys):
    async with AttestorClient(private, tls=client_tls(ca=keys.ca), patience_seconds=0.2) as client:
        with pytest.raises(AttestorError) as refused:
            await client.release(HEX)
    assert refused.value.code in {"tls-refused", "unreachable"}


@pytest.fixture
async def failing():
    """`await failing(times, status)` is the URL of a service that fails so often and then answers, and its count of calls."""
    runners = []

    async def run(times, status=503):
        calls = []

        async def answer(request):
            calls.append(request.path)
            if len(calls) <= times and status is None:
                request.transport.abort()
            return web.Response(status=status if len(calls) <= times else 404, body=b"{}")

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}", calls

    yield run
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("times", "status", "verb", "seen"),
    [
        pytest.param(2, 503, "release", 3, id="what may pass is asked again"),
        pytest.param(2, None, "release", 3, id="a read that broke off is asked again"),
        pytest.param(1, 503, "withdraw", 2, id="what the service did not do is asked again"),
        pytest.param(1, None, "withdraw", 1, id="what the service may have done is not"),
        pytest.param(1, 409, "release", 1, id="what asking cannot help is not"),
    ],
)
async def test_only_what_may_pass_is_tried_again(failing, *, times, status, verb, seen):
    url, calls = await failing(times, status)
    async with AttestorClient(url, patience_seconds=20) as client:
        with pytest.raises(AttestorError) as refused:
            await getattr(client, verb)(HEX)
    assert len(calls) == seen
    assert isinstance(refused.value, Unreachable) == (verb == "withdraw" and status is None)


async def test_an_address_without_a_scheme_is_refused():
    with pytest.raises(Rejected) as refused:
        AttestorClient("example.org:443")
    assert refused.value.code == "client-url"


async def test_redirects_are_not_followed():
    asked = []

    async def answer(request):
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/elsewhere"}, body=b"moved")

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with AttestorClient(f"http://127.0.0.1:{runner.addresses[0][1]}", patience_seconds=0) as client:
        with pytest.raises(Unavailable):
            await client.release(HEX)
    await runner.cleanup()
    await asyncio.sleep(0)
    assert "/elsewhere" not in asked


@pytest.mark.parametrize(("retry_after", "seen"), [(1, 2), (60, 1)], ids=["in time", "later than anyone waits"])
async def test_what_is_over_a_rate_is_asked_again_when_the_service_said(retry_after, seen):
    calls = []

    async def call():
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            raise OverRate("requester-limit", "Wait.", retry_after=retry_after)

    if seen == 1:
        with pytest.raises(OverRate):
            await patiently(call, seconds=20, repeatable=False)
    else:
        await patiently(call, seconds=20, repeatable=False)
        assert calls[1] - calls[0] >= 1
    assert len(calls) == seen


def test_a_429_without_a_time_is_for_ever_and_one_with_it_is_not():
    for retry_after, class_ in ((None, Exhausted), (7, OverRate)):
        problem = problems.problem_of(OverRate("c", "s.", retry_after=7) if retry_after else Exhausted("c", "s."), "r")
        again = error_of(429, msgspec.json.encode(problem))
        assert (type(again), getattr(again, "retry_after", None)) == (class_, retry_after)
