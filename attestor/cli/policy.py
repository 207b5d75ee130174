"""For who writes the policy: is it right, who governs what, who alone could stop it, what changes; and putting it into force."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attestor.cli.output import ConfigOption, JsonOption, now, say, say_json, say_table

if TYPE_CHECKING:
    from attestor.core.governance import Governance, LogGovernance, TierGovernance
    from attestor.core.policychange import Change

app = typer.Typer(help="The policy file.", no_args_is_help=True)


@app.command("check")
def check(
    file: Annotated[Path, typer.Argument(help="The policy file.")],
    *,
    against: Annotated[
        Path | None, typer.Option(help="The policy in force or before: say what changes, and what to look at twice.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what the service would say at start, who governs what, and who alone could stop which tier."""
    from attestor.config.loading import load_policy
    from attestor.core.governance import govern
    from attestor.core.policychange import changes

    policy = load_policy(file)
    governance = govern(policy, now())
    differences = changes(load_policy(against), policy) if against is not None else None
    if as_json:
        say_json(governance if differences is None else {"policy": governance, "changes": differences})
        return
    _print(governance)
    if differences is not None:
        _print_changes(differences)


@app.command("reload")
def reload(
    *,
    config: ConfigOption,
    timeout: Annotated[float, typer.Option(help="How many seconds the roles may take.", min=1, max=3600)] = 60,
) -> None:
    """Have every role of this host load the policy file anew, without a restart; wait until each says that it has.

    A file that is wrong, or older than the policy in force, is refused, and nobody is asked. Requests that are under way
    while the roles load it one after the other wait, and go on by themselves.
    """
    from attestor.app.reloading import reload as ask_all
    from attestor.config import load_config

    ask_all(load_config(config), say, timeout_seconds=timeout)


def _print_changes(differences: "tuple[Change, ...]") -> None:
    say("")
    say(f"{len(differences) or 'no'} {'difference' if len(differences) == 1 else 'differences'} from the policy before")
    for change in differences:
        say(f"{'warning: ' if change.warning else '         '}{change.sentence}")


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


def _versions(tier: "TierGovernance") -> str:
    order = "in any order" if tier.version_order == "none" else f"only newer ones, by {tier.version_order}"
    return f"{order}; packages may neither go back nor vanish" if tier.compares_predecessor else order


def _rows(tier: "TierGovernance") -> list[tuple[str, str]]:
    stoppers = "; ".join(f"{one.operator} (by {' or '.join(one.how)})" for one in tier.stoppers)
    return [
        ("governs", f"{tier.kind} {tier.purl}"),
        ("needs", f"{tier.threshold} of {len(tier.operators)}: {', '.join(tier.operators)}"),
        ("required", ", ".join(tier.required) or "nobody in particular"),
        ("dissent", f"{tier.dissent_limit} tolerated"),
        ("asked by", f"{', '.join(tier.requesters)} from {', '.join(tier.networks)}"),
        ("signed with", tier.signing_key),
        ("versions", _versions(tier)),
        ("quota", tier.quota or "none"),
        (
            "approvals",
            ", ".join(f"{action} by {people}" for action, people in tier.approvals.items()) or "none can be given",
        ),
        ("could be stopped by", stoppers or "no single operator"),
        *(("warning", warning) for warning in tier.warnings),
    ]
