"""For who keeps a copy of the log, checks it, or brings it back after the database lost some of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from attestor.cli.connection import CaOption
from attestor.cli.output import ConfigOption, Exit, JsonOption, leave, note, say, say_json, say_table

if TYPE_CHECKING:
    from attestor.core.seal import SealRing
    from attestor.core.tlog.note import VerifierKey
    from attestor.service.export import Exported, Progress
    from attestor.service.logcheck import Report
    from attestor.service.recover import NamedBytes, Recovered

LogKeyOption = Annotated[
    str, typer.Option("--log-key", help="The log's key as a policy writes it (a vkey), or a file that holds it.")
]
_SHOWN: Final = 50


def register(app: typer.Typer) -> None:
    app.command("export")(export)
    app.command("check")(check)
    app.command("recover")(recover)


def export(  # noqa: PLR0913 - one flag each
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The copy; made where it is missing.")],
    *,
    url: Annotated[str, typer.Option(help="The log's own address: https://HOST:PORT/log.")],
    log_key: LogKeyOption,
    ca: CaOption = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until stopped.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks with --follow.", min=0.1)] = 60,
    as_json: JsonOption = False,
) -> None:
    """Keep a static copy of the log, each byte proven, as any web server can serve it (C2SP tlog-tiles).

    Stopped anywhere, it goes on where it was. Exit code 4 when the log went back or was forked: then keep the copy.
    """
    import asyncio

    from attestor.client.log import HttpLog
    from attestor.client.tls import client_tls
    from attestor.core.errors import Unavailable
    from attestor.publish.tree import StaticTree
    from attestor.service.export import export as brought_up

    key, tls = key_given(log_key), client_tls(ca=ca)

    async def once(source: HttpLog) -> None:
        with bar("entries copied") as progress:
            exported = await brought_up(source, StaticTree(folder), key, progress)
        if exported.before < exported.checkpoint.size or not follow:
            _say_exported(folder, exported, as_json=as_json)

    async def until_stopped(source: HttpLog) -> None:
        while True:
            try:
                await once(source)
            except Unavailable as error:
                note(f"{error.sentence} Trying again in {every:g} s. [{error.code}]")
            await asyncio.sleep(every)

    async def run() -> None:
        async with HttpLog(url, tls=tls) as source:
            await (until_stopped(source) if follow else once(source))

    asyncio.run(run())


def check(  # noqa: PLR0913 - one flag each
    *,
    log_key: LogKeyOption,
    url: Annotated[str | None, typer.Option(help="Check the log at this address: https://HOST:PORT/log.")] = None,
    ca: CaOption = None,
    folder: Annotated[Path | None, typer.Option("--dir", help="Check an export.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Check the rows in the database of this deployment file, as its owner.")
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="A policy file: what only a signer may say must carry one of its seals.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Recompute the whole log from its entries: hashes, tiles, root, and the form, key and order of every entry.

    Exit code 0 when all of it is right, 3 when anything is not.
    """
    import asyncio

    from attestor.config.loading import load_policy
    from attestor.core.errors import Rejected

    key = key_given(log_key)
    seals = load_policy(policy).log.seals if policy is not None else None
    with bar("entries checked") as progress:
        match (url, folder, config):
            case (str(), None, None):
                work = _check_url(url, ca, key, seals, progress)
            case (None, Path(), None):
                work = _check_folder(folder, key, seals, progress)
            case (None, None, Path()):
                work = _check_stored(config, key, seals, progress)
            case _:
                raise Rejected("usage", "Say one of --url URL, --dir DIR, --config FILE.")
        report = asyncio.run(work)
    if as_json:
        say_json(report)
    else:
        _print(report)
    leave(Exit.REFUSED if report.findings else Exit.YES)


def recover(
    *,
    source: Annotated[
        Path, typer.Option("--from", metavar="EXPORT", help="The folder that attestor log export wrote.")
    ],
    config: ConfigOption,
    as_json: JsonOption = False,
) -> None:
    """Bring back, byte for byte, what a restored database lacks of the log; say what has to be sent again.

    Nothing changes unless the copy is right to its end, contains all that the database has, and reaches the anchor.
    """
    import asyncio

    from attestor.app.embedded import resolved
    from attestor.app.recovery import recover_stored
    from attestor.config import load_config

    with bar("entries held against the database") as progress:
        recovered = asyncio.run(recover_stored(resolved(load_config(config)), source, progress))
    if as_json:
        say_json(_plain(recovered))
    else:
        _say_recovered(recovered)


async def _check_url(
    url: str, ca: Path | None, key: "VerifierKey", seals: "SealRing | None", progress: "Progress"
) -> "Report":
    from attestor.client.log import HttpLog
    from attestor.client.tls import client_tls
    from attestor.service.logcheck import check_log

    async with HttpLog(url, tls=client_tls(ca=ca)) as source:
        return await check_log(source, key, progress, seals=seals)


async def _check_folder(folder: Path, key: "VerifierKey", seals: "SealRing | None", progress: "Progress") -> "Report":
    from attestor.publish.tree import StaticTree
    from attestor.service.logcheck import check_log

    return await check_log(StaticTree(folder), key, progress, seals=seals)


async def _check_stored(config: Path, key: "VerifierKey", seals: "SealRing | None", progress: "Progress") -> "Report":
    from attestor.app.embedded import resolved
    from attestor.app.recovery import check_stored
    from attestor.config import load_config

    loaded = resolved(load_config(config))
    return await check_stored(loaded, key, seals or loaded.policy.log.seals, progress)


def key_given(text: str) -> "VerifierKey":
    from attestor.core.tlog.note import parse_vkey

    path = Path(text)
    return parse_vkey(path.read_text("utf-8").strip() if path.is_file() else text)


def _say_exported(folder: Path, exported: "Exported", *, as_json: bool) -> None:
    checkpoint = exported.checkpoint
    if as_json:
        say_json({"before": exported.before, "size": checkpoint.size, "root": checkpoint.root.hex()})
    else:
        say(f"{folder}: {checkpoint.size} entries, {checkpoint.size - exported.before} of them new.")


def _print(report: "Report") -> None:
    for finding in report.findings:
        say(f"{'log' if finding.index is None else f'entry {finding.index}'}: {finding.sentence} [{finding.code}]")
    if report.more:
        say(f"... and {report.more} more")
    say(f"{report.origin}: {report.size} entries, root {report.root}")
    for kind, count in sorted(report.kinds.items()):
        say(f"  {count:>9}  {kind}")
    say("Some of it is wrong." if report.findings else "All of it is right.")


def _say_recovered(recovered: "Recovered") -> None:
    back = recovered.after - recovered.before
    say(
        f"The log has {recovered.after} entries again: {back} came back, and {recovered.outbox} that waited were in it already."
    )
    for what, lost in (("attestations", recovered.payloads), ("withdrawals", recovered.withdrawals)):
        if lost:
            say(
                f"\nThe log names {len(lost)} {what} that the database lacks. No release is signed that one of them speaks of,"
            )
            say("until its operator has submitted the very same envelope again:\n")
            _table(
                ("operator", "payload", "a release"), [(one.operator, one.payload.hex(), one.release) for one in lost]
            )
    if recovered.signatures:
        say(
            f"\nThe log names {len(recovered.signatures)} signatures that the database lacks; who fetched them has them:\n"
        )
        _table(("release", "SHA-256"), [(one.release, one.sha256.hex()) for one in recovered.signatures])
    if not (recovered.payloads or recovered.withdrawals or recovered.signatures):
        say("The database holds all that the log names; nothing remains to be done.")


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    say_table(columns, rows[:_SHOWN])
    if len(rows) > _SHOWN:
        say(f"... and {len(rows) - _SHOWN} more: --json lists all.")


def _plain(recovered: "Recovered") -> dict[str, Any]:
    return {
        "before": recovered.before,
        "after": recovered.after,
        "outbox": recovered.outbox,
        "payloads": [_named(one) for one in recovered.payloads],
        "withdrawals": [_named(one) for one in recovered.withdrawals],
        "signatures": [{"release": one.release, "sha256": one.sha256.hex()} for one in recovered.signatures],
    }


def _named(one: "NamedBytes") -> dict[str, str]:
    return {
        "operator": one.operator,
        "payload": one.payload.hex(),
        "release": one.release,
        "envelope": one.sha256.hex(),
    }


@contextmanager
def bar(what: str) -> "Iterator[Progress]":
    """A bar on stderr; silent where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)
