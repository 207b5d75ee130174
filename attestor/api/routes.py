"""The URL table: all that can be asked of the service. Routes, authorisation and OpenAPI are made from these rows."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Literal

from aiohttp import web

from attestor.api import approvals, log, operate, read, request, submit
from attestor.api.call import Call
from attestor.api.queries import (
    ApprovalsQuery,
    BundleQuery,
    Query,
    ReleasesQuery,
    RequestsQuery,
    SuspectsQuery,
    WaitQuery,
    WantedQuery,
)
from attestor.core import approvalwire, wire

Audience = Literal["read", "submit", "request", "operate"]
Endpoint = Callable[[Call], Awaitable[web.StreamResponse]]
JSON, BINARY = "application/json", "application/octet-stream"
ANY: Final = "any"

SEGMENTS: Final = {
    "releaseId": "[0-9a-f]{64}",
    "approvalDigest": "[0-9a-f]{64}",
    "payloadDigest": "[0-9a-f]{64}",
    "operator": "[a-z0-9][a-z0-9.-]{0,62}",
    "requestId": "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "tile": "[0-9a-z/.]{1,64}",
}
"""What may stand in each place of a path; anything else is not found. ``tile`` is all the rest of its path."""


@dataclass(frozen=True, slots=True)
class Row:
    """One method of one URL. A type as ``ask`` or ``answer`` is JSON of that type, a string the media type of bytes."""

    method: Literal["GET", "POST", "PUT"]
    path: str
    audience: str
    endpoint: Endpoint
    answer: type[wire.Answer] | str
    statuses: tuple[int, ...]
    ask: type[wire.Ask] | str | None = None
    query: type[Query] | None = None

    @property
    def pattern(self) -> re.Pattern[str]:
        """What a path must be, whole, to be this row's."""
        return re.compile(re.sub(r"\\{(\w+)\\}", _segment, re.escape(self.path)), re.ASCII)


def _segment(place: re.Match[str]) -> str:
    return f"(?P<{place[1]}>{SEGMENTS[place[1]]})"


_SENT = (400, 408, 413, 415, 422)
_R, _Q, _A = "/v1/releases", "/v1/signing-requests", "/v1/approvals"
_APPROVAL = approvalwire.ApprovalView
_RECEIPT, _RELEASE, _ASKED = wire.Receipt, wire.ReleaseView, wire.SigningRequestView

# fmt: off
ROWS: Final = (
    Row("POST", "/v1/attestations", "submit", submit.attestation, _RECEIPT, (201, 200, 403, 404, 409, 429, 503, *_SENT), ask=JSON),
    Row("POST", "/v1/attestations:batch", "submit", submit.batch, submit.BATCH_TYPE, (200, 413, 415, 503), ask=submit.BATCH_TYPE),
    Row("GET", _R, "read", read.releases, wire.ReleasePage, (200, 304, 400, 404, 503), query=ReleasesQuery),
    Row("GET", _R + "/{releaseId}", "read", read.release, _RELEASE, (200, 304, 400, 404, 503)),
    Row("GET", _R + "/{releaseId}/explanation", "read", read.explanation, wire.Explanation, (200, 304, 400, 404, 503)),
    Row("GET", _R + "/{releaseId}/envelopes/{operator}/{payloadDigest}", "read", read.envelope, JSON, (200, 304, 400, 404, 503)),
    Row("GET", _R + "/{releaseId}/bundle", "read", read.bundle, JSON, (200, 304, 400, 404, 503), query=BundleQuery),
    Row("GET", "/v1/suspects", "read", read.suspects, wire.SuspectPage, (200, 304, 400, 404, 503), query=SuspectsQuery),
    Row("POST", _A, "submit", approvals.approve, _APPROVAL, (201, 200, 403, 404, 409, 429, 503, *_SENT), ask=approvalwire.ApprovalAsk),
    Row("POST", _A + "/{approvalDigest}/revocation", "submit", approvals.revoke, _APPROVAL, (200, 403, 404, 409, 429, 503, *_SENT), ask=approvalwire.RevocationAsk),
    Row("GET", _A, "read", approvals.approvals, approvalwire.ApprovalPage, (200, 304, 400, 404, 503), query=ApprovalsQuery),
    Row("GET", _A + "/wanted", "read", approvals.wanted, approvalwire.WantedPage, (200, 304, 400, 404, 503), query=WantedQuery),
    Row("GET", _A + "/{approvalDigest}", "read", approvals.approval, approvalwire.ApprovalDetail, (200, 304, 400, 404, 503)),
    Row("GET", "/v1/tiers", "read", approvals.tiers, approvalwire.TierPage, (200, 304, 400, 503)),
    Row("GET", "/v1/canary", "read", read.canary, wire.CanaryList, (200, 304, 400, 503)),
    Row("GET", "/log/checkpoint", "read", log.checkpoint, log.CHECKPOINT_TYPE, (200, 304, 400, 404, 503)),
    Row("GET", "/log/tile/{tile}", "read", log.tile, log.TILE_TYPE, (200, 400, 404, 503)),
    Row("GET", "/openapi.json", "read", read.openapi, JSON, (200, 304, 400)),
    Row("POST", _Q, "request", request.ask, _ASKED, (201, 200, 403, 404, 409, 429, 503, *_SENT), ask=wire.SigningRequestAsk),
    Row("GET", _Q, "request", request.requests, wire.SigningRequestPage, (200, 304, 400, 403, 404, 503), query=RequestsQuery),
    Row("GET", _Q + "/{requestId}", "request", request.request, _ASKED, (200, 304, 400, 403, 404, 503), query=WaitQuery),
    Row("PUT", _Q + "/{requestId}/content", "request", request.upload, _ASKED, (200, 403, 404, 409, 503, *_SENT), ask=BINARY),
    Row("GET", _Q + "/{requestId}/signature", "request", request.signature, request.SIGNATURE_TYPE, (200, 304, 400, 403, 404, 503)),
    Row("POST", _Q + "/{requestId}/withdraw", "request", request.withdraw, _ASKED, (200, 400, 403, 404, 409, 503)),
    Row("POST", _Q + "/{requestId}/retry", "request", request.retry, _ASKED, (200, 400, 403, 404, 409, 503)),
    Row("GET", "/healthz", ANY, operate.healthz, wire.Health, (200, 400)),
    Row("GET", "/readyz", "operate", operate.readyz, wire.Readiness, (200, 400, 503)),
    Row("GET", "/metrics", "operate", operate.metrics, "text/plain", (200, 400)),
)
# fmt: on
