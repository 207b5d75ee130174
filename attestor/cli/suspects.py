"""``attestor status --resting-on-revoked``: signed releases that rest on keys which are revoked by now."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from attestor.cli.output import Exit, note, say, say_json, say_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from attestor.client.calls import AttestorClient
    from attestor.core.wire import SuspectLine

SINCE_FORMATS: Final = ["%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose revoked keys, and what was received since when (UTC); ``None`` is all."""

    operator: str | None
    since: datetime | None

    @property
    def query(self) -> dict[str, str | int | None]:
        since = self.since.replace(tzinfo=UTC).isoformat().replace("+00:00", "Z") if self.since is not None else None
        return {"operator": self.operator, "since": since}


def listing(wanted: Wanted) -> "Callable[[AttestorClient], Awaitable[list[SuspectLine]]]":
    """Follow every page: each looks through some signed releases and may show none of them."""

    async def work(client: "AttestorClient") -> "list[SuspectLine]":
        found: list[SuspectLine] = []
        cursor: str | None = None
        while True:
            page = await client.suspects(**wanted.query, cursor=cursor)
            found += page.releases
            cursor = page.cursor
            if cursor is None:
                return found

    return work


def show(found: "list[SuspectLine]", *, as_json: bool) -> Exit:
    """Print them; the outcome is a refusal where one would not have been signed without the keys."""
    if as_json:
        say_json(found)
    else:
        rows = (_cells(line, number) for line in found for number in range(len(line.votes)))
        say_table(("holds", "decision", "file", "counted", "operator", "received", "key", "release"), rows)
        for line in found:
            if not line.reached:
                say(f"{line.file_name}: {line.sentence}")
        if not found:
            note("No signed release rests on a revoked key alone.")
    return Exit.YES if all(line.reached for line in found) else Exit.REFUSED


def _cells(line: "SuspectLine", number: int) -> tuple[str, ...]:
    vote = line.votes[number]
    keys = ", ".join(key[:16] for key in vote.keys)
    received = f"{vote.received_at:%Y-%m-%d %H:%M:%S}Z"
    holds = "yes" if line.reached else "no"
    counted = ", ".join(line.counted)
    return (holds, str(line.decision), line.file_name, counted, vote.operator, received, keys, line.id)
