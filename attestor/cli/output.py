"""How verbs print: JSON for programs, tables and sentences for people, and exit codes that say what came of it."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer


class Exit(IntEnum):
    """What a script may branch on."""

    YES = 0
    ERROR = 1
    PENDING = 2
    REFUSED = 3
    HALTED = 4
    """Log, memory and database contradict each other; a person has to look."""


JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for programs instead of tables for people.")]
ConfigOption = Annotated[Path, typer.Option("--config", help="The deployment file, attestor.toml.")]


def now() -> datetime:
    """The clock, read here for all verbs."""
    return datetime.now(UTC)  # noqa: TID251 - this is the cli, which reads the clock


def login_name() -> str:
    """Who runs the verb, by name where the system knows one."""
    import getpass
    import os

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def say(text: str) -> None:
    """One line for the reader; control characters from elsewhere are shown, not obeyed."""
    typer.echo(plain(text))


def note(text: str) -> None:
    """One line beside the output proper, on stderr."""
    typer.echo(plain(text), err=True)


def say_json(value: Any) -> None:
    """The types of :mod:`attestor.core` as JSON, indented."""
    import msgspec

    typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def say_table(columns: Iterable[str], rows: Iterable[Iterable[str]], title: str | None = None) -> None:
    """A table that wraps no digest where its reader would copy it: full width when stdout is no terminal."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 200)
    console.print(table)


def plain(text: str) -> str:
    """Escape what a terminal would obey; line feeds stay."""
    return "".join(char if char.isprintable() or char == "\n" else ascii(char)[1:-1] for char in text)


def leave(code: Exit) -> NoReturn:
    """End the verb with this exit code."""
    raise typer.Exit(code)
