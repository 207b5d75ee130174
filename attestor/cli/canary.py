"""For who wants to know in time that a release key cannot sign: have each sign the canary's string, and check it from outside."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from attestor.cli.connection import CaOption, Connection
from attestor.cli.output import ConfigOption, Exit, JsonOption, leave, now, say, say_json

app = typer.Typer(help="The constant string that every release key signs now and then.", no_args_is_help=True)


@app.command("run")
def run(
    *,
    config: ConfigOption,
    seconds: Annotated[float, typer.Option(help="How long to wait for the signer.", min=1)] = 60,
) -> None:
    """Have every release key sign the canary's string now, and wait for it; asks as the database's owner."""
    import asyncio

    from attestor.app.canaries import run as ask
    from attestor.app.embedded import resolved
    from attestor.config import load_config

    for name in asyncio.run(ask(resolved(load_config(config)), seconds)):
        say(f"made  {name}")


@app.command("verify")
def verify(
    *,
    url: Annotated[str, typer.Option(help="The service: https://HOST:PORT, on a listener for read.")],
    cert: Annotated[list[Path], typer.Option(help="A release key's OpenPGP certificate, binary; may be repeated.")],
    ca: CaOption = None,
    max_age_seconds: Annotated[
        float, typer.Option(help="How old a canary may be (default: two days).", min=1)
    ] = 172800,
    as_json: JsonOption = False,
) -> None:
    """Check the last canary of each key with nothing but its certificate.

    Exit code 0: each was made in time; 3: one is missing, too old, or is not what the key signed; 1: the service cannot be asked.
    """
    from attestor.app.canaries import check

    given = Connection(url, ca).run(lambda client: client.canaries())
    oldest = timedelta(seconds=max_age_seconds)
    found = [check(given, one, now=now(), oldest=oldest) for one in cert]
    if as_json:
        say_json(
            [
                {
                    "key": each.key,
                    "created": each.created,
                    "origin": each.origin,
                    "entry": each.entry,
                    "code": each.problem.code if each.problem else None,
                    "sentence": each.problem.sentence if each.problem else None,
                }
                for each in found
            ]
        )
    else:
        for each in found:
            if each.problem is None:
                say(
                    f"ok       {each.key}: signed {each.created:%Y-%m-%dT%H:%M:%SZ}, announced by entry {each.entry} of {each.origin}"
                )
            else:
                say(f"REFUSED  {each.key}: {each.problem.sentence} [{each.problem.code}]")
    leave(Exit.REFUSED if any(each.problem for each in found) else Exit.YES)
