"""The calls of ``/v1`` as methods."""

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import urlencode

import msgspec

from attestor.client.address import HttpAddress
from attestor.client.answers import MAX_ANSWER, body, decoded
from attestor.client.patience import patiently, reached
from attestor.core.approvalwire import (
    ApprovalAsk,
    ApprovalDetail,
    ApprovalPage,
    ApprovalView,
    RevocationAsk,
    TierPage,
    WantedPage,
)
from attestor.core.wire import (
    CanaryList,
    Explanation,
    Receipt,
    ReleasePage,
    ReleaseView,
    SigningRequestAsk,
    SigningRequestPage,
    SigningRequestView,
    SuspectPage,
)

MAX_SIGNATURE: Final = 16 << 10
"""What pacman reads of a detached signature."""
_WAIT_SECONDS: Final = 60
_PIECE: Final = 256 << 10
_REQUESTS: Final = "/v1/signing-requests"
_APPROVALS: Final = "/v1/approvals"

T = TypeVar("T")
Progress = Callable[[int], None]
"""Told how many more bytes are done."""


class AttestorClient(HttpAddress):
    """One service at its address (``https://host:port``, or ``unix:/PATH`` on its own host); use as an asynchronous context.

    Every method raises the errors of ``core.errors`` that the service raised, and ``Unavailable`` ``unreachable`` where
    none answered within *patience_seconds*.
    """

    kind = "a service: https://host:port, or unix:/path"
    silence_seconds = 90

    async def submit(self, attestation: bytes) -> Receipt:
        """Send one attestation; sending it again changes nothing."""
        return await self._call("POST", "/v1/attestations", Receipt, content=attestation)

    async def release(self, release_id: str) -> ReleaseView:
        return await self._call("GET", f"/v1/releases/{release_id}", ReleaseView)

    async def explain(self, release_id: str) -> Explanation:
        return await self._call("GET", f"/v1/releases/{release_id}/explanation", Explanation)

    async def releases(self, **wanted: str | int | None) -> ReleasePage:
        """One page; *wanted* is any of purl, file, digest, tier, state, cursor, limit."""
        return await self._call("GET", "/v1/releases", ReleasePage, query=wanted)

    async def suspects(self, **wanted: str | int | None) -> SuspectPage:
        """One page, which may show none and go on; *wanted* is any of operator, since (RFC 3339), cursor, limit."""
        return await self._call("GET", "/v1/suspects", SuspectPage, query=wanted)

    async def envelope(self, release_id: str, operator: str, payload_digest: str) -> bytes:
        """One attestation, byte for byte as it came."""
        return await self._bytes(f"/v1/releases/{release_id}/envelopes/{operator}/{payload_digest}")

    async def bundle(self, release_id: str, digest: str | None = None) -> bytes:
        """All that an offline check of a signed release needs; with *digest*, the SHA-256 of which bytes of it.

        Raises ``Missing`` until it is signed.
        """
        of = f"?{urlencode({'digest': digest})}" if digest is not None else ""
        return await self._bytes(f"/v1/releases/{release_id}/bundle{of}", MAX_ANSWER)

    async def canaries(self) -> CanaryList:
        """The last canary of each release key, to be verified with its certificate."""
        return await self._call("GET", "/v1/canary", CanaryList)

    async def ask(self, asked: SigningRequestAsk) -> SigningRequestView:
        """Ask for a signature; asking again joins the live or signed request."""
        return await self._call("POST", _REQUESTS, SigningRequestView, content=msgspec.json.encode(asked))

    async def request(self, request_id: str, *, wait_seconds: int = 0) -> SigningRequestView:
        """Where a request stands; with *wait_seconds* (60 at most), when it has settled or then."""
        query = {"wait": min(wait_seconds, _WAIT_SECONDS) or None}
        return await self._call("GET", f"{_REQUESTS}/{request_id}", SigningRequestView, query=query)

    async def requests(self, **wanted: str | int | None) -> SigningRequestPage:
        """One page of one's own requests; *wanted* is any of state, cursor, limit."""
        return await self._call("GET", _REQUESTS, SigningRequestPage, query=wanted)

    async def withdraw(self, request_id: str) -> SigningRequestView:
        return await self._call("POST", f"{_REQUESTS}/{request_id}/withdraw", SigningRequestView, repeatable=False)

    async def retry(self, request_id: str) -> SigningRequestView:
        """Queue a request again that was set aside."""
        return await self._call("POST", f"{_REQUESTS}/{request_id}/retry", SigningRequestView, repeatable=False)

    async def approve(self, asked: ApprovalAsk) -> ApprovalView:
        """Hand in what a person signed; sending it again changes nothing."""
        return await self._call("POST", _APPROVALS, ApprovalView, content=msgspec.json.encode(asked))

    async def revoke_approval(self, digest: str, asked: RevocationAsk) -> ApprovalView:
        """Hand in that an approver takes an approval back; sending it again changes nothing."""
        content = msgspec.json.encode(asked)
        return await self._call("POST", f"{_APPROVALS}/{digest}/revocation", ApprovalView, content=content)

    async def approval(self, digest: str) -> ApprovalDetail:
        return await self._call("GET", f"{_APPROVALS}/{digest}", ApprovalDetail)

    async def approvals(self, **wanted: str | int | None) -> ApprovalPage:
        """One page; *wanted* is any of tier, approver, release, cursor, limit."""
        return await self._call("GET", _APPROVALS, ApprovalPage, query=wanted)

    async def awaiting_approval(self, **wanted: str | int | None) -> WantedPage:
        """One page of the requests that people may let through; *wanted* is request, or any of cursor, limit."""
        return await self._call("GET", f"{_APPROVALS}/wanted", WantedPage, query=wanted)

    async def tiers(self) -> TierPage:
        """The rules of every tier, and what is left of each quota."""
        return await self._call("GET", "/v1/tiers", TierPage)

    async def signature(self, request_id: str) -> bytes:
        """The binary detached signature. Raises ``Missing`` until there is one."""
        return await self._bytes(f"{_REQUESTS}/{request_id}/signature", MAX_SIGNATURE)

    async def upload(self, request_id: str, file: Path, progress: Progress) -> SigningRequestView:
        """Stream a file; after a failure that may pass, from its start. *progress* hears of the bytes of each try."""

        async def once() -> SigningRequestView:
            with file.open("rb") as opened:
                headers = {"Content-Type": "application/octet-stream"}
                # The service refuses before a byte is sent what it does not want.
                sending = self._session.put(
                    f"{self._base}{_REQUESTS}/{request_id}/content",
                    data=_pieces(opened.read, progress),
                    headers=headers,
                    expect100=True,
                    allow_redirects=False,
                )
                async with sending as response:
                    return await decoded(response, SigningRequestView)

        return await patiently(lambda: reached(once), seconds=self._patience)

    async def _call(  # noqa: PLR0913 - what a request is, each by name
        self,
        method: str,
        path: str,
        type_: type[T],
        *,
        query: Mapping[str, str | int | None] | None = None,
        content: bytes | None = None,
        repeatable: bool = True,
    ) -> T:
        async def once() -> T:
            asking = self._session.request(
                method,
                self._base + path,
                params={name: value for name, value in (query or {}).items() if value is not None},
                # Of bytes that are many, aiohttp warns; each try reads them from their start.
                data=io.BytesIO(content) if content is not None else None,
                headers={"Content-Type": "application/json"} if content is not None else {},
                allow_redirects=False,
            )
            async with asking as response:
                return await decoded(response, type_)

        return await patiently(lambda: reached(once), seconds=self._patience, repeatable=repeatable)

    async def _bytes(self, path: str, limit: int = 1 << 20) -> bytes:
        async def once() -> bytes:
            async with self._session.get(self._base + path, allow_redirects=False) as response:
                return await body(response, limit)

        return await patiently(lambda: reached(once), seconds=self._patience)


async def _pieces(read: Callable[[int], bytes], progress: Progress) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(read, _PIECE):
        yield piece
        progress(len(piece))
