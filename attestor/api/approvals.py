"""Approvals come in at audience ``submit``, where the signature is the proof; who may know of them is ``read``: everybody."""

from typing import Final

from aiohttp import web

from attestor.api import bodies
from attestor.api.call import Call
from attestor.api.queries import ApprovalsQuery, WantedQuery
from attestor.api.read import given
from attestor.core.approvals import Given
from attestor.core.approvalwire import ApprovalAsk, RevocationAsk
from attestor.core.strictjson import decode_base64

_MAX_APPROVAL_BYTES: Final = 3 << 20
"""A manifest of 2 MiB in base64, and the rest."""


async def approve(call: Call) -> web.StreamResponse:
    """One person's approval; 201 when it is new, 200 when it was known. Durable when answered."""
    asked = await bodies.ask(call.request, ApprovalAsk, _MAX_APPROVAL_BYTES)
    manifest = decode_base64(asked.manifest) if asked.manifest is not None else None
    signed = Given(asked.key, decode_base64(asked.document), decode_base64(asked.signature), manifest)
    async with call.house.singles:
        view, new = await call.house.gate.approve(signed, asked.reason, call.peer.counted)
    return call.answer(view, 201 if new else 200)


async def revoke(call: Call) -> web.StreamResponse:
    """Take an approval back that is not spent yet, by any valid key of the same approver."""
    asked = await bodies.ask(call.request, RevocationAsk)
    signed = Given(asked.key, decode_base64(asked.document), decode_base64(asked.signature))
    async with call.house.singles:
        view = await call.house.gate.revoke_approval(call.path["approvalDigest"], signed, call.peer.counted)
    return call.answer(view)


async def approvals(call: Call) -> web.StreamResponse:
    """A page of approvals and how each stands, by tier, approver or release."""
    asked = call.asked(ApprovalsQuery)
    page = await call.house.gate.approvals(
        tier=given(asked.tier),
        approver=given(asked.approver),
        release=given(asked.release),
        cursor=given(asked.cursor),
        limit=asked.limit,
    )
    return call.tagged(page)


async def approval(call: Call) -> web.StreamResponse:
    """One approval with what was signed, and each release that it names."""
    return call.tagged(await call.house.gate.approval(call.path["approvalDigest"]))


async def wanted(call: Call) -> web.StreamResponse:
    """A page of the signing requests that people may let through, with all that they must see and sign."""
    asked = call.asked(WantedQuery)
    page = await call.house.gate.awaiting_approval(
        request=given(asked.request), cursor=given(asked.cursor), limit=asked.limit
    )
    return call.tagged(page)


async def tiers(call: Call) -> web.StreamResponse:
    """The rules of every tier beyond agreement, and what is left of each quota."""
    return call.tagged(await call.house.gate.tiers())
