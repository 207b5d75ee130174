"""What the log costs intake: the same submissions with an API that tells the log, and with one that does not, in turn."""

from statistics import median

from tests.bench.figure import Figure
from tests.bench.stand import Stand, role
from tests.bench.submitting import batches, singles

_WARM = 1000
_TELLING = {True: ("attestor",), False: ("tests.bench.untold",)}
_RECEIVED = "SELECT count(*) FROM (SELECT kind FROM log_entries UNION ALL SELECT kind FROM log_outbox) e WHERE kind = 'received'"


async def figures(place: Stand, count: int, pairs: int) -> list[Figure]:
    """Pairs of runs, each with a fresh API; every other pair begins with the one that tells, so that drift cancels out."""
    single: list[dict[bool, float]] = []
    batch: list[dict[bool, float]] = []
    for number in range(pairs):
        single.append({})
        batch.append({})
        for tells in (True, False) if number % 2 else (False, True):
            single[-1][tells], batch[-1][tells] = await _rates(place, count, tells=tells)
    return [_share("single submissions", single), _share("batch submissions", batch)]


async def _rates(place: Stand, count: int, *, tells: bool) -> tuple[float, float]:
    before = await place.count(_RECEIVED)
    async with role(place, "api", program=_TELLING[tells]):
        await singles(place, min(count, _WARM), tls=False)
        rates = (await singles(place, count, tls=False)).rate, await batches(place, count)
    if (await place.count(_RECEIVED) > before) is not tells:
        raise RuntimeError(f"the log was {'not ' if tells else ''}told of submissions")
    return rates


def _share(what: str, pairs: list[dict[bool, float]]) -> Figure:
    note = "; ".join(f"{pair[True]:,.0f} of {pair[False]:,.0f}/s" for pair in pairs)
    share = median(pair[True] / pair[False] for pair in pairs)
    return Figure(f"{what} told to the log, of those untold", share, "", target=0.9, note=note)
