"""Ask for a release signature, and read how that stands (design §6)."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import datetime
from ipaddress import ip_address
from typing import Final
from uuid import UUID, uuid4

from attestor.core.authorisation import next_state
from attestor.core.errors import Conflict, Forbidden, Malformed, Missing, Rejected
from attestor.core.hashstate import parse_state
from attestor.core.lanes import lane_of
from attestor.core.lifecycle import LIVE, Event, State, moved
from attestor.core.naming import Release, parse_release
from attestor.core.policy import UNIX, Policy, Tier
from attestor.core.relative import components
from attestor.core.requests import SigningRequest
from attestor.core.strictjson import decode_base64
from attestor.core.views import request_view
from attestor.core.wire import (
    MAX_PAGE,
    HashState,
    Pull,
    SigningRequestAsk,
    SigningRequestPage,
    SigningRequestView,
    Upload,
)
from attestor.service.allowance import Allowance, Hold
from attestor.service.decide import Moment, anew, asked_beside, asked_for, decide, following, obstacle_to, votes_on
from attestor.service.ports import Changes, Ledger, RequestMove, Spool, Watch

_SETTLED: Final = frozenset({State.SIGNED, State.REFUSED, State.ASIDE, State.WITHDRAWN})


@dataclass(frozen=True, slots=True)
class Client:
    """Who is calling: the SHA-256 of the certificate's public key (hex) or, on a socket of this host, the system's user."""

    fingerprint: str | None
    address: str
    """The peer's; ``unix`` on a socket of this host."""
    user: str | None = None


class Desk:
    """Takes signing requests; one object per API process."""

    def __init__(self, ledger: Ledger, policy: Policy, spool: Spool, watch: Watch, allowance: Allowance) -> None:
        self._ledger = ledger
        self._policy = policy
        self._spool = spool
        self._watch = watch
        self._allowance = allowance

    def under(self, policy: Policy) -> "Desk":
        """The same desk under another policy."""
        return Desk(self._ledger, policy, self._spool, self._watch, self._allowance)

    async def ask(self, client: Client, asked: SigningRequestAsk) -> tuple[SigningRequestView, bool]:
        """Open a request, or join the live or signed one for the same bytes; the second value says whether it is new.

        Raises ``Forbidden`` (nothing is kept), ``Rejected`` for names or a hash state that cannot be, ``Missing``
        ``no-tier``.
        """
        release = parse_release(asked.release.kind, asked.release.purl, asked.release.file_name)
        tier = self._policy.tier_of(release)
        requester = self._requester(client, tier)
        _refuse_content(asked, tier)
        with self._allowance.holding() as hold:
            view, opened = await self._joined_or_opened(asked, release, requester, tier, hold)
        if opened:
            await self._ledger.announce([release.id])
        return view, opened

    async def _joined_or_opened(
        self, asked: SigningRequestAsk, release: Release, requester: str, tier: Tier, hold: Hold
    ) -> tuple[SigningRequestView, bool]:
        async with self._ledger.transaction() as transaction:
            moment = await transaction.lock([release])
            for known in await transaction.requests([release.id]):
                if known.sha256.hex() == asked.artifact.sha256 and known.state in LIVE | {State.SIGNED}:
                    return self._joined(known, asked), False
            votes = await votes_on(transaction, {release.id: release})
            decided = decide(self._policy, [release], votes, moment)
            opened = self._open(asked, requester, tier, moment)
            asked_before = await asked_beside(transaction, decided, [opened], votes)
            obstacle = obstacle_to(self._policy, opened, decided, asked_before, moment)
            if obstacle is not None:
                opened = replace(opened, reason=obstacle.reason, sentence=obstacle.sentence)
            state = next_state(obstacle)
            if state is State.REFUSED:
                raise Rejected(opened.reason, opened.sentence)
            hold.take(frozenset({requester}))
            opened = replace(opened, state=state)
            await transaction.write(Changes(decisions=[stored for stored, _ in decided.values()], opened=[opened]))
        return request_view(opened), True

    async def show(self, client: Client, request_id: str) -> SigningRequestView:
        return request_view(await self._own(client, request_id))

    async def wait(self, client: Client, request_id: str, seconds: float) -> SigningRequestView:
        """Show the request once it is settled or waits for something else, at the latest after *seconds*."""
        before = request = await self._own(client, request_id)
        clock = asyncio.get_running_loop().time
        ends = clock() + seconds
        while not _news(request, before) and (left := ends - clock()) > 0:
            # Listening begins before the look that decides to wait, so that no move falls between the two.
            moved = asyncio.ensure_future(self._watch.moved(request.release.id, left))
            try:
                request = await self._own(client, request_id)
                if not _news(request, before):
                    await moved
                    request = await self._own(client, request_id)
            finally:
                moved.cancel()
        return request_view(request)

    async def requests(
        self, client: Client, *, state: str | None, cursor: str | None, limit: int
    ) -> SigningRequestPage:
        """List what this client's requester asked for."""
        if not 1 <= limit <= MAX_PAGE:
            raise Malformed("limit-invalid", f"The limit is 1 to {MAX_PAGE}.")
        if state is not None and state not in {str(known) for known in State}:
            raise Malformed("state-unknown", f"The state {state[:32]!r} is unknown; use one of {', '.join(State)}.")
        requester = self._known(client)
        page = await self._ledger.list_requests(requester, state, _uuid(cursor) if cursor else None, limit + 1)
        return SigningRequestPage(
            requests=tuple(request_view(request) for request in page[:limit]),
            cursor=str(page[limit - 1].id) if len(page) > limit else None,
        )

    async def withdraw(self, client: Client, request_id: str) -> SigningRequestView:
        return await self._step(client, request_id, Event.WITHDRAW, "withdrawn", "The requester withdrew it.")

    async def retry(self, client: Client, request_id: str) -> SigningRequestView:
        """Put a request that was set aside back into the queue, with its tries unspent."""
        return await self._step(client, request_id, Event.RETRY, "queued", "Put back by the requester.")

    async def upload(self, client: Client, request_id: str, chunks: AsyncIterator[bytes]) -> SigningRequestView:
        """Take the bytes of a request whose content is uploaded; digest and size must be the asked ones."""
        request = await self._own(client, request_id)
        if not isinstance(request.content, Upload):
            raise Rejected("upload-not-asked", "This request says that the signer finds the bytes elsewhere.")
        if request.state not in LIVE:
            raise Conflict("request-state", f"The request is {request.state}; it takes no bytes.")
        await self._spool.receive(chunks, size=request.size, sha256=request.sha256)
        await anew(lambda: self._note_content(request))
        await self._ledger.announce([request.release.id])
        return await self.show(client, request_id)

    async def _note_content(self, request: SigningRequest) -> None:
        async with self._ledger.transaction() as transaction:
            moment = await transaction.lock([request.release])
            votes = await votes_on(transaction, {request.release.id: request.release})
            decided = decide(self._policy, [request.release], votes, moment)
            await transaction.content_arrived(request.id)
            asked = await asked_for(transaction, decided, votes)
            await transaction.write(following(self._policy, decided, asked, Moment(moment)))

    async def signature(self, client: Client, request_id: str) -> tuple[str, bytes]:
        """(file name, binary detached signature); the same bytes at every read. Raises ``Missing`` ``not-signed``."""
        request = await self._own(client, request_id)
        signature = await self._ledger.signature(request.id)
        if signature is None:
            raise Missing(
                "not-signed", f"There is no signature yet: the request is {request.state}. {request.sentence}"
            )
        return f"{request.release.file_name}.sig", signature

    async def _step(
        self, client: Client, request_id: str, event: Event, reason: str, sentence: str
    ) -> SigningRequestView:
        request = await self._own(client, request_id)
        after = moved(request.state, event)
        move = RequestMove(request.id, request.release.id, request.state, after, reason, sentence)
        async with self._ledger.transaction() as transaction:
            await transaction.lock([request.release])
            await transaction.write(Changes(moves=[move]))
        await self._ledger.announce([request.release.id])
        return await self.show(client, request_id)

    def _open(self, asked: SigningRequestAsk, requester: str, tier: Tier, moment: datetime) -> SigningRequest:
        release = parse_release(asked.release.kind, asked.release.purl, asked.release.file_name)
        return SigningRequest(
            id=uuid4(),
            release=release,
            requester=requester,
            tier=tier.name,
            size=asked.artifact.size,
            sha256=bytes.fromhex(asked.artifact.sha256),
            sha512=bytes.fromhex(asked.artifact.sha512),
            content=asked.content,
            content_present=self._is_present(asked),
            state=State.WAITING,
            reason="queued",
            sentence="The signer takes it next.",
            tries=0,
            created_at=moment,
            updated_at=moment,
            lane=lane_of(release.kind, bulk=asked.bulk),
        )

    def _is_present(self, asked: SigningRequestAsk) -> bool:
        """What the signer fetches itself counts as there until the signer has looked."""
        return not isinstance(asked.content, Upload) or self._spool.has(bytes.fromhex(asked.artifact.sha256))

    @staticmethod
    def _joined(known: SigningRequest, asked: SigningRequestAsk) -> SigningRequestView:
        if (known.size, known.sha512.hex()) != (asked.artifact.size, asked.artifact.sha512):
            raise Conflict(
                "request-differs", f"Request {known.id} names the same SHA-256 with another SHA-512 or size."
            )
        return request_view(known)

    async def _own(self, client: Client, request_id: str) -> SigningRequest:
        """Read a request that this client may see: one of a tier that it may ask."""
        self._known(client)
        request = await self._ledger.request(_uuid(request_id))
        if request is None:
            raise Missing("request-unknown", "There is no such signing request.")
        self._requester(client, self._policy.tier_of(request.release))
        return request

    def _known(self, client: Client) -> str:
        if client.address == UNIX:
            return self._local(client)
        requester = self._policy.requester_known_by(client.fingerprint) if client.fingerprint else None
        if requester is None:
            raise Forbidden("client-unknown", "The policy lists no requester with the key of this client certificate.")
        return requester

    def _local(self, client: Client) -> str:
        requester = self._policy.requester_of_user(client.user) if client.user is not None else None
        if requester is None:
            who = f"user {client.user}" if client.user is not None else "this user, which has no name"
            raise Forbidden("user-unknown", f"The policy lists no requester with {who} among its users.")
        return requester

    def _requester(self, client: Client, tier: Tier) -> str:
        requester = self._known(client)
        if requester not in tier.requesters:
            raise Forbidden("requester-not-allowed", f"Tier {tier.name} does not let requester {requester} ask.")
        if not _is_within(client.address, tier):
            raise Forbidden("network-not-allowed", f"Tier {tier.name} does not let {client.address} ask.")
        return requester


def _is_within(address: str, tier: Tier) -> bool:
    if address == UNIX:
        return tier.unix
    return any(ip_address(address) in network for network in tier.networks)


def _refuse_content(asked: SigningRequestAsk, tier: Tier) -> None:
    """A path must stay below its root; a hash state must be one, of the asked length, and finalise to the asked SHA-512."""
    if isinstance(asked.content, Pull):
        components(asked.content.path)
    if not isinstance(asked.content, HashState):
        return
    if tier.single_builder:
        raise Rejected(
            "hash-state-not-allowed",
            f"Tier {tier.name} has a single builder, so it takes the bytes, never a hash state.",
        )
    state = parse_state(decode_base64(asked.content.state))
    if state.length != asked.artifact.size or state.copy().digest().hex() != asked.artifact.sha512:
        raise Rejected("hash-state-differs", "The hash state is not of the asked size and SHA-512.")


def _news(request: SigningRequest, before: SigningRequest) -> bool:
    """Whether who waits would do anything else now: that a signer works on it is no news."""
    if request.state is State.WAITING:
        return (before.state, before.reason) != (request.state, request.reason)
    return request.state in _SETTLED


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Missing("request-unknown", "There is no such signing request.") from None
