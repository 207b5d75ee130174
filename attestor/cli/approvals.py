"""For who wants to know what people approved, and what waits for them. Needs no account."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from attestor.cli.connection import CaOption, Connection, ServerOption
from attestor.cli.output import JsonOption, note, say, say_json, say_table

if TYPE_CHECKING:
    from attestor.client.calls import AttestorClient
    from attestor.core.approvalwire import ApprovalView, TierPage, WantedApproval

Action = Literal["release", "downgrade", "re-sign", "dispute", "quota"]
_PAGE: Final = 500


def register(app: typer.Typer) -> None:
    app.command("approvals")(approvals)


def approvals(  # noqa: PLR0913 - one flag each
    *,
    server: ServerOption,
    ca: CaOption = None,
    wanted: Annotated[
        bool, typer.Option("--wanted", help="The signing requests that people may let through, in their place.")
    ] = False,
    manifest_out: Annotated[
        Path | None,
        typer.Option(
            help="With --wanted: write the releases and digests, of 10,000 at most, as a manifest for attestor approve."
        ),
    ] = None,
    tier: Annotated[str | None, typer.Option(help="Only of this tier.")] = None,
    action: Annotated[Action | None, typer.Option(help="Only for this exception.")] = None,
    approver: Annotated[str | None, typer.Option(help="Only by this approver; not with --wanted.")] = None,
    limit: Annotated[
        int, typer.Option(help="How many approvals at most; what waits is shown whole.", min=1, max=100_000)
    ] = 100,
    as_json: JsonOption = False,
) -> None:
    """List what people approved and how it stands, or what waits for them."""
    from attestor.client.approvals import everything_wanted, manifest_of
    from attestor.core.approvaldocuments import MAX_MANIFEST
    from attestor.core.errors import Rejected

    connection = Connection(server, ca)
    if not wanted and manifest_out is None:
        _print_approvals(connection, {"tier": tier, "approver": approver}, action, limit, as_json=as_json)
        return
    if approver is not None:
        raise Rejected("usage", "--approver chooses among what was approved; leave it out where you ask what waits.")
    found = connection.run(lambda client: everything_wanted(client, tier=tier, action=action))
    if manifest_out is not None:
        some = found[:MAX_MANIFEST]
        manifest = manifest_of(some)
        manifest_out.write_bytes(manifest)
        left = f"; {len(found) - len(some)} more wait, for another manifest" if len(found) > len(some) else ""
        note(f"{manifest_out}: {len(some)} releases, {len(manifest)} bytes{left}")
    if as_json:
        say_json(found)
    else:
        rows = ((one.action, one.terms.tier, _people(one), one.release.file_name, one.request) for one in found)
        say_table(("to approve", "tier", "people", "file", "request"), rows)


def say_approval(view: "ApprovalView") -> None:
    """One approval in sentences."""
    why = f" ({view.why})" if view.why is not None else ""
    what = f"{view.pairs} releases" if view.manifest is not None else f"request {view.request}"
    say(f"approval {view.digest}: {view.state}{why}")
    say(f"  {view.approver} approved: {view.action} in tier {view.tier}, {what}, until {view.until:%Y-%m-%d %H:%M}Z")
    say(f"  reason: {view.reason}")


def show_tiers(connection: Connection, name: str | None, *, as_json: bool) -> None:
    """Say what each tier, or the one of that *name*, still lets through."""
    import msgspec

    from attestor.core.errors import Missing

    page = connection.run(lambda client: client.tiers())
    shown = tuple(tier for tier in page.tiers if name in {None, tier.name})
    if not shown:
        raise Missing("no-tier", f"The service has no tier {name!r}.")
    page = msgspec.structs.replace(page, tiers=shown)
    if as_json:
        say_json(page)
    else:
        _print_tiers(page)


def _print_tiers(page: "TierPage") -> None:
    rows = []
    for tier in page.tiers:
        exceptions = ", ".join(f"{action}: {people}" for action, people in sorted(tier.approvals.items())) or "none"
        quota = tier.quota
        left = used = opens = "no quota"
        if quota is not None:
            left = f"{quota.left} of {quota.limit} a {quota.period}"
            used = f"{quota.used} used, {quota.reserved} reserved in {quota.name}"
            opens = f"{quota.opens_at:%Y-%m-%d %H:%M}Z"
        rows.append((tier.name, left, used, opens, tier.version_order, exceptions))
    say_table(("tier", "left", "used", "opens", "versions", "people who let through"), rows)


def _print_approvals(
    connection: Connection, filters: dict[str, str | None], action: str | None, limit: int, *, as_json: bool
) -> None:
    async def work(client: "AttestorClient") -> "list[ApprovalView]":
        found: list[ApprovalView] = []
        cursor: str | None = None
        while len(found) <= limit:
            page = await client.approvals(**filters, cursor=cursor, limit=_PAGE)
            found += (view for view in page.approvals if action in {None, view.action})
            cursor = page.cursor
            if cursor is None:
                break
        return found

    every = connection.run(work)
    found = every[:limit]
    if len(every) > limit:
        note(f"There are more than these {limit}; --limit says how many to show.")
    if as_json:
        say_json(found)
        return
    rows = (
        (
            one.state,
            one.approver,
            one.action,
            one.tier,
            f"{one.spent} of {one.pairs}",
            f"{one.until:%Y-%m-%d %H:%M}Z",
            one.digest,
        )
        for one in found
    )
    say_table(("state", "approver", "for", "tier", "spent", "until", "approval"), rows)


def _people(one: "WantedApproval") -> str:
    return f"{len(one.approved_by)} of {one.needed}"
