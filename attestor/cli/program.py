"""The program ``attestor``: its verbs, and how every failure is said."""

import sys
from typing import Annotated

import typer

# Typer brings its own click and exports no base of usage errors; click's exit code for them, 2, means "pending" here.
from typer._click.exceptions import ClickException

from attestor import __version__
from attestor.cli import (
    approvals,
    approve,
    audit,
    canary,
    deployment,
    first,
    log,
    logtools,
    policy,
    releases,
    requests,
    service,
    tier,
    verify,
)
from attestor.cli.output import Exit, plain

app = typer.Typer(
    name="attestor",
    help="A threshold gate for release signatures: n of m independent rebuilders agree, then the NetHSM signs.",
    epilog="Exit codes: 0 yes, 1 error, 2 pending, 3 disputed or refused, 4 halted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for audience in (first, service, deployment, releases, requests, approvals, approve, audit, verify):
    audience.register(app)
logtools.register(log.app)
app.add_typer(policy.app, name="policy")
app.add_typer(log.app, name="log")
app.add_typer(first.authority, name="ca")
app.add_typer(deployment.hsm, name="hsm")
app.add_typer(canary.app, name="canary")
app.add_typer(requests.many, name="requests")
app.add_typer(tier.app, name="tier")


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag's value
    if wanted:
        typer.echo(f"attestor {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


def run() -> None:
    """Run one verb and exit."""
    from attestor.core.errors import AttestorError, Halted

    try:
        code = app(standalone_mode=False)
    except Halted as error:
        _fail(error.sentence, error.code, Exit.HALTED)
    except AttestorError as error:
        _fail(error.sentence, error.code)
    except ClickException as error:
        _fail(error.format_message().strip() or "Say what to do: see --help.", "usage")
    except (typer.Abort, KeyboardInterrupt):
        _fail("Stopped.", "stopped")
    except OSError as error:
        _fail(f"{error.filename or 'The system'}: {error.strerror or error}.", "system")
    sys.exit(code if isinstance(code, int) else Exit.YES)


def _fail(sentence: str, code: str, ends_with: Exit = Exit.ERROR) -> None:
    typer.echo(plain(f"error: {sentence} [{code}]"), err=True)
    sys.exit(ends_with)
