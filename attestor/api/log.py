"""Audience ``read``: the transparency log as C2SP tlog-tiles serves it, for whoever follows it."""

from typing import Final

from aiohttp import web

from attestor.api.call import Call
from attestor.core.errors import Missing
from attestor.core.tlog.tiles import BUNDLE, parse_tile_path

CHECKPOINT_TYPE = "text/plain"
TILE_TYPE = "application/octet-stream"
_FOREVER: Final = "public, max-age=604800, immutable"
_IN_THREAD: Final = 4096
"""Bytes from which compression leaves the event loop."""


async def checkpoint(call: Call) -> web.StreamResponse:
    """The published checkpoint: origin, tree size and root hash, as a signed note with its cosignatures."""
    note = await call.house.gate.checkpoint()
    if note is None:
        raise Missing("log-empty", "The log has published no checkpoint yet; ask again in a moment.")
    return call.tagged(note, CHECKPOINT_TYPE, charset="utf-8")


async def tile(call: Call) -> web.StreamResponse:
    """A hash tile or an entry bundle, full or partial, of the published tree."""
    asked = parse_tile_path(f"tile/{call.path['tile']}")
    raw = await call.house.gate.tile(asked)
    answer = web.Response(
        body=raw, content_type=TILE_TYPE, headers={"Cache-Control": _FOREVER}, zlib_executor_size=_IN_THREAD
    )
    # Hashes do not compress, so only bundles differ by what the client takes.
    if asked.level == BUNDLE:
        answer.headers["Vary"] = "Accept-Encoding"
        if _takes_gzip(call.request.headers.get("Accept-Encoding", "")):
            answer.enable_compression(web.ContentCoding.gzip)
    return answer


def _takes_gzip(accepted: str) -> bool:
    """Whether the field says so (RFC 9110 §12.5.3); a weight of zero is a refusal, an absent field asks for nothing."""
    for choice in accepted.lower().split(","):
        coding, _, weight = choice.partition(";")
        if coding.strip() in {"gzip", "x-gzip"}:
            return weight.strip().replace(" ", "").rstrip("0") not in {"q=", "q=0."}
    return False
