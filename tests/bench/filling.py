"""Reading and submitting when many claims are stored already: filled by SQL with copies of one release that was reached."""

import asyncpg

from attestor.client.calls import AttestorClient
from tests.bench.figure import Figure
from tests.bench.load import Requests, load
from tests.bench.stand import Stand
from tests.bench.submitting import singles
from tests.bench.votes import package, write_lines

# Each statement copies the rows of one release ($1) for the names fill-FIRST to fill-LAST ($2, $3). Digests of payloads
# are made from the name and the original's, so that every row is another one and every constraint holds.
_NAMES = """
    SELECT n, 'fill-' || n || '-1.0-1-any.pkg.tar.zst' AS file_name, 'pkg:alpm/arch/fill-' || n || '@1.0-1?arch=any' AS purl,
           sha256(convert_to('package' || chr(10) || 'pkg:alpm/arch/fill-' || n || '@1.0-1?arch=any' || chr(10)
                             || 'fill-' || n || '-1.0-1-any.pkg.tar.zst', 'UTF8')) AS id
    FROM generate_series($2::int, $3::int) AS n
"""
_DIGEST = "sha256(c.payload_digest || convert_to('fill-' || f.n, 'UTF8'))"
_FILL = (
    f"INSERT INTO releases (id, kind, purl, file_name) SELECT id, 'package', purl, file_name FROM ({_NAMES}) f WHERE $1::bytea IS NOT NULL",  # noqa: S608 - constants
    f"""INSERT INTO envelopes SELECT e.operator, {_DIGEST}, e.body, e.received_at
        FROM ({_NAMES}) f, claims c JOIN envelopes e USING (operator, payload_digest) WHERE c.release_id = $1""",  # noqa: S608 - constants
    f"""INSERT INTO claims SELECT f.id, c.operator, {_DIGEST}, c.form, c.keys, c.outcome, c.sha256, c.sha512, c.size, c.received_at
        FROM ({_NAMES}) f, claims c WHERE c.release_id = $1""",  # noqa: S608 - constants
    f"""INSERT INTO decisions SELECT f.id, d.state, d.tier, d.policy_digest, d.holds_until, d.view, d.decided_at
        FROM ({_NAMES}) f, decisions d WHERE d.release_id = $1""",  # noqa: S608 - constants
)
_STEP = 25_000
_IDS = "SELECT encode(id, 'hex') FROM releases WHERE file_name LIKE 'fill-%' ORDER BY sha256(id) LIMIT $1"


async def figures(place: Stand, claims: int, submissions: int, reads: int, *, limit: float) -> list[Figure]:
    """Submissions with few claims stored and with many, in turn; then reads of releases picked at random."""
    few = await singles(place, submissions, tls=False)
    stored = await place.count()
    ids = await _fill(place, claims, reads)
    many = await singles(place, submissions, tls=False)
    lines = write_lines(place.folder / "reads", [f"/v1/releases/{id_}".encode() for id_ in ids])
    read = await load(place.plain_url, Requests("GET", lines, len(ids)))
    if read.good != len(ids):
        raise RuntimeError(f"{len(ids)} reads, {read.good} good answers")
    what = f"{await place.count():,} claims stored"
    note = f"{few.rate:,.0f}/s with {stored:,}, {many.rate:,.0f}/s with {what}; p99 {few.p99_ms:.0f} and {many.p99_ms:.0f} ms"
    return [
        Figure("submissions when full, of those when empty", many.rate / few.rate, "", target=0.9, note=note),
        Figure("decision reads when full", read.rate, "/s", target=2000, limit=limit, note=what),
        Figure("decision reads when full, p99", read.p99_ms, "ms", target=10, at_most=True),
    ]


async def _fill(place: Stand, claims: int, reads: int) -> list[str]:
    release = package("filling")
    async with AttestorClient(place.plain_url) as client:
        for operator in ("alice", "bob"):
            await client.submit(place.voters.envelope(operator, release, b"filling"))
    connection = await asyncpg.connect(place.config.database.dsn_owner)
    try:
        for first in range(0, claims // 2, _STEP):
            last = min(first + _STEP, claims // 2) - 1
            async with connection.transaction():
                for statement in _FILL:
                    await connection.execute(statement, bytes.fromhex(release.id), first, last)
        await connection.execute("ANALYZE")
        found = [row[0] for row in await connection.fetch(_IDS, reads)]
        return [found[number % len(found)] for number in range(reads)]
    finally:
        await connection.close()
