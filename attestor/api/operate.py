"""Audience ``operate``: whether the process works, in words for load balancers and for Prometheus."""

import asyncio

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from attestor.api.call import Call, Probe
from attestor.api.metrics import Standing
from attestor.core.errors import AttestorError
from attestor.core.wire import Health, PartHealth, Readiness

_PROBE_SECONDS = 5


async def healthz(call: Call) -> web.StreamResponse:
    """The process answers; says nothing of its parts."""
    return call.answer(Health(status="ok"))


async def readyz(call: Call) -> web.StreamResponse:
    """Each part, and how old what is known of it is; 503 when one is not ready or the process is leaving."""
    parts = await asyncio.gather(*(_probed(probe) for probe in call.house.probes))
    ready = all(part.ready for part in parts) and not call.house.leaving.is_set()
    return call.answer(Readiness(ready=ready, parts=tuple(parts)), 200 if ready else 503)


async def metrics(call: Call) -> web.StreamResponse:
    """The text format of Prometheus."""
    call.house.metrics.stands(await _standing(call))
    text = generate_latest(call.house.metrics.registry)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4, "Cache-Control": "no-store"})


async def _standing(call: Call) -> Standing | None:
    if call.house.standing is None:
        return None
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return await call.house.standing()
    except (AttestorError, OSError, TimeoutError):
        # The other metrics are wanted most when the database is away; /readyz says why.
        return None


async def _probed(probe: Probe) -> PartHealth:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            return await probe()
    except (AttestorError, OSError, TimeoutError) as error:
        why = error.sentence if isinstance(error, AttestorError) else type(error).__name__
        name = getattr(probe, "__name__", "part")
        return PartHealth(part=name, ready=False, age_seconds=0.0, detail=why)
