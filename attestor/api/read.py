"""Audience ``read``: what was agreed and by whom; needs no account."""

import msgspec
from aiohttp import web
from msgspec import UnsetType

from attestor.api.call import Call
from attestor.api.queries import BundleQuery, ReleasesQuery, SuspectsQuery
from attestor.core.suspects import Chosen


async def release(call: Call) -> web.StreamResponse:
    """One release: its votes and its decision now."""
    return call.tagged(await call.house.gate.release(call.path["releaseId"]))


async def explanation(call: Call) -> web.StreamResponse:
    """The whole chain of one release, in order."""
    return call.tagged(await call.house.gate.explain(call.path["releaseId"]))


async def releases(call: Call) -> web.StreamResponse:
    """A page of releases, by package, file, digest, tier or state."""
    wanted = call.asked(ReleasesQuery)
    page = await call.house.gate.releases(
        purl=given(wanted.purl),
        file_name=given(wanted.file),
        digest=given(wanted.digest),
        tier=given(wanted.tier),
        state=given(wanted.state),
        cursor=given(wanted.cursor),
        limit=wanted.limit,
    )
    return call.tagged(page)


async def suspects(call: Call) -> web.StreamResponse:
    """Signed releases that rest on keys which are revoked by now, a page of signed releases at a time."""
    wanted = call.asked(SuspectsQuery)
    chosen = Chosen(given(wanted.operator), wanted.since_when)
    return call.tagged(await call.house.gate.suspects(chosen, cursor=given(wanted.cursor), limit=wanted.limit))


async def envelope(call: Call) -> web.StreamResponse:
    """One attestation, byte for byte as it came."""
    kept = await call.house.gate.envelope(call.path["releaseId"], call.path["payloadDigest"], call.path["operator"])
    return call.tagged(kept)


async def bundle(call: Call) -> web.StreamResponse:
    """All that an offline check of a signed release needs, in one document: `attestor verify` takes it."""
    wanted = call.asked(BundleQuery)
    return call.tagged(await call.house.gate.bundle(call.path["releaseId"], given(wanted.digest)))


async def canary(call: Call) -> web.StreamResponse:
    """The last signature of the canary's string by each release key: `attestor canary verify` checks it."""
    return call.tagged(await call.house.gate.canaries())


async def openapi(call: Call) -> web.StreamResponse:
    """This interface, as OpenAPI 3.1."""
    return call.tagged(call.house.document)


def given(text: str | UnsetType) -> str | None:
    """What was asked for, if it was."""
    return None if text is msgspec.UNSET else text
