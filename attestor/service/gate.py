"""The gate: what an API process offers, each method one use case."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime

from attestor.core.approvals import Given, Verify
from attestor.core.approvalwire import ApprovalDetail, ApprovalPage, ApprovalView, TierPage, WantedPage
from attestor.core.canary import CANARY
from attestor.core.errors import AttestorError, Malformed, Missing
from attestor.core.limits import Rates
from attestor.core.policy import Policy
from attestor.core.suspects import Chosen
from attestor.core.tlog.tiles import Tile
from attestor.core.wire import (
    CanaryList,
    CanaryView,
    Explanation,
    Receipt,
    ReleasePage,
    ReleaseView,
    SigningRequestAsk,
    SigningRequestPage,
    SigningRequestView,
    SuspectPage,
)
from attestor.service import approved, read
from attestor.service.admit import Admission
from attestor.service.allowance import Allowances, Ticks
from attestor.service.approvalports import ApprovalBook, ApprovalFilter
from attestor.service.approve import Approving
from attestor.service.ask import Client, Desk
from attestor.service.bundle import bundle
from attestor.service.dissent import Lookout
from attestor.service.logports import Archive, LogSource
from attestor.service.ports import Ledger, ReleaseFilter, Spool, Watch
from attestor.service.suspects import suspects
from attestor.service.tidy import tidy_spool

__all__ = ["Client", "Gate"]


class Gate:
    """One object per API process."""

    def __init__(  # noqa: PLR0913 - the parts that it stands on, each by name
        self,
        *,
        ledger: Ledger,
        policy: Policy,
        spool: Spool,
        watch: Watch,
        log: LogSource,
        archive: Archive,
        approvals: ApprovalBook,
        verify_approval: Verify,
        now: Callable[[], datetime],
        rates: Rates,
        ticks: Ticks,
        lookout: Lookout,
    ) -> None:
        self._ledger = ledger
        self._log = log
        self._archive = archive
        self._book = approvals
        self._policy = policy
        self._now = now
        self._spool = spool
        allowances = Allowances(rates, ticks)
        self._admission = Admission(ledger, policy, now, allowances, lookout)
        self._desk = Desk(ledger, policy, spool, watch, allowances.requesters)
        self._approving = Approving(
            ledger=ledger,
            book=approvals,
            policy=policy,
            verify=verify_approval,
            now=now,
            allowances=allowances,
            moving=set(),
        )

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    def load(self, policy: Policy) -> None:
        """Answer under another policy from now on; what is under way ends under the one that it began with."""
        self._policy = policy
        self._admission = self._admission.under(policy)
        self._desk = self._desk.under(policy)
        self._approving = self._approving.under(policy)

    async def admit(self, raw: bytes, address: str) -> Receipt:
        return await self._admission.admit(raw, address)

    def admit_batch(self, lines: AsyncIterator[bytes], address: str) -> AsyncIterator[Receipt | AttestorError]:
        return self._admission.admit_batch(lines, address)

    async def drain(self) -> None:
        """Wait until all that was taken in is committed and answered."""
        await self._admission.drain()

    async def release(self, release_id: str) -> ReleaseView:
        return await read.release(self._ledger, self._policy, self._now, _hex(release_id, "release-unknown"))

    async def explain(self, release_id: str) -> Explanation:
        return await read.explain(self._ledger, self._policy, self._now, _hex(release_id, "release-unknown"))

    async def releases(  # noqa: PLR0913 - one argument per filter of the list
        self,
        *,
        purl: str | None,
        file_name: str | None,
        digest: str | None,
        tier: str | None,
        state: str | None,
        cursor: str | None,
        limit: int,
    ) -> ReleasePage:
        if state not in {None, "pending", "reached", "disputed"}:
            raise Malformed("state-unknown", "The state is pending, reached or disputed.")
        wanted = ReleaseFilter(
            purl=purl,
            file_name=file_name,
            sha256=bytes.fromhex(_hex(digest, "digest-malformed")) if digest is not None else None,
            tier=tier,
            state=state,
        )
        after = _hex(cursor, "cursor-unknown") if cursor is not None else None
        return await read.releases(self._ledger, self._policy, self._now, wanted=wanted, cursor=after, limit=limit)

    async def suspects(self, chosen: Chosen, *, cursor: str | None, limit: int) -> SuspectPage:
        after = _hex(cursor, "cursor-unknown") if cursor is not None else None
        return await suspects(self._ledger, self._policy, chosen, cursor=after, limit=limit)

    async def envelope(self, release_id: str, payload_digest: str, operator: str) -> bytes:
        """One attestation as it came. Raises ``Missing`` ``envelope-unknown``."""
        digest = bytes.fromhex(_hex(payload_digest, "envelope-unknown"))
        body = await self._ledger.envelope(_hex(release_id, "release-unknown"), operator, digest)
        if body is None:
            raise Missing("envelope-unknown", "No such attestation is kept for this release.")
        return body

    async def bundle(self, release_id: str, digest: str | None = None) -> bytes:
        """All that an offline check of a signed release needs, of its first signature or the first of the bytes with this SHA-256.

        Raises ``Missing`` ``not-signed``.
        """
        sha256 = bytes.fromhex(_hex(digest, "digest-malformed")) if digest is not None else None
        return await bundle(_hex(release_id, "release-unknown"), sha256, self._archive, self._log)

    async def canaries(self) -> CanaryList:
        """The last canary of each release key, as it is kept: whoever reads it verifies it."""
        views = [
            CanaryView(key=each.key_fingerprint, created=each.created, entry=each.index, signature=each.signature)
            for each in await self._ledger.canaries()
        ]
        return CanaryList(content=CANARY, canaries=tuple(views))

    async def checkpoint(self) -> bytes | None:
        """The log's published checkpoint; ``None`` before the first."""
        return await self._log.checkpoint()

    async def tile(self, tile: Tile) -> bytes:
        """A tile or bundle of the published tree. Raises ``Missing`` ``tile-unknown``."""
        return await self._log.tile(tile)

    async def reevaluate(self, limit: int) -> int:
        return await read.reevaluate(self._ledger, self._policy, limit)

    async def tidy(self) -> int:
        return await tidy_spool(self._ledger, self._spool, self._now)

    async def ask(self, client: Client, ask: SigningRequestAsk) -> tuple[SigningRequestView, bool]:
        return await self._desk.ask(client, ask)

    async def request(self, client: Client, request_id: str) -> SigningRequestView:
        return await self._desk.show(client, request_id)

    async def wait(self, client: Client, request_id: str, seconds: float) -> SigningRequestView:
        return await self._desk.wait(client, request_id, seconds)

    async def requests(
        self, client: Client, *, state: str | None, cursor: str | None, limit: int
    ) -> SigningRequestPage:
        return await self._desk.requests(client, state=state, cursor=cursor, limit=limit)

    async def withdraw(self, client: Client, request_id: str) -> SigningRequestView:
        return await self._desk.withdraw(client, request_id)

    async def retry(self, client: Client, request_id: str) -> SigningRequestView:
        return await self._desk.retry(client, request_id)

    async def upload(self, client: Client, request_id: str, chunks: AsyncIterator[bytes]) -> SigningRequestView:
        return await self._desk.upload(client, request_id, chunks)

    async def signature(self, client: Client, request_id: str) -> tuple[str, bytes]:
        return await self._desk.signature(client, request_id)

    async def approve(self, given: Given, reason: str, address: str) -> tuple[ApprovalView, bool]:
        return await self._approving.give(given, reason, address)

    async def revoke_approval(self, digest: str, given: Given, address: str) -> ApprovalView:
        return await self._approving.revoke(_hex(digest, "approval-unknown"), given, address)

    async def approval(self, digest: str) -> ApprovalDetail:
        return await approved.approval(self._book, self._policy, self._now, _hex(digest, "approval-unknown"))

    async def approvals(
        self, *, tier: str | None, approver: str | None, release: str | None, cursor: str | None, limit: int
    ) -> ApprovalPage:
        wanted = ApprovalFilter(
            tier=tier,
            approver=approver,
            release_id=_hex(release, "release-unknown") if release is not None else None,
        )
        after = _hex(cursor, "cursor-unknown") if cursor is not None else None
        return await approved.approvals(self._book, self._policy, self._now, wanted=wanted, cursor=after, limit=limit)

    async def awaiting_approval(self, *, request: str | None, cursor: str | None, limit: int) -> WantedPage:
        if request is not None:
            return await approved.wanted_one(self._ledger, self._policy, request)
        return await approved.wanted(self._ledger, self._book, self._policy, cursor=cursor, limit=limit)

    async def tiers(self) -> TierPage:
        return await approved.tiers(self._book, self._policy, self._now)


def _hex(text: str, code: str) -> str:
    """Take a lower-case hex SHA-256 as clients write it, or say that there is no such thing."""
    if len(text) == 64 and set(text) <= set("0123456789abcdef"):
        return text
    raise Missing(code, "Write the 64 lower-case hex digits of a SHA-256.")
