"""For who sets it up: schema, every part tried, the HSM."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attestor.cli import keycounts
from attestor.cli.output import ConfigOption, Exit, JsonOption, leave, now, say, say_json

if TYPE_CHECKING:
    from attestor.app.finding import Finding
    from attestor.config import Config

hsm = typer.Typer(help="The HSM that holds the release keys.", no_args_is_help=True)
keycounts.register(hsm)


def register(app: typer.Typer) -> None:
    app.command("migrate")(migrate)
    app.command("check")(check)


def migrate(*, config: ConfigOption) -> None:
    """Bring the database's schema up to date, as its owner; safe to repeat, and from anywhere at once."""
    import asyncio

    from attestor.app.embedded import resolved
    from attestor.config import Role, load_config
    from attestor.store.migrate import migrate as apply

    applied = asyncio.run(apply(resolved(load_config(config)).for_role(Role.OWNER).dsn.reveal()))
    for name in applied:
        say(f"applied {name}")
    say(f"The schema is up to date{'' if applied else '; nothing was to do'}.")


def check(*, config: ConfigOption, as_json: JsonOption = False) -> None:
    """Try every part that the deployment stands on: one line each, with the remedy."""
    import asyncio

    from attestor.app.embedded import resolved
    from attestor.config import load_config

    findings = asyncio.run(_checked(resolved(load_config(config)), aloud=not as_json))
    if as_json:
        say_json(findings)
    leave(Exit.YES if all(finding.ok for finding in findings) else Exit.ERROR)


@hsm.command("provision")
def provision(*, config: ConfigOption) -> None:
    """Make namespaces, users, tags, keys and OpenPGP certificates as the deployment file says; safe to repeat.

    A passphrase whose credential is missing is made, and kept in [credentials] folder.
    """
    import asyncio

    from attestor.app.embedded import resolved
    from attestor.app.provisioning import provision_hsm
    from attestor.config import load_config

    report = asyncio.run(provision_hsm(resolved(load_config(config)), now()))
    for name in report.existed:
        say(f"was there  {name}")
    for name in report.made:
        say(f"made       {name}")
    for place in report.uncounted:
        say(
            f"uncounted  the certificate of {place}: before it signs, attestor hsm reconcile --acknowledge (runbook reconcile.md)"
        )
    say("The device holds what the deployment file says; attestor hsm status shows the certificates to pin.")


@hsm.command("certificates")
def certificates(
    *,
    config: ConfigOption,
    out: Annotated[
        Path, typer.Option(help="A folder for NAME.pgp, one for each release key; made where it is missing.")
    ],
) -> None:
    """Read the OpenPGP certificates of the release keys and write them to files: what users import to verify."""
    import asyncio

    from attestor.app.embedded import resolved
    from attestor.app.proof import proof_of
    from attestor.config import load_config

    proof = asyncio.run(proof_of(resolved(load_config(config)), out))
    for file, certificate in zip(proof.files, proof.certificates, strict=True):
        say(f"{file}  {certificate.fingerprint}  {certificate.user_id}")


@hsm.command("status")
def status(*, config: ConfigOption, as_json: JsonOption = False) -> None:
    """Read each node, and on it each release key: login, type, certificate. Changes nothing."""
    import asyncio

    from attestor.app.check import hsm as look
    from attestor.app.embedded import resolved
    from attestor.config import Role, load_config

    loaded = resolved(load_config(config))
    findings = asyncio.run(look(loaded, loaded.for_role(Role.SIGNER), now()))
    if as_json:
        say_json(findings)
    else:
        for finding in findings:
            _print(finding)
    leave(Exit.YES if all(finding.ok for finding in findings) else Exit.ERROR)


async def _checked(config: "Config", *, aloud: bool) -> "list[Finding]":
    from attestor.app.check import check as look

    findings = []
    async for finding in look(config, now):
        findings.append(finding)
        if aloud:
            _print(finding)
    return findings


def _print(finding: "Finding") -> None:
    remedy = f" Remedy: {finding.remedy}." if finding.remedy else ""
    say(f"{'ok   ' if finding.ok else 'FAIL '} {finding.part}: {finding.detail}{'.' if remedy else ''}{remedy}")
