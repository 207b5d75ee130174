"""The document says what the service does: its shape is frozen, and schemathesis holds both together over real TLS."""

import asyncio
import json
import threading

import pytest
import schemathesis
import structlog
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry
from schemathesis.specs.openapi.checks import positive_data_acceptance

from attestor.api.listeners import Listener, TlsFiles, serve
from attestor.api.openapi import document
from attestor.api.routes import ROWS
from tests.edges.api.standin import StandIn

ALL = frozenset({"read", "submit", "request", "operate"})
OPERATIONS = {
    "GET /v1/approvals", "GET /v1/approvals/wanted", "GET /v1/approvals/{approvalDigest}", "GET /v1/tiers",
    "POST /v1/approvals", "POST /v1/approvals/{approvalDigest}/revocation",
    "GET /healthz", "GET /log/checkpoint", "GET /log/tile/{tile}", "GET /metrics", "GET /openapi.json", "GET /readyz", "GET /v1/releases", "GET /v1/releases/{releaseId}",
    "GET /v1/releases/{releaseId}/bundle", "GET /v1/suspects",
    "GET /v1/releases/{releaseId}/envelopes/{operator}/{payloadDigest}", "GET /v1/releases/{releaseId}/explanation",
    "GET /v1/signing-requests", "GET /v1/signing-requests/{requestId}", "GET /v1/signing-requests/{requestId}/signature",
    "POST /v1/attestations", "POST /v1/attestations:batch", "POST /v1/signing-requests",
    "POST /v1/signing-requests/{requestId}/retry", "POST /v1/signing-requests/{requestId}/withdraw",
    "PUT /v1/signing-requests/{requestId}/content",
    "GET /v1/canary",
}  # fmt: skip
SCHEMAS = {
    "ApprovalAsk", "ApprovalDetail", "ApprovalPage", "ApprovalView", "EvidenceLink", "PairView", "QuotaView",
    "RevocationAsk", "Terms", "TierPage", "TierView", "WantedApproval", "WantedPage",
    "Artifact", "CanaryList", "CanaryView", "DecisionView", "EventView", "Explanation", "HashState", "Health", "PartHealth", "Problem", "Pull",
    "Readiness", "Receipt", "ReleaseLine", "ReleaseName", "ReleasePage", "ReleaseView", "SigningRequestAsk",
    "SigningRequestPage", "SigningRequestView", "SuspectLine", "SuspectPage", "SuspectVoteView", "Upload", "VoteView",
}  # fmt: skip


def test_the_operations_and_types_are_these_and_no_others():
    whole = json.loads(document("1"))
    said = {f"{method.upper()} {path}" for path, methods in whole["paths"].items() for method in methods}
    assert said == OPERATIONS
    assert set(whole["components"]["schemas"]) >= SCHEMAS
    assert "\\Z" not in json.dumps(whole)


def test_each_operation_has_a_name_of_its_own_and_says_for_whom_it_is():
    whole = json.loads(document("1"))
    operations = [operation for methods in whole["paths"].values() for operation in methods.values()]
    assert len({operation["operationId"] for operation in operations}) == len(ROWS)
    assert all(operation["tags"] and operation["summary"] for operation in operations)


@pytest.fixture(scope="module")
def base(keys):
    """The URL of a service in a thread of its own, for a client that blocks; its hundreds of log lines would say nothing."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listener = Listener("127.0.0.1:0", ALL, TlsFiles(*keys.server, client_ca=keys.ca))

    async def begin():
        return await serve([listener], StandIn(), registry=CollectorRegistry())

    running = asyncio.run_coroutine_threadsafe(begin(), loop).result()
    yield f"https://127.0.0.1:{running.addresses[0][1]}"
    asyncio.run_coroutine_threadsafe(running.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    structlog.reset_defaults()


schema = schemathesis.openapi.from_dict(json.loads(document("1")))


@schemathesis.serializer("application/x-ndjson")
def lines(_context, value):
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else json.dumps(value).encode()


@schema.parametrize()
@settings(
    max_examples=8,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
def test_every_answer_is_one_that_the_document_names(case, base, keys):
    if "wait" in (case.query or {}):
        case.query["wait"] = 0  # waiting for a minute would say no more
    # What a schema cannot say is refused on purpose (names that disagree, 5.0 for 5), so not all that fits it is accepted.
    case.call_and_validate(
        base_url=base,
        cert=tuple(map(str, keys.client)),
        verify=str(keys.ca),
        timeout=10,
        excluded_checks=[positive_data_acceptance],
    )
