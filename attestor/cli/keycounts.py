"""For who answers for the release keys: were they used by anybody else?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from attestor.cli.output import ConfigOption, Exit, JsonOption, leave, login_name, note, now, say_json, say_table

if TYPE_CHECKING:
    from attestor.config import Config
    from attestor.core.operations import KeyCount


def register(app: typer.Typer) -> None:
    app.command("reconcile")(reconcile)


def reconcile(  # noqa: PLR0913 - one flag each
    *,
    config: ConfigOption,
    acknowledge: Annotated[
        str | None,
        typer.Option("--acknowledge", help="A signing key whose use by the device you take for the count from now on."),
    ] = None,
    count: Annotated[int | None, typer.Option(help="With --acknowledge: the device's number, as shown.", min=0)] = None,
    reason: Annotated[str | None, typer.Option(help="With --acknowledge: what you found out; it is kept.")] = None,
    by: Annotated[str | None, typer.Option(help="With --acknowledge: who you are (default: your login name).")] = None,
    as_json: JsonOption = False,
) -> None:
    """Hold what the HSM says of each release key's uses against what was counted before each call.

    Run it as the signer's user, on the signer's host. Above the count, the key signs nothing until somebody has acknowledged the
    device's number; below is what a device loses with its power. Without the signer's credentials its last reading is shown.
    Exit code 3: a key is stopped.
    """
    import asyncio

    from attestor.app.embedded import resolved
    from attestor.app.reconciling import look
    from attestor.config import load_config

    loaded = resolved(load_config(config))
    if acknowledge is not None:
        _acknowledge(loaded, acknowledge, count, reason or "", by)
    found = asyncio.run(look(loaded, now))
    rows = [_row(name, key) for name, key in found.keys.items()]
    if as_json:
        say_json(rows)
    else:
        columns = ("key", "counted", "operations", "missing", "readAt", "state")
        say_table(
            columns, ([str(row[column]) if row[column] is not None else "-" for column in columns] for row in rows)
        )
    if found.unread is not None:
        note(f"The device was not read now, this is the signer's last reading: {found.unread.sentence}")
    leave(Exit.REFUSED if any(key.stopped for key in found.keys.values()) else Exit.YES)


def _acknowledge(config: "Config", name: str, count: int | None, reason: str, by: str | None) -> None:
    import asyncio

    from attestor.app.reconciling import acknowledge
    from attestor.core.errors import Rejected
    from attestor.core.operations import Acknowledgement

    if count is None or not reason.strip():
        raise Rejected("usage", "--acknowledge needs --count, the device's number, and --reason, what you found out.")
    said = Acknowledgement(by or login_name(), now(), reason, count)
    key = asyncio.run(acknowledge(config, name, said))
    note(f"{name} counts {key.counted} uses from now on, on the word of {said.who}.")


def _row(name: str, key: "KeyCount") -> dict[str, Any]:
    state = "stopped" if key.stopped else "unread" if key.operations is None else "missing" if key.missing else "even"
    return {
        "key": name,
        "place": key.place,
        "counted": key.counted,
        "operations": key.operations,
        "missing": key.missing,
        "readAt": key.read_at,
        "state": state,
    }
