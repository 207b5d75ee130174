"""For the build service: ask for a signature, come back or wait, and look after one's requests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from attestor.cli.connection import CaOption, CertOption, Connection, KeyOption, ServerOption
from attestor.cli.output import Exit, JsonOption, leave, note, plain, say, say_json, say_table

if TYPE_CHECKING:
    from attestor.client.calls import AttestorClient
    from attestor.client.signing import Watching
    from attestor.core.wire import SigningRequestView

many = typer.Typer(help="Your signing requests.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(help="The request's id.")]
_PAGE = 500
_ENDS_BADLY = frozenset({"refused", "withdrawn", "aside"})


def register(app: typer.Typer) -> None:
    app.command("request")(request)


def request(  # noqa: PLR0913 - one flag each
    file: Annotated[Path, typer.Argument(help="The artifact, under its own file name.")],
    *,
    kind: Annotated[Literal["package", "database", "iso", "vm"], typer.Option(help="What the release is.")],
    purl: Annotated[str, typer.Option(help="The release's canonical purl.")],
    server: ServerOption,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is signed or cannot be.")] = False,
    timeout: Annotated[int, typer.Option(help="With --wait: for how many seconds at most.", min=1)] = 86_400,
    pull: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="ROOT PATH", help="Upload nothing: the signer reads PATH below its pull root ROOT."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Where the signature goes (default: FILE.sig).")] = None,
    bulk: Annotated[bool, typer.Option("--bulk", help="It is in no hurry: everything else is signed first.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace another signature that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask for the signature of a file, and lay it beside the file once there is one.

    Exit code 0: signed; 2: come back later; 3: disputed, refused, or set aside.
    """
    from attestor.client.signing import sign_file, write_signature
    from attestor.core.wire import Pull, ReleaseName

    release = ReleaseName(kind=kind, purl=purl, file_name=file.name)
    content = Pull(root=pull[0], path=pull[1]) if pull else None
    with _watching(file) as watching:
        signing = Connection.of_requester(server, ca, cert, key).run(
            lambda client: sign_file(
                client,
                file,
                release,
                wait_seconds=timeout if wait else 0,
                content=content,
                bulk=bulk,
                watching=watching,
            )
        )
    if signing.signature is not None:
        target = out or file.with_name(f"{file.name}.sig")
        write_signature(target, signing.signature, overwrite=force)
        note(f"{target}: {len(signing.signature)} bytes")
    _show(signing.request, as_json=as_json)


@many.command("list")
def list_requests(  # noqa: PLR0913 - one flag each
    *,
    server: ServerOption,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    state: Annotated[
        Literal["waiting", "queued", "claimed", "signed", "refused", "aside", "withdrawn"] | None,
        typer.Option(help="Only requests in this state."),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=100_000)] = 100,
    as_json: JsonOption = False,
) -> None:
    """List your signing requests."""

    async def work(client: "AttestorClient") -> "list[SigningRequestView]":
        found: list[SigningRequestView] = []
        cursor: str | None = None
        while len(found) < limit:
            page = await client.requests(state=state, cursor=cursor, limit=min(_PAGE, limit - len(found)))
            found += page.requests
            cursor = page.cursor
            if cursor is None:
                break
        return found

    found = Connection.of_requester(server, ca, cert, key).run(work)
    if as_json:
        say_json(found)
    else:
        rows = ((one.state, one.reason, str(one.tries), one.release.file_name, one.id) for one in found)
        say_table(("state", "reason", "tries", "file", "request"), rows)


@many.command("show")
def show(  # noqa: PLR0913 - one flag each
    request_id: IdArgument,
    *,
    server: ServerOption,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one signing request, and what it waits for."""
    _show(
        Connection.of_requester(server, ca, cert, key).run(lambda client: client.request(request_id)), as_json=as_json
    )


@many.command("withdraw")
def withdraw(  # noqa: PLR0913 - one flag each
    request_id: IdArgument,
    *,
    server: ServerOption,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a request back before it is signed. Exit code 0 when it is withdrawn."""
    view = Connection.of_requester(server, ca, cert, key).run(lambda client: client.withdraw(request_id))
    _print(view, as_json=as_json)


@many.command("retry")
def retry(  # noqa: PLR0913 - one flag each
    request_id: IdArgument,
    *,
    server: ServerOption,
    cert: CertOption = None,
    key: KeyOption = None,
    ca: CaOption = None,
    as_json: JsonOption = False,
) -> None:
    """Queue a request again that was set aside. Exit code 0 when it is queued."""
    view = Connection.of_requester(server, ca, cert, key).run(lambda client: client.retry(request_id))
    _print(view, as_json=as_json)


def _show(view: "SigningRequestView", *, as_json: bool) -> None:
    _print(view, as_json=as_json)
    if view.state == "signed":
        leave(Exit.YES)
    leave(Exit.REFUSED if view.state in _ENDS_BADLY or view.reason == "disputed" else Exit.PENDING)


def _print(view: "SigningRequestView", *, as_json: bool) -> None:
    if as_json:
        say_json(view)
        return
    say(f"{view.state}: {view.sentence} [{view.reason}]")
    say(f"request {view.id}\nrelease {view.release_id} ({view.release.file_name}), tier {view.tier}")


@contextmanager
def _watching(file: Path) -> "Iterator[Watching]":
    """Bars for what is measured and sent, and a line for what is waited for; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

    from attestor.client.signing import Watching

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        size = file.stat().st_size if file.is_file() else None
        name = escape(plain(file.name))
        hashing = progress.add_task(f"hash {name}", total=size)
        sending = progress.add_task(f"send {name}", total=size, visible=False)
        yield Watching(
            measured=lambda count: progress.advance(hashing, count),
            sent=lambda count: progress.update(sending, advance=count, visible=True),
            seen=lambda view: progress.update(hashing, description=escape(plain(f"{view.state}: {view.sentence}"))),
        )
