"""Health, metrics and logs, as the people who run the service see them."""

from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from attestor.api.listeners import Listener
from attestor.api.metrics import Metrics, Standing
from attestor.core import wire
from attestor.core.errors import Unavailable
from attestor.service.ports import HeldRequests, SignerStatus

HEX = "ab" * 32


async def database():
    return wire.PartHealth(part="database", ready=True, age_seconds=0.5, detail="")


async def hsm():
    raise Unavailable("hsm-gone", "The HSM does not answer.")


@pytest.fixture
async def ask(start, http):
    """`await ask(path, *probes)` asks a listener for operators on loopback."""

    async def run(path, *probes):
        running = await start(Listener("127.0.0.1:0", frozenset({"operate", "read"})), probes=probes)
        async with http.get(f"http://127.0.0.1:{running.addresses[0][1]}{path}") as answer:
            return answer.status, await answer.json()

    return run


async def test_healthz_asks_no_part(ask):
    assert await ask("/healthz", hsm) == (200, {"status": "ok"})


async def test_readyz_is_200_when_every_part_is_ready(ask):
    status, said = await ask("/readyz", database)
    assert (status, said["ready"]) == (200, True)
    assert said["parts"] == [{"part": "database", "ready": True, "ageSeconds": 0.5, "detail": ""}]


async def test_readyz_is_503_and_names_the_part_that_is_not_ready(ask):
    status, said = await ask("/readyz", database, hsm)
    assert (status, said["ready"]) == (503, False)
    assert [(part["part"], part["ready"], part["detail"]) for part in said["parts"]] == [
        ("database", True, ""),
        ("hsm", False, "The HSM does not answer."),
    ]


async def test_metrics_count_by_route_status_and_problem_and_never_by_what_clients_write(public, http):
    for path in (f"/v1/releases/{HEX}", "/v1/releases/" + "0" * 64, "/v1/secret-path", "/healthz"):
        async with http.get(public + path):
            pass
    async with http.get(f"{public}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = await answer.text()
    route = 'method="GET",route="/v1/releases/{releaseId}"'
    assert f'attestor_http_requests_total{{{route},status="200"}} 1.0' in text
    assert f'attestor_http_requests_total{{{route},status="404"}} 1.0' in text
    assert 'attestor_http_requests_total{method="none",route="none",status="404"} 1.0' in text
    assert 'attestor_http_problems_total{code="release-unknown"} 1.0' in text
    assert 'attestor_http_seconds_count{route="/healthz"} 1.0' in text
    assert "secret-path" not in text


def signer_status(instance, code):
    return SignerStatus(instance, code != "signing", code, "A sentence.", 7, HEX)


async def test_metrics_read_anew_how_signers_and_log_stand(start, http):
    seen = [
        Standing(
            [signer_status("signer-1", "signing"), signer_status("b", "log-forked")],
            policy_serial=4,
            policy_digest="ab" * 32,
            size=9,
            published=7,
            backlog_seconds=0.5,
            refused=1,
            held=[
                HeldRequests("waiting", "disputed", 20_000, 0),
                HeldRequests("refused", "other-digest-signed", 2, 5),
                *(HeldRequests("aside", f"made-up-{number}", 1, 0) for number in range(1000)),
            ],
        ),
        Unavailable("database-unavailable", "It is away."),
    ]

    async def standing():
        found = seen.pop(0)
        if isinstance(found, Unavailable):
            raise found
        return found

    running = await start(Listener("127.0.0.1:0", frozenset({"operate", "read"})), standing=standing)
    address = f"http://127.0.0.1:{running.addresses[0][1]}/metrics"
    async with http.get(address) as answer:
        text = await answer.text()
    for line in (
        'attestor_signer_halted{code="signing",instance="signer-1"} 0.0',
        'attestor_signer_halted{code="log-forked",instance="b"} 1.0',
        'attestor_policy_serial{role="api"} 4.0',
        'attestor_policy_agreed{instance="b"} 1.0',
        "attestor_log_size 9.0",
        "attestor_log_published 7.0",
        "attestor_log_backlog_seconds 0.5",
        "attestor_log_refused 1.0",
        'attestor_requests_held{reason="disputed",state="waiting"} 20000.0',
        'attestor_requests_held{reason="other-digest-signed",state="refused"} 2.0',
        'attestor_requests_held{reason="other",state="aside"} 902.0',
        'attestor_refusals_total{reason="other-digest-signed"} 5.0',
    ):
        assert line in text.splitlines()
    async with http.get(address) as answer:
        text = await answer.text()
    assert answer.status == 200
    assert "attestor_http_requests" in text
    assert "attestor_signer" not in text
    assert "attestor_log" not in text


def test_every_code_of_the_program_has_a_metric_of_its_own():
    codes = (Path(__file__).resolve().parents[2] / "core/error_codes.txt").read_text("utf-8").split()
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for code in codes:
        metrics.refused(code)
    seen = {
        sample.labels["code"] for family in registry.collect() for sample in family.samples if "code" in sample.labels
    }
    assert seen == set(codes)


async def test_log_lines_carry_the_request_and_the_release(public, http):
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with http.get(f"{public}/v1/releases/{'0' * 64}") as answer:
            request_id = answer.headers["X-Request-Id"]
    assert [(line["event"], line["request_id"], line["release_id"], line["code"]) for line in lines] == [
        ("request", request_id, "0" * 64, "release-unknown")
    ]


async def test_the_log_says_what_the_answer_to_an_unforeseen_failure_does_not(public, http):
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with http.post(
            f"{public}/v1/attestations", data=b"explode", headers={"Content-Type": "application/json"}
        ) as answer:
            problem = await answer.json()
    failed = next(line for line in lines if line["event"] == "request failed")
    assert (failed["request_id"], str(failed["exc_info"])) == (problem["requestId"], "a secret detail")


async def test_ids_of_one_request_do_not_stay_for_the_next_on_the_same_connection(public, http):
    async with http.get(f"{public}/v1/releases/{HEX}"):
        pass
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        async with http.get(f"{public}/v1/nothing"):
            pass
    assert "release_id" not in lines[0]
