"""`attestor-rebuilder`: parse, call, print. Exit codes: 0 done; 1 an error, or a build that failed (and was attested so)."""

import asyncio
import json
import re
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from attestor.core.envelope import WITHDRAWAL, parse_envelope
from attestor.core.errors import AttestorError, Rejected
from attestor.core.naming import Kind
from attestor.core.statement import RebuildStatement, Subject, WithdrawalStatement, withdrawal_payload
from rebuilders import agent, artifact, keyfile
from rebuilders.backend import Backend, Limits
from rebuilders.files import replacing
from rebuilders.submission import Receipt, ReleaseReceipt, Service, plain, submit

_STATE: Final = Path("~/.local/state/attestor-rebuilder")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}", re.ASCII)
_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)

cli = typer.Typer(
    name="attestor-rebuilder",
    help="Build, and attest what came of it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Outcome(StrEnum):
    """How a build ended."""

    BUILT = "built"
    FAILED = "failed"


class BackendKind(StrEnum):
    """Ways to build."""

    COMMAND = "command"


KeyOption = Annotated[Path, typer.Option("--key", help="Your key file, as keygen made it.")]
KindOption = Annotated[Kind, typer.Option("--kind", help="What the release is.")]
PurlOption = Annotated[str | None, typer.Option("--purl", help="The release's canonical purl; a database needs it.")]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", help="Instead of --purl, where the file name says the rest: arch, debian.")
]
ServerOption = Annotated[str, typer.Option("--server", help="The service, https://HOST[:PORT].")]
CaOption = Annotated[Path | None, typer.Option("--ca", help="PEM file of the service's CA (default: the system's).")]
DeadlineOption = Annotated[
    float, typer.Option("--deadline", min=0.1, help="Seconds for all tries to send together.", show_default=True)
]
StateOption = Annotated[
    Path,
    typer.Option("--state", help="Folder of the envelopes signed so far: what was said is sent again, not said anew."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the service's receipt as JSON.")]
OutOption = Annotated[Path | None, typer.Option("--out", help="Write the signed envelope here and send nothing.")]


@cli.command()
def keygen(
    file: Annotated[Path, typer.Argument(help="Where the private key goes; never overwritten.")],
    operator: Annotated[str, typer.Option("--operator", help="The operator's name in the policy.")],
    namespace: Annotated[str, typer.Option("--namespace", help="The namespace that the printed scopes name.")] = "arch",
    days: Annotated[int, typer.Option("--days", min=1, max=3650, help="How long the key shall be valid.")] = 365,
) -> None:
    """Make an Ed25519 key and print the lines that the service's policy needs."""
    if not _NAME.fullmatch(operator):
        raise Rejected("operator-name", "Operators are named by lower-case letters, digits, dots and dashes.")
    if not _NAMESPACE.fullmatch(namespace):
        raise Rejected("namespace", "A namespace is lower-case letters, digits, dots, underscores and dashes.")
    key = keyfile.make_key(file)
    now = _now()
    typer.echo(keyfile.policy_lines(key, operator, namespace, now, now + timedelta(days=days)), nl=False)


@cli.command()
def attest(  # noqa: PLR0913 - a command's flags are its parameters
    file: Annotated[Path, typer.Argument(help="The finished file; with --outcome failed only its name counts.")],
    *,
    key: KeyOption,
    server: ServerOption = "",
    kind: KindOption = Kind.PACKAGE,
    purl: PurlOption = None,
    namespace: NamespaceOption = None,
    outcome: Annotated[Outcome, typer.Option("--outcome", help="Whether it was built.")] = Outcome.BUILT,
    inputs: Annotated[
        list[Path] | None,
        typer.Option("--input", help="A file that the build took; again for each. A failure needs one."),
    ] = None,
    ca: CaOption = None,
    deadline: DeadlineOption = 120.0,
    state: StateOption = _STATE,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Attest a file that is already built, or that its build failed."""
    signing_key = keyfile.load_key(key)
    release = artifact.release_of(kind, file.name, purl, namespace)
    taken = tuple(artifact.as_input(_hashed(path, artifact.input_name(path.name))) for path in inputs or ())
    subject = _hashed(file, file.name) if outcome is Outcome.BUILT else None
    statement = RebuildStatement(release, outcome.value, subject, taken)
    envelope = agent.said_once(state.expanduser(), statement, signing_key)
    _deliver(envelope, out, Service(server, deadline, ca), as_json=as_json)


@cli.command()
def withdraw(  # noqa: PLR0913 - as above
    *,
    release: Annotated[str, typer.Option("--release", help="The release's id, as the receipt printed it.")],
    payload_digest: Annotated[
        str, typer.Option("--payload-digest", help="The payload's SHA-256, as the receipt printed it.")
    ],
    origin: Annotated[str, typer.Option("--origin", help="The service's origin, as its policy names it.")],
    reason: Annotated[str, typer.Option("--reason", help="One line for people; everyone can read it.")],
    key: KeyOption,
    server: ServerOption = "",
    ca: CaOption = None,
    deadline: DeadlineOption = 120.0,
    state: StateOption = _STATE,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take one of your attestations back, for good."""
    signing_key = keyfile.load_key(key)
    try:
        digest = bytes.fromhex(payload_digest)
    except ValueError:
        raise Rejected("bad-digest", "The payload digest is not hex.") from None
    statement = WithdrawalStatement(origin, release, digest, reason)
    envelope = signing_key.envelope(WITHDRAWAL, withdrawal_payload(statement))
    _deliver(envelope, out, Service(server, deadline, ca), as_json=as_json)
    agent.forget(state.expanduser(), digest)


@cli.command()
def run(  # noqa: PLR0913 - as above
    *,
    command: Annotated[
        Path, typer.Option("--command", help="The backend: an executable that keeps the contract (README).")
    ],
    source: Annotated[Path, typer.Option("--source", help="Folder with the inputs; it is copied.")],
    output: Annotated[Path, typer.Option("--output", help="Folder that gets the finished file and FILE.log.")],
    release_file: Annotated[str, typer.Option("--release-file", help="File name of the release.")],
    key: KeyOption,
    server: ServerOption = "",
    backend: Annotated[BackendKind, typer.Option("--backend", help="How to build.")] = BackendKind.COMMAND,  # noqa: ARG001 - one way so far
    argument: Annotated[
        list[str] | None, typer.Option("--argument", help="An argument for the backend; again for each.")
    ] = None,
    kind: KindOption = Kind.PACKAGE,
    purl: PurlOption = None,
    namespace: NamespaceOption = None,
    source_date_epoch: Annotated[
        int | None, typer.Option("--source-date-epoch", min=0, help="Set as SOURCE_DATE_EPOCH for the backend.")
    ] = None,
    timeout: Annotated[
        int, typer.Option("--timeout", min=1, help="Seconds that the build may take.")
    ] = Limits().wall_seconds,
    cpu: Annotated[int, typer.Option("--cpu", min=1, help="CPU seconds of each process.")] = Limits().cpu_seconds,
    file_size: Annotated[int, typer.Option("--file-size", min=1, help="Bytes of each file.")] = Limits().file_bytes,
    processes: Annotated[
        int, typer.Option("--processes", min=1, help="Processes of the account (RLIMIT_NPROC).")
    ] = Limits().processes,
    memory: Annotated[
        int | None, typer.Option("--memory", min=1, help="Bytes of address space of each process (default: no limit).")
    ] = None,
    log_size: Annotated[int, typer.Option("--log-size", min=1, help="Bytes of log.")] = Limits().log_bytes,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the build's folder, and say where it is.")] = False,
    ca: CaOption = None,
    deadline: DeadlineOption = 120.0,
    state: StateOption = _STATE,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build in a clean folder with limits, and attest the result, a failure too."""
    signing_key = keyfile.load_key(key)
    release = artifact.release_of(kind, release_file, purl, namespace)
    limits = Limits(timeout, log_size, cpu, file_size, processes, memory)
    how = Backend(command, tuple(argument or ()), source_date_epoch, limits)
    rebuilt = asyncio.run(agent.rebuild(agent.Job(release, source, how, output, keep), _now))
    if rebuilt.kept is not None:
        typer.echo(f"The build's folder is {rebuilt.kept}", err=True)
    if rebuilt.why:
        typer.echo(f"The build failed: {rebuilt.why}. Its log is {output / release_file}.log", err=True)
    envelope = agent.said_once(state.expanduser(), rebuilt.statement, signing_key)
    _deliver(envelope, out, Service(server, deadline, ca), as_json=as_json)
    if rebuilt.why:
        raise typer.Exit(1)


def main() -> None:
    """Run the console script."""
    try:
        cli()
    except AttestorError as error:
        typer.echo(f"attestor-rebuilder: {error}", err=True)
        sys.exit(1)
    except OSError as error:
        typer.echo(f"attestor-rebuilder: {error.filename or ''}: {error.strerror}", err=True)
        sys.exit(1)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - this is a cli, which reads the clock


def _hashed(path: Path, name: str) -> Subject:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        size = path.stat().st_size if path.is_file() else None
        # A file name may hold what rich reads as markup.
        task = progress.add_task(ascii(name).replace("[", "\\["), total=size)
        return artifact.measure(path, name, lambda count: progress.advance(task, count))


def _deliver(envelope: bytes, out: Path | None, service: Service, *, as_json: bool) -> None:
    if out is not None:
        with replacing(out) as file:
            file.write(envelope)
        typer.echo(f"{out}: payload {parse_envelope(envelope).payload_digest.hex()}", err=True)
        return
    if not service.url:
        raise Rejected("server-missing", "Say where to send it with --server, or where to write it with --out.")
    receipt, answer = asyncio.run(submit(service, envelope))
    if as_json:
        typer.echo(json.dumps(json.loads(answer), indent=2))
    else:
        _print(receipt)


def _print(receipt: Receipt) -> None:
    console = Console()
    said = " (said before)" if receipt.replay else ""
    console.print(Text(plain(f"payload {receipt.payload_digest}{said}")), soft_wrap=True)
    table = Table("file", "state", "agreeing", "dissenting", "missing", "release")
    for one in receipt.releases:
        table.add_row(*(Text(cell) for cell in map(plain, _cells(one))))
    console.print(table)


def _cells(one: ReleaseReceipt) -> tuple[str, ...]:
    dissent = (*one.dissenting, *one.equivocating)
    missing = "" if one.missing is None else str(one.missing)
    return (one.file_name, one.state, _names(one.agreeing), _names(dissent), missing, one.id)


def _names(operators: tuple[object, ...]) -> str:
    return ", ".join(str(one.get("operator", "?")) if isinstance(one, dict) else str(one) for one in operators)
