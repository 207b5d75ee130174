"""``attestor policy reload``: have every role of this host read its policy file again, and wait until each says what came of it."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from attestor.app.presence import Role, roles
from attestor.config import Config
from attestor.core.errors import Unavailable
from attestor.core.policy import Policy
from attestor.core.policychange import changes, refuse_succession
from attestor.core.policyfile import parse_policy

_LOOK_SECONDS: Final = 0.1


def reload(config: Config, say: Callable[[str], None], *, timeout_seconds: float) -> None:
    """Hold the policy file against those in force, say what changes, ask each role to load it, and wait until all have.

    Raises ``Unavailable`` ``nothing-running``, ``reload-incomplete`` (a sentence for each role that has not, and why);
    ``Rejected`` ``policy-…`` for a policy that cannot follow the one in force: then nobody was asked. ``Forbidden``.
    """
    running = roles(config)
    if not running:
        raise Unavailable("nothing-running", _nobody(config))
    policy = config.policy
    behind = [role for role in running if role.present.digest != policy.digest]
    for before in _in_force(behind):
        refuse_succession(before, policy)
        say(f"serial {before.serial} is in force; the file has serial {policy.serial}, sha256 {policy.digest}")
        for change in changes(before, policy):
            say(f"{'warning: ' if change.warning else ''}{change.sentence}")
    for role in running:
        if role not in behind:
            say(f"{role.name}: has serial {policy.serial} already, unchanged")
    for role in behind:
        role.ask_to_look()
    _await(behind, policy, say, timeout_seconds)


def _in_force(behind: Sequence[Role]) -> Iterator[Policy]:
    """Each policy that is in force somewhere, once, the newest first."""
    found: dict[str, Policy] = {}
    for role in behind:
        if role.present.digest not in found:
            found[role.present.digest] = parse_policy(role.policy_in_force(), f"the policy of {role.name}")
    return iter(sorted(found.values(), key=lambda policy: -policy.serial))


def _await(asked: Sequence[Role], policy: Policy, say: Callable[[str], None], timeout_seconds: float) -> None:
    left, why = list(asked), {}
    ends = time.monotonic() + timeout_seconds
    while left and time.monotonic() < ends:
        for role in list(left):
            answer = _answer(role, policy)
            if answer is None:
                continue
            left.remove(role)
            if answer:
                why[role.name] = answer
            say(f"{role.name}: {answer or f'serial {policy.serial} is in force'}")
        if left:
            time.sleep(_LOOK_SECONDS)
    why |= {role.name: f"has not said anything within {timeout_seconds:.0f} s; see its log" for role in left}
    if why:
        told = " ".join(f"{name}: {answer}" for name, answer in why.items())
        raise Unavailable(
            "reload-incomplete", f"{len(why)} of {len(asked)} have not loaded serial {policy.serial}. {told}"
        )


def _answer(role: Role, policy: Policy) -> str | None:
    """``""`` when it has loaded the policy, else why it has not; ``None`` as long as it has not said."""
    try:
        now = role.again().present
    except (OSError, ValueError):
        return None if role.running else "has ended meanwhile; when it is started again, it reads the file"
    if now.digest == policy.digest:
        return ""
    if now.looks == role.present.looks:
        return None if role.running else "has ended meanwhile; when it is started again, it reads the file"
    if now.refusal is not None:
        return f"refused it [{now.refusal.code}]: {now.refusal.sentence}"
    return "has loaded another file than the one that was checked here: was it changed meanwhile?"


def _nobody(config: Config) -> str:
    if config.run is None:
        return (
            f"{config.path} names no [run] folder, so nobody is found: send each role SIGHUP yourself "
            "(systemctl reload 'attestor-*')."
        )
    return f"No role with the policy file {config.policy_path} says in {config.run.folder} that it runs on this host."
