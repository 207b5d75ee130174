"""For who holds a file and trusts nobody: is this what so many operators built, and does the log say so? Asks no network."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from attestor.cli.output import Exit, JsonOption, leave, note, plain, say, say_json


def register(app: typer.Typer) -> None:
    app.command("verify")(verify)


def verify(  # noqa: PLR0913 - one flag each
    bundle: Annotated[Path, typer.Argument(help="The bundle: attestor bundle fetches it.")],
    file: Annotated[Path, typer.Argument(help="The artifact that was signed.")],
    *,
    policy: Annotated[Path, typer.Option(help="The policy file under which it was decided.")],
    log_key: Annotated[Path, typer.Option(help="A file with the log's public key (a vkey).")],
    cert: Annotated[Path, typer.Option(help="The release key's OpenPGP certificate, binary.")],
    as_json: JsonOption = False,
) -> None:
    """Check a bundle and its file with nothing but files, and say each thing that was checked.

    Exit code 0: everything holds; 3: refused, with the place; 1: a given file cannot be read.
    """
    from attestor.app.offline import Given, Holds, verify_files

    with _measuring(file) as progress:
        outcome = verify_files(Given(bundle, file, policy, log_key, cert), progress)
    if not isinstance(outcome, Holds):
        if as_json:
            say_json({"verified": False, "code": outcome.code, "sentence": outcome.sentence})
        else:
            say(f"REFUSED  {outcome.sentence} [{outcome.code}]")
        leave(Exit.REFUSED)
    if as_json:
        say_json({"verified": True, "release": outcome.release, "checks": outcome.checks})
    else:
        for check in outcome.checks:
            say(f"ok  {check.name}: {check.sentence}")
    if file.name != outcome.release.file_name:
        note(f"The file is named {file.name}; what was signed is {outcome.release.file_name}.")


@contextmanager
def _measuring(file: Path) -> Iterator[Callable[[int], None]]:
    """A bar for what is hashed; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        size = file.stat().st_size if file.is_file() else None
        task = progress.add_task(f"hash {escape(plain(file.name))}", total=size)
        yield lambda count: progress.advance(task, count)
