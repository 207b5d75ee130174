"""For who writes the policy: is it right, who governs what, who alone could stop it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attestor.cli.output import JsonOption, now, say, say_json, say_table

if TYPE_CHECKING:
    from attestor.core.governance import Governance, LogGovernance, TierGovernance

app = typer.Typer(help="The policy file.", no_args_is_help=True)


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="The policy file.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Say what the service would say at start, who governs what, and who alone could stop which tier."""
    from attestor.config.loading import load_policy
    from attestor.core.governance import govern

    governance = govern(load_policy(file), now())
    if as_json:
        say_json(governance)
    else:
        _print(governance)


def _print(governance: "Governance") -> None:
    say(f"{governance.origin}: policy serial {governance.serial}, sha256 {governance.digest}")
    say("")
    say_table(("log", governance.log.origin), _log_rows(governance.log))
    for tier in governance.tiers:
        say("")
        say_table(("tier", tier.name), _rows(tier))
    for warning in governance.warnings:
        say(f"warning: {warning}")


def _log_rows(log: "LogGovernance") -> list[tuple[str, str]]:
    return [
        ("sealed by", "\n".join(log.signers)),
        ("witnesses", f"{log.quorum} needed of {len(log.witnesses)}: {', '.join(log.witnesses) or 'none'}"),
    ]


def _rows(tier: "TierGovernance") -> list[tuple[str, str]]:
    stoppers = "; ".join(f"{one.operator} (by {' or '.join(one.how)})" for one in tier.stoppers)
    return [
        ("governs", f"{tier.kind} {tier.purl}"),
        ("needs", f"{tier.threshold} of {len(tier.operators)}: {', '.join(tier.operators)}"),
        ("required", ", ".join(tier.required) or "nobody in particular"),
        ("dissent", f"{tier.dissent_limit} tolerated"),
        ("asked by", f"{', '.join(tier.requesters)} from {', '.join(tier.networks)}"),
        ("signed with", tier.signing_key),
        ("could be stopped by", stoppers or "no single operator"),
        *(("warning", warning) for warning in tier.warnings),
    ]
