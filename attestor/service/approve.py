"""Take approvals in and back: verify first, keep once, and move the requests that waited for them (design §7).

What is signed binds an approval; all that this could refuse it with is looked at again by the signer, which believes none of it.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID

from attestor.core import canonical
from attestor.core.approvals import (
    Approval,
    Asking,
    Given,
    Verify,
    verified,
    verified_revocation,
    why_for_nobody,
    why_not,
)
from attestor.core.approvalviews import ApprovalRecord, approval_view
from attestor.core.approvalwire import MAX_REASON_BYTES, ApprovalView
from attestor.core.entries import RevocationEntry
from attestor.core.entrybytes import outgoing_of
from attestor.core.errors import Conflict, Forbidden, Missing, Rejected, TooLarge
from attestor.core.lifecycle import State
from attestor.core.limits import peer_of
from attestor.core.naming import Release
from attestor.core.obstacles import HELD, LIFTED_BY
from attestor.core.policy import Policy, Tier
from attestor.core.requests import SigningRequest
from attestor.core.strictjson import encode_base64
from attestor.core.tierrules import Action
from attestor.service.allowance import Allowances, Hold
from attestor.service.approvalports import ApprovalBook, ApprovalTransaction
from attestor.service.decide import Asked, Decided, Moment, anew, asked_for, decide, following, granted_to, votes_on
from attestor.service.ports import Changes, Ledger

_TOGETHER: Final = 50
"""Releases of a manifest whose requests are moved in one transaction."""
_SETTLED: Final = frozenset({State.SIGNED, State.REFUSED, State.WITHDRAWN})
_WHY: Final = {
    "approval-elsewhere": "It is for another instance or tier than the release's.",
    "approval-rules-changed": "The rules of the tier are not the ones that it was signed under; look at the request and sign anew.",
    "approval-of-other-bytes": "The request that it names is for another release or other bytes.",
    "approval-out-of-window": "Its window has not begun, or is over.",
    "approval-window-too-long": "Its window is longer than the tier allows.",
    "approval-by-requester": "Nobody approves what was asked in their own name, or by a requester that names no person.",
    "approver-key-not-valid": "The approver's key does not count now.",
}


class Approving:
    """Takes approvals; one object per API process and policy."""

    def __init__(  # noqa: PLR0913 - the parts that it stands on
        self,
        *,
        ledger: Ledger,
        book: ApprovalBook,
        policy: Policy,
        verify: Verify,
        now: Callable[[], datetime],
        allowances: Allowances,
        moving: set[bytes],
    ) -> None:
        """*moving* are the approvals, by digest, whose manifests are being gone through, under whichever policy."""
        self._ledger = ledger
        self._book = book
        self._policy = policy
        self._verify = verify
        self._now = now
        self._allowances = allowances
        self._moving = moving

    def under(self, policy: Policy) -> "Approving":
        """The same under another policy."""
        return Approving(
            ledger=self._ledger,
            book=self._book,
            policy=policy,
            verify=self._verify,
            now=self._now,
            allowances=self._allowances,
            moving=self._moving,
        )

    async def give(self, given: Given, reason: str, address: str) -> tuple[ApprovalView, bool]:
        """Keep one approval, durable on return; the second value says whether it is new.

        The requests that it lets through are queued. Raises ``Forbidden`` ``approver-…``; ``Rejected`` ``approval-…`` for
        one that could never count; ``Missing`` ``release-unknown``, ``request-unknown``; ``Conflict`` ``request-settled``.
        """
        peer = peer_of(address)
        with self._allowances.peers.answering(peer):
            # Verifying takes milliseconds of a processor, and reading PGPy's code in the first time many more.
            approval = await asyncio.to_thread(verified, given, self._policy, self._verify, self._now())
            _refuse_other_reason(approval, reason)
            known = await self._book.approval(given.digest)
            new = known is None and await self._kept(approval, reason)
            if given.manifest is not None and (new or given.digest not in self._moving):
                # Also for one that is known: what moved its requests on may have ended in the middle.
                await self._bring_all_on(given.digest, pays=None if new else peer)
        if not new:
            self._allowances.peers.spend(peer)
        view = await self._view(given.digest)
        if view.approver != approval.approver:
            # By its document an approval is spent, so that two people cannot share one.
            raise Conflict(
                "approval-taken",
                f"Approver {view.approver} has signed this very document; make one of your own, with its own nonce.",
            )
        return view, new

    async def revoke(self, digest: str, given: Given, address: str) -> ApprovalView:
        """Take an approval back; from here on no decision spends it. Durable on return, and in the log soon.

        Raises ``Forbidden`` ``approver-…``, ``approval-of-other-approver``; ``Missing`` ``approval-unknown``; ``Conflict``
        ``approval-spent``.
        """
        peer = peer_of(address)
        with self._allowances.peers.answering(peer):
            document, approver = await asyncio.to_thread(
                verified_revocation, given, self._policy, self._verify, self._now()
            )
            if document.approval != digest:
                raise Rejected(
                    "approval-differs", "What was signed takes back another approval than the address names."
                )
            known = await self._book.approval(bytes.fromhex(digest))
            if known is None:
                raise Missing("approval-unknown", "No such approval was given here.")
            if known.approver != approver:
                raise Forbidden("approval-of-other-approver", "Only the approver who gave it takes an approval back.")
            new = await self._taken_back(bytes.fromhex(digest), given)
        if new:
            await self._bring_on(bytes.fromhex(digest), again=False)
        else:
            self._allowances.peers.spend(peer)
        return await self._view(bytes.fromhex(digest))

    async def _kept(self, approval: Approval, reason: str) -> bool:
        tier = self._tier(approval)
        with self._allowances.approvers.holding() as hold:
            if approval.document.request is None:
                return await anew(partial(self._keep_manifest, approval, reason, tier, hold))
            request = await self._named_request(approval)
            kept, moved = await anew(partial(self._keep_single, approval, reason, request, hold))
        await self._announce(moved)
        return kept

    async def _keep_manifest(self, approval: Approval, reason: str, tier: Tier, hold: Hold) -> bool:
        async with self._book.transaction() as transaction:
            now = await transaction.lock([])
            _refuse(why_for_nobody(approval, tier=tier, policy=self._policy, at=now))
            return await self._keep(transaction, approval, reason, hold)

    async def _keep_single(
        self, approval: Approval, reason: str, request: SigningRequest, hold: Hold
    ) -> tuple[bool, list[str]]:
        release = request.release
        asking = Asking(str(request.id), request.requester, (release.id, request.sha256.hex()))
        async with self._book.transaction() as transaction:
            now = await transaction.lock([release])
            tier = self._policy.tier_of(release)
            _refuse(why_not(approval, asking, tier=tier, policy=self._policy, at=now))
            kept = await self._keep(transaction, approval, reason, hold)
            changes = await self._following(transaction, [release], now, again=True)
            await transaction.write(changes)
        return kept, sorted({move.release_id for move in changes.moves})

    @staticmethod
    async def _keep(transaction: ApprovalTransaction, approval: Approval, reason: str, hold: Hold) -> bool:
        kept = await transaction.keep(approval, reason)
        if kept and approval.approver not in hold.keys:
            hold.take(frozenset({approval.approver}))
        return kept

    async def _taken_back(self, digest: bytes, given: Given) -> bool:
        revocation = canonical.encode(
            {
                "document": encode_base64(given.document),
                "key": given.key,
                "signature": encode_base64(given.signature),
            }
        )
        told = outgoing_of(RevocationEntry(approval=digest.hex()))

        async def once() -> bool:
            async with self._book.transaction() as transaction:
                new = await transaction.take_back(digest, revocation)
                if new:
                    await transaction.write(Changes(entries=[told]))
            return new

        return await anew(once)

    async def _bring_all_on(self, digest: bytes, *, pays: str | None) -> None:
        # Anybody may send a manifest again, and each time may be hundreds of transactions: one such at a time.
        self._moving.add(digest)
        try:
            await self._bring_on(digest, again=True, pays=pays)
        finally:
            self._moving.discard(digest)

    async def _bring_on(self, digest: bytes, *, again: bool, pays: str | None = None) -> None:
        """Move the requests that an approval is about, some releases at a time; the peer who *pays* does so for each time."""
        after: str | None = None
        while together := await self._book.awaiting(digest, after, _TOGETHER):
            if pays is not None:
                self._allowances.peers.refuse_spent(pays)
                self._allowances.peers.spend(pays)
            after = together[-1].id
            await self._announce(await anew(partial(self._move, together, again=again)))

    async def _move(self, together: Sequence[Release], *, again: bool) -> list[str]:
        async with self._book.transaction() as transaction:
            now = await transaction.lock(together)
            changes = await self._following(transaction, together, now, again=again)
            await transaction.write(changes)
        return sorted({move.release_id for move in changes.moves})

    async def _following(
        self, transaction: ApprovalTransaction, releases: Sequence[Release], now: datetime, *, again: bool
    ) -> Changes:
        """What follows from the approvals as they are now; *again*: a signer is asked again for what they let through."""
        votes = await votes_on(transaction, {release.id: release for release in releases})
        decided = decide(self._policy, releases, votes, now)
        asked = await asked_for(transaction, decided, votes)
        let_through = [request for request in asked.requests if not self._is_held(request, decided, asked, now)]
        return following(self._policy, decided, replace(asked, requests=let_through), Moment(now, anew=again))

    def _is_held(self, request: SigningRequest, decided: Decided, asked: Asked, now: datetime) -> bool:
        """Whether a signer holds it for what too few have approved, so that asking it again would be in vain."""
        _, decision = decided[request.release.id]
        if decision is None or request.state is not State.WAITING or request.reason not in HELD:
            return False
        tier = self._policy.tier_of(request.release)
        return LIFTED_BY[request.reason] not in granted_to(self._policy, request, tier, asked, now)

    def _tier(self, approval: Approval) -> Tier:
        """The tier that an approval names, which must know its exception."""
        tier = next((each for each in self._policy.tiers if each.name == approval.document.tier), None)
        if tier is None:
            raise _refused("approval-elsewhere")
        action = Action(approval.document.action)
        if not tier.needs(action):
            raise Rejected("approval-not-foreseen", f"Tier {tier.name} lets nobody approve this: {action}.")
        return tier

    async def _named_request(self, approval: Approval) -> SigningRequest:
        document = approval.document
        if await self._ledger.release(document.release or "") is None:
            raise Missing("release-unknown", "Nobody has attested or asked for such a release here.")
        request = await self._ledger.request(UUID(document.request))
        if request is None:
            raise Missing("request-unknown", "There is no such signing request.")
        if request.state in _SETTLED:
            raise Conflict("request-settled", f"The request is {request.state}: no approval changes that.")
        return request

    async def _announce(self, moved: list[str]) -> None:
        if moved:
            await self._ledger.announce(moved)

    async def _view(self, digest: bytes) -> ApprovalView:
        return approval_view(await known_approval(self._book, digest), self._policy, self._now())


async def known_approval(book: ApprovalBook, digest: bytes) -> ApprovalRecord:
    """Raises ``Missing`` ``approval-unknown``."""
    known = await book.approval(digest)
    if known is None:
        raise Missing("approval-unknown", "No such approval was given here.")
    return known


def _refuse_other_reason(approval: Approval, reason: str) -> None:
    raw = reason.encode()
    if len(raw) > MAX_REASON_BYTES:
        raise TooLarge("approval-too-large", f"The reason has {len(raw)} bytes; {MAX_REASON_BYTES} are the limit.")
    if "\0" in reason or hashlib.sha256(raw).hexdigest() != approval.document.reason:
        raise Rejected("approval-reason", "What was signed names another reason than the one that came with it.")


def _refuse(why: str | None) -> None:
    if why is not None:
        raise _refused(why)


def _refused(why: str) -> Rejected:
    return Rejected(why, f"The approval could not count. {_WHY[why]}")
