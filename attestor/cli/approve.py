"""For approvers: see exactly which bytes and why, then sign with the gpg or ssh key that is theirs already."""

import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from attestor.cli.approvals import Action, say_approval
from attestor.cli.connection import CaOption, Connection, ServerOption
from attestor.cli.output import Exit, JsonOption, leave, note, now, say, say_json, say_table

if TYPE_CHECKING:
    from attestor.client.approvals import Draft, Looked
    from attestor.client.calls import AttestorClient
    from attestor.core.approvalwire import ApprovalView, TierView, WantedApproval
    from attestor.core.policy import Policy

_SHOWN: Final = 40
"""Lines of a manifest that are shown."""


def register(app: typer.Typer) -> None:
    app.command("approve")(approve)


@dataclass(frozen=True, slots=True)
class _Approver:
    """The person at this terminal: the service, the policy file that they trust, and their own key."""

    connection: Connection
    policy: "Policy | None"
    own: str | Path
    """What gpg knows their key by, or the key file of ssh-keygen."""
    yes: bool

    @property
    def key(self) -> str:
        from attestor.client.approving import gpg_fingerprint, ssh_fingerprint

        return ssh_fingerprint(self.own) if isinstance(self.own, Path) else gpg_fingerprint(self.own)

    def sign(self, document: bytes) -> bytes:
        """Show what is signed, ask, and have the person's own program sign it. Raises ``Rejected`` ``not-confirmed``."""
        from attestor.client.approving import sign_with_gpg, sign_with_ssh

        note(f"\nThis is signed, byte for byte:\n{document.decode()}\n")
        self._confirm()
        return sign_with_ssh(document, self.own) if isinstance(self.own, Path) else sign_with_gpg(document, self.own)

    def _confirm(self) -> None:
        from attestor.core.errors import Rejected

        if self.yes:
            return
        if not sys.stdin.isatty():
            raise Rejected("not-confirmed", "Nobody is at a terminal to be asked; say --yes to sign all the same.")
        typer.confirm("Sign this?", abort=True, err=True)


def approve(  # noqa: PLR0913 - one flag each
    request: Annotated[str | None, typer.Argument(help="The signing request (attestor approvals --wanted).")] = None,
    *,
    server: ServerOption,
    ca: CaOption = None,
    reason: Annotated[str | None, typer.Option(help="Why, in your own words; everybody can read it.")] = None,
    gpg: Annotated[
        str | None, typer.Option(metavar="KEY", help="Sign with gpg under this key of yours (fingerprint or user id).")
    ] = None,
    ssh: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Sign with ssh-keygen and this key file, or its .pub where an agent has it."),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option(help="The policy file that you trust: rules and votes are held against it.")
    ] = None,
    hours: Annotated[
        int | None, typer.Option(help="How long it may be used (default: 24, or what the tier allows).", min=1)
    ] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="In the place of a request: the releases and digests in this file.")
    ] = None,
    tier: Annotated[str | None, typer.Option(help="With --manifest: the tier of its releases.")] = None,
    action: Annotated[Action | None, typer.Option(help="The exception; --manifest needs it.")] = None,
    revoke: Annotated[
        str | None, typer.Option(metavar="DIGEST", help="Take an approval of yours back that is not spent yet.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Sign without being asked; nobody may be there to ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Look at what waits for people, sign for it with gpg or ssh-keygen, and hand that in.

    Exit code 0: taken, and enough people approved all of it that waits; 2: taken, and more people are needed.
    """
    from attestor.core.errors import Rejected
    from attestor.core.policyfile import parse_policy

    keys: list[str | Path] = [each for each in (gpg, ssh) if each is not None]
    if sum(each is not None for each in (request, manifest, revoke)) != 1 or len(keys) != 1:
        raise Rejected("usage", "Give a request, --manifest or --revoke, and one of --gpg and --ssh.")
    trusted = parse_policy(policy.read_bytes(), str(policy)) if policy is not None else None
    person = _Approver(Connection(server, ca), trusted, keys[0], yes)
    if revoke is not None:
        _revoke(person, revoke, as_json=as_json)
        return
    if reason is None:
        raise Rejected("usage", "Say why: --reason.")
    if request is not None:
        _approve_one(person, request, action, reason, hours, as_json=as_json)
    elif manifest is not None and tier is not None and action is not None:
        _approve_many(person, manifest.read_bytes(), tier, action, reason, hours, as_json=as_json)
    else:
        raise Rejected("usage", "With --manifest, say --tier and --action.")


def _approve_one(  # noqa: PLR0913 - one argument per flag
    person: _Approver, request: str, action: str | None, reason: str, hours: int | None, *, as_json: bool
) -> None:
    from attestor.client.approvals import draft, look
    from attestor.core.errors import Rejected

    looked = person.connection.run(lambda client: look(client, request, person.policy, now()))
    wanted = looked.wanted
    if action not in {None, wanted.action}:
        raise Rejected("approval-action", f"The request waits for {wanted.action}, not for {action}.")
    with _beside(as_json=as_json):
        _say_looked(looked)
    pair = (wanted.release_id, wanted.artifact.sha256)
    drafted = draft(wanted.terms, wanted.action, reason=reason, hours=hours, now=now(), request=(wanted.request, pair))
    _end(_hand_in(person, drafted), [wanted], as_json=as_json)


def _approve_many(  # noqa: PLR0913, PLR0917 - one argument per flag
    person: _Approver, manifest: bytes, tier: str, action: Action, reason: str, hours: int | None, *, as_json: bool
) -> None:
    from attestor.client.approvals import draft, everything_wanted, tier_of
    from attestor.core.approvaldocuments import read_manifest

    pairs = read_manifest(manifest)

    async def work(client: "AttestorClient") -> "tuple[TierView, list[WantedApproval]]":
        terms = await tier_of(client, tier, person.policy)
        return terms, await everything_wanted(client, tier=tier, action=action)

    found, waiting = person.connection.run(work)
    wanted = [one for one in waiting if (one.release_id, one.artifact.sha256) in pairs]
    with _beside(as_json=as_json):
        _say_many(pairs, wanted)
    drafted = draft(found.terms, action, reason=reason, hours=hours, now=now(), manifest=manifest)
    _end(_hand_in(person, drafted), wanted, as_json=as_json)


def _end(view: "ApprovalView", wanted: "list[WantedApproval]", *, as_json: bool) -> NoReturn:
    """Say how many more people it takes, for what was seen to wait, and leave with that."""
    more = max((one.needed - len({*one.approved_by, view.approver}) for one in wanted), default=0)
    enough = "Enough people approved it." if wanted else "Nothing of it waits for that now."
    _say_taken(view, f"{more} more must approve." if more > 0 else enough, as_json=as_json)
    leave(Exit.PENDING if more > 0 else Exit.YES)


def _hand_in(person: _Approver, drafted: "Draft") -> "ApprovalView":
    from attestor.core.approvalwire import ApprovalAsk
    from attestor.core.errors import Unavailable
    from attestor.core.strictjson import encode_base64

    key = person.key
    asked = ApprovalAsk(
        key=key,
        document=encode_base64(drafted.document),
        signature=encode_base64(person.sign(drafted.document)),
        reason=drafted.reason,
        manifest=encode_base64(drafted.manifest) if drafted.manifest is not None else None,
    )
    view = person.connection.run(lambda client: client.approve(asked))
    if view.digest != drafted.digest:
        raise Unavailable("service-differs", "The service answered for another approval than the one that was signed.")
    return view


def _revoke(person: _Approver, digest: str, *, as_json: bool) -> None:
    from attestor.client.approvals import draft_revocation
    from attestor.core.approvalwire import RevocationAsk
    from attestor.core.strictjson import encode_base64

    async def work(client: "AttestorClient") -> "tuple[str, ApprovalView]":
        origin = person.policy.origin if person.policy is not None else (await client.tiers()).origin
        return origin, (await client.approval(digest)).approval

    origin, view = person.connection.run(work)
    with _beside(as_json=as_json):
        say_approval(view)
    document = draft_revocation(origin, digest)
    key = person.key
    asked = RevocationAsk(key=key, document=encode_base64(document), signature=encode_base64(person.sign(document)))
    view = person.connection.run(lambda client: client.revoke_approval(digest, asked))
    _say_taken(view, "It counts for nothing more.", as_json=as_json)


def _beside(*, as_json: bool) -> AbstractContextManager[object]:
    """What a person must see before they sign is not what a program reads."""
    return redirect_stdout(sys.stderr) if as_json else nullcontext()


def _say_looked(looked: "Looked") -> None:
    wanted, decision = looked.wanted, looked.wanted.decision
    say(f"{wanted.release.file_name}\n  {wanted.release.kind} {wanted.release.purl}\n  release {wanted.release_id}")
    say(f"  bytes: sha256 {wanted.artifact.sha256}, {wanted.artifact.size} bytes")
    say(f"  asked by {wanted.requester}, request {wanted.request}, tier {wanted.terms.tier} of {wanted.terms.origin}")
    say(f"  it waits: {wanted.sentence} [{wanted.reason}]")
    for signed in wanted.signed:
        say(f"  signed already: sha256 {signed}")
    say(f"  votes: {decision.sentence} [{decision.reason}]")
    for link in wanted.evidence:
        say(f"    {link.operator}: {link.outcome} {link.sha256 or ''}\n      {link.envelope}")
    say(f"  {_by_own_eyes(looked)}")
    say(f"  to approve: {wanted.action}, {wanted.needed} people; so far {', '.join(wanted.approved_by) or 'nobody'}")


def _by_own_eyes(looked: "Looked") -> str:
    counted = looked.counted
    if counted is None:
        return "the service alone says so: with --policy the attestations are verified here"
    agreeing = f"{len(counted.agreeing)} of {counted.threshold} operators ({', '.join(counted.agreeing) or 'nobody'})"
    verdict = "agree on these bytes" if counted.agreed else "are all that agree: WITHOUT MORE VOTES NOTHING IS SIGNED"
    return f"verified here by your policy file: {agreeing} {verdict}"


def _say_many(pairs: "frozenset[tuple[str, str]]", wanted: "list[WantedApproval]") -> None:
    known = {(one.release_id, one.artifact.sha256): one for one in wanted}
    rows = []
    for pair in sorted(pairs):
        one = known.get(pair)
        named = (one.release.file_name, one.reason) if one is not None else (pair[0], "waits for no such approval now")
        rows.append((*named, pair[1]))
    say_table(("release", "it waits", "sha256"), rows[:_SHOWN])
    if len(rows) > _SHOWN:
        say(f"and {len(rows) - _SHOWN} more")
    say(f"{len(pairs)} releases, {len(known)} of them wait for this now")


def _say_taken(view: "ApprovalView", sentence: str, *, as_json: bool) -> None:
    if as_json:
        say_json(view)
        return
    say_approval(view)
    say(f"  {sentence}")
