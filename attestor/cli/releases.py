"""For who wants to know: what was agreed, by whom, and why not. Needs no account."""

import re
from datetime import datetime
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from attestor.cli.approvals import show_tiers
from attestor.cli.connection import CaOption, Connection, ServerOption
from attestor.cli.output import Exit, JsonOption, leave, note, say, say_json, say_table
from attestor.cli.suspects import SINCE_FORMATS, Wanted, listing, show

if TYPE_CHECKING:
    from collections.abc import Iterable

    from attestor.client.calls import AttestorClient
    from attestor.core.wire import DecisionView, Explanation, ReleaseLine

_DIGEST: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_PAGE: Final = 500
_MEANING: Final = {"reached": Exit.YES, "pending": Exit.PENDING, "disputed": Exit.REFUSED}

SubjectArgument = Annotated[
    str, typer.Argument(help="A release id, a purl, a file's SHA-256, or a file name.", show_default=False)
]


def register(app: typer.Typer) -> None:
    app.command("status")(status)
    app.command("explain")(explain)
    app.command("bundle")(bundle)


def status(  # noqa: PLR0913 - one flag each
    subject: Annotated[
        str | None, typer.Argument(help="A release id, a purl, a file's SHA-256, or a file name; all without it.")
    ] = None,
    *,
    server: ServerOption,
    ca: CaOption = None,
    tier: Annotated[str | None, typer.Option(help="Only releases of this tier.")] = None,
    state: Annotated[
        Literal["pending", "reached", "disputed"] | None, typer.Option(help="Only releases in this state.")
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=100_000)] = 100,
    resting_on_revoked: Annotated[
        bool,
        typer.Option(
            "--resting-on-revoked",
            help="Instead: every signed release that counts a vote of revoked keys alone, received since the policy's "
            "compromised_since where that is stated; exit code 3 when one is not agreed without them.",
        ),
    ] = False,
    operator: Annotated[
        str | None, typer.Option(help="With --resting-on-revoked: only this operator's keys.", show_default=False)
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(formats=SINCE_FORMATS, help="With --resting-on-revoked: only what was received since then (UTC)."),
    ] = None,
    tiers: Annotated[
        bool,
        typer.Option("--tiers", help="The rules of each tier instead: what is left of its quota, and when it opens."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what was agreed. With a subject the exit code says it too: 0 reached, 2 pending, 3 disputed."""
    if tiers:
        show_tiers(Connection(server, ca), tier, as_json=as_json)
        return
    if resting_on_revoked:
        _refuse_together(subject, tier, state)
        leave(show(Connection(server, ca).run(listing(Wanted(operator, since))), as_json=as_json))
    _refuse_alone(operator, since)
    filters = {"tier": tier, "state": state}
    found = Connection(server, ca).run(lambda client: _find(client, subject, filters, limit))
    if as_json:
        say_json(found)
    else:
        _say_lines(found, sentences=subject is not None)
    if subject is not None:
        leave(_outcome(line.decision for line in found))


def _say_lines(found: "list[ReleaseLine]", *, sentences: bool) -> None:
    say_table(("state", "agree", "tier", "file", "release"), map(_cells, found))
    if sentences:
        for line in found:
            say(f"{line.file_name}: {line.decision.sentence}")


def explain(
    subject: SubjectArgument,
    *,
    server: ServerOption,
    ca: CaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the whole chain: who said what and when, what counts and why not, and what followed."""

    async def work(client: "AttestorClient") -> "list[Explanation]":
        found = await _find(client, subject, {}, _PAGE)
        return [await client.explain(line.id) for line in found]

    explained = Connection(server, ca).run(work)
    if as_json:
        say_json(explained)
    else:
        for one in explained:
            _print(one)
    leave(_outcome(one.release.decision for one in explained))


def bundle(
    subject: SubjectArgument,
    *,
    server: ServerOption,
    ca: CaOption = None,
    out: Annotated[
        Path | None, typer.Option(help="Where it goes (default: the release's file name with .bundle).")
    ] = None,
    digest: Annotated[
        str | None, typer.Option(metavar="SHA256", help="Of which bytes, where a release was signed anew with others.")
    ] = None,
) -> None:
    """Fetch all that an offline check of a signed release needs: attestor verify takes it."""
    from attestor.core.errors import Rejected

    async def work(client: "AttestorClient") -> tuple[str, bytes]:
        found = await _find(client, subject, {}, _PAGE)
        if len(found) > 1:
            raise Rejected("several-releases", f"{len(found)} releases fit {subject!r}: name one by its id.")
        return found[0].file_name, await client.bundle(found[0].id, digest)

    file_name, document = Connection(server, ca).run(work)
    # Whatever the service calls it, it stays in this folder.
    target = out or Path(f"{PurePath(file_name).name}.bundle")
    target.write_bytes(document)
    note(f"{target}: {len(document)} bytes")


def _refuse_together(*others: str | None) -> None:
    from attestor.core.errors import Rejected

    if any(other is not None for other in others):
        raise Rejected("usage", "--resting-on-revoked goes with --operator and --since, and no other choice.")


def _refuse_alone(*flags: object) -> None:
    from attestor.core.errors import Rejected

    if any(flag is not None for flag in flags):
        raise Rejected("usage", "--operator and --since go with --resting-on-revoked.")


async def _find(
    client: "AttestorClient", subject: str | None, filters: dict[str, str | None], limit: int
) -> "list[ReleaseLine]":
    from attestor.core.errors import Missing

    if subject is None:
        return await _pages(client, filters, limit)
    found = await _by_id(client, subject) or await _pages(client, {**filters, **_named(subject)}, limit)
    if not found:
        raise Missing("no-release", f"The service knows no release {subject!r}: nobody attested or asked for it.")
    return found


async def _by_id(client: "AttestorClient", subject: str) -> "list[ReleaseLine]":
    from attestor.core.errors import Missing
    from attestor.core.wire import ReleaseLine

    if not _DIGEST.fullmatch(subject):
        return []
    try:
        view = await client.release(subject)
    except Missing:
        return []
    names = {"id": view.id, "kind": view.kind, "purl": view.purl, "file_name": view.file_name}
    return [ReleaseLine(**names, decision=view.decision)]


def _named(subject: str) -> dict[str, str]:
    if _DIGEST.fullmatch(subject):
        return {"digest": subject}
    return {"purl": subject} if subject.startswith("pkg:") else {"file": PurePath(subject).name}


async def _pages(client: "AttestorClient", filters: dict[str, str | None], limit: int) -> "list[ReleaseLine]":
    found: list[ReleaseLine] = []
    cursor: str | None = None
    while len(found) < limit:
        page = await client.releases(**filters, cursor=cursor, limit=min(_PAGE, limit - len(found)))
        found += page.releases
        cursor = page.cursor
        if cursor is None:
            break
    return found


def _cells(line: "ReleaseLine") -> tuple[str, ...]:
    decision = line.decision
    agree = f"{len(decision.agreeing)} of {decision.threshold}"
    return (decision.state, agree, decision.tier, line.file_name, line.id)


def _outcome(decisions: "Iterable[DecisionView]") -> Exit:
    return max((_MEANING[decision.state] for decision in decisions), default=Exit.ERROR)


def _print(one: "Explanation") -> None:
    release, decision = one.release, one.release.decision
    say(f"{release.file_name}\n  {release.kind} {release.purl}\n  release {release.id}")
    say(f"  {decision.state}: {decision.sentence} [{decision.reason}]")
    say(f"  tier {decision.tier}, policy serial {decision.policy_serial}, sha256 {decision.policy_digest}")
    if decision.sha256:
        say(f"  bytes: sha256 {decision.sha256}, {decision.size or 'unstated'} bytes")
    votes = (
        (vote.operator, vote.outcome, vote.sha256 or "", _counts(vote.reason, counted=vote.counted), vote.form)
        for vote in release.votes
    )
    say_table(("operator", "outcome", "sha256", "counts", "form"), votes)
    events = ((f"{event.at:%Y-%m-%d %H:%M:%S}Z", event.what, event.detail, event.request or "") for event in one.events)
    say_table(("when", "what", "detail", "request"), events)


def _counts(reason: str | None, *, counted: bool) -> str:
    return "yes" if counted else f"no: {reason or 'no bytes stated'}"
