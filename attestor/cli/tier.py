"""For who runs it: pause and resume a tier, and put back what was set aside, with what waits in it shown first."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from attestor.cli.output import ConfigOption, JsonOption, login_name, say, say_json, say_table

if TYPE_CHECKING:
    from attestor.store.pauses import Backlog, Pauses

app = typer.Typer(help="A tier's requests as a whole: backlog, pause, resume, retry.", no_args_is_help=True)

TierArgument = Annotated[str, typer.Argument(help="The tier's name in the policy.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking first.")]
T = TypeVar("T")

_COLUMNS = ("tier", "queued", "waiting", "claimed", "aside", "paused")


@app.command("backlog")
def backlog(*, config: ConfigOption, as_json: JsonOption = False) -> None:
    """Show what is open in every tier, and which tiers are paused."""

    async def look(held: "Pauses") -> "list[Backlog]":
        return await held.backlog()

    lines = _run(config, look)
    if as_json:
        say_json(lines)
    else:
        say_table(_COLUMNS, map(_row, lines))


@app.command("pause")
def pause(
    tier: TierArgument,
    *,
    config: ConfigOption,
    reason: Annotated[str, typer.Option(help="Why; requesters read it.")],
    yes: YesOption = False,
) -> None:
    """Let no request of the tier be claimed until it is resumed; what a signer has begun, it ends."""
    _confirm(config, tier, "Pause it?", sure=yes)
    paused = _run(config, lambda held: held.pause(tier, reason, login_name()))
    say(f"{tier} is paused." if paused else f"{tier} was paused already.")


@app.command("resume")
def resume(tier: TierArgument, *, config: ConfigOption, yes: YesOption = False) -> None:
    """Let the tier's requests be claimed again, the oldest first."""
    _confirm(config, tier, "Resume it?", sure=yes)
    resumed = _run(config, lambda held: held.resume(tier))
    say(f"{tier} is resumed." if resumed else f"{tier} was not paused.")


@app.command("retry")
def retry(tier: TierArgument, *, config: ConfigOption, yes: YesOption = False) -> None:
    """Put everything that was set aside in the tier back into the queue, with its tries unspent."""
    _confirm(config, tier, "Put what is aside back into the queue?", sure=yes)
    say(f"{_run(config, lambda held: held.retry_aside(tier))} requests of {tier} are in the queue again.")


def _confirm(config: Path, tier: str, question: str, *, sure: bool) -> None:
    from attestor.app.pausing import backlog_of
    from attestor.config import load_config

    say_table(_COLUMNS, [_row(_run(config, lambda held: backlog_of(load_config(config), held, tier)))])
    if not sure:
        typer.confirm(question, abort=True)


def _run(config: Path, work: "Callable[[Pauses], Awaitable[T]]") -> T:
    import asyncio

    from attestor.app.embedded import resolved
    from attestor.app.pausing import pauses
    from attestor.config import load_config

    async def within() -> T:
        async with pauses(resolved(load_config(config))) as held:
            return await work(held)

    return asyncio.run(within())


def _row(line: "Backlog") -> tuple[str, ...]:
    since = f"since {line.paused_at:%Y-%m-%d %H:%M} UTC by {line.paused_by}: {line.reason}" if line.paused_at else ""
    return (line.tier, *map(str, (line.queued, line.waiting, line.claimed, line.aside)), since)
