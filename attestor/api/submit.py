"""Audience ``submit``: attestations come in; the signature in each is the proof, so no account is needed."""

from aiohttp import web

from attestor.api import bodies
from attestor.api.batch import MAX_BATCH_BYTES, Batch
from attestor.api.call import Call
from attestor.core.envelope import MAX_ENVELOPE_BYTES

ATTESTATION_TYPES = ("application/json", "application/vnd.dsse.envelope.v1+json", "application/vnd.in-toto+json")
BATCH_TYPE = "application/x-ndjson"
_PATIENCE_SECONDS = 300
"""Places for batches are few and need no account: whoever sends a byte a minute must not hold one for ever."""


async def attestation(call: Call) -> web.StreamResponse:
    """One envelope or link; 201 when it is new, 200 when its payload was known. Durable when answered."""
    bodies.refuse_media_type(call.request, *ATTESTATION_TYPES)
    raw = await bodies.whole(call.request, MAX_ENVELOPE_BYTES)
    async with call.house.singles:
        receipt = await call.house.gate.admit(raw, call.peer.counted)
    return call.answer(receipt, 200 if receipt.replay else 201)


async def batch(call: Call) -> web.StreamResponse:
    """Up to 10,000 attestations, one a line; each is answered by one line, in order, while others are still coming."""
    bodies.refuse_media_type(call.request, BATCH_TYPE)
    bodies.refuse_announced(call.request, MAX_BATCH_BYTES)
    async with call.house.batches:
        answer = web.StreamResponse(headers={"Content-Type": BATCH_TYPE, "X-Request-Id": call.request_id})
        answer.force_close()  # a batch may end before its body does
        await answer.prepare(call.request)
        batch = Batch(call.house.gate, call.peer.counted, call.request_id, call.house.metrics.refused)
        await batch.run(bodies.chunks(call.request, patience=_PATIENCE_SECONDS), answer.write)
        await answer.write_eof()
        return answer
