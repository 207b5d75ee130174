"""For who trusts nobody: follow the log from outside, and look at everything that it says was decided and signed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from attestor.cli.connection import CaOption, ServerOption
from attestor.cli.logtools import bar, key_given
from attestor.cli.output import Exit, JsonOption, leave, note, say, say_json

if TYPE_CHECKING:
    from attestor.anchor.auditbook import FileAuditBook
    from attestor.core.auditing import Finding
    from attestor.core.policy import Policy
    from attestor.service.auditports import Auditor

_SHOWN: Final = 100
_PATIENCE_SECONDS: Final = 10
"""What stays away longer is told, and looked at in the next run."""


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)


def audit(  # noqa: PLR0913 - one flag each
    *,
    server: ServerOption,
    policy: Annotated[
        list[Path],
        typer.Option(
            help="A policy file; repeat it for each that the log names. The one with the highest serial names log and seals."
        ),
    ],
    state: Annotated[
        Path, typer.Option(metavar="DIR", help="What was seen and found; made where it is missing. Keep it.")
    ],
    ca: CaOption = None,
    log_key: Annotated[
        str | None,
        typer.Option(
            "--log-key", help="The log's key (a vkey, or a file that holds it), if the policy may name no other."
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until stopped.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks with --follow.", min=0.1)] = 60,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="Forget the findings of earlier runs before this one.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that the log only grew, and that every decision and signature in it holds.

    Exit code 0: all of it holds; 3: something was found, now or in a run before that nobody acknowledged; 4: the log went back, was
    forked or rewritten; 1: it could not be looked at. Stopped anywhere, it goes on where it was.
    """
    import asyncio

    from attestor.anchor.auditbook import FileAuditBook
    from attestor.config.loading import load_policy

    policies = _by_digest([load_policy(path) for path in policy])
    newest = max(policies.values(), key=lambda one: one.serial)
    _refuse_other_key(newest, log_key)
    with FileAuditBook.opened(state, newest.log.key.name) as book:
        if acknowledge:
            book.acknowledge()
        report = _Report(book, as_json=as_json)
        asyncio.run(_audited(report, server, ca, policies, every if follow else None))
        leave(Exit.YES if report.clean else Exit.REFUSED)


async def _audited(
    report: "_Report", server: str, ca: Path | None, policies: "dict[str, Policy]", every: float | None
) -> None:
    import asyncio

    from attestor.client.calls import AttestorClient
    from attestor.client.log import HttpLog
    from attestor.client.tls import client_tls
    from attestor.core.errors import Unavailable
    from attestor.openpgp.approvers import Approvers
    from attestor.service.auditports import Auditor

    tls = client_tls(ca=ca)
    async with (
        AttestorClient(server, tls=tls, patience_seconds=_PATIENCE_SECONDS) as client,
        HttpLog(f"{server.rstrip('/')}/log", tls=tls, patience_seconds=_PATIENCE_SECONDS) as source,
    ):
        auditor = Auditor(source, client, report.book, policies, Approvers().verify)
        if every is None:
            await report.of(auditor)
        while every is not None:
            try:
                await report.of(auditor)
            except Unavailable as error:
                note(f"{error.sentence} Trying again in {every:g} s. [{error.code}]")
            await asyncio.sleep(every)


class _Report:
    """What is said after each look: all that nobody acknowledged; while following, only when there is news."""

    def __init__(self, book: "FileAuditBook", *, as_json: bool) -> None:
        self.book = book
        self.clean = True
        self._as_json = as_json
        self._said: tuple[int, int, Finding | None] | None = None

    async def of(self, auditor: "Auditor") -> None:
        """Look once. Raises as ``service.audit.audit``."""
        from attestor.service.audit import audit as looked

        with bar("entries judged") as progress:
            waits = await looked(auditor, progress)
        found = self.book.findings(_SHOWN)
        self.clean = waits is None and all(finding.notice for finding in found)
        news = (self.book.judged(), self.book.count(), waits)
        if news != self._said:
            self._said = news
            self._say([*found, *([waits] if waits is not None else [])], waits)

    def _say(self, found: "list[Finding]", waits: "Finding | None") -> None:
        judged, more = self.book.judged(), self.book.count() - len(self.book.findings(_SHOWN))
        if self._as_json:
            report: dict[str, Any] = {"judged": judged, "clean": self.clean, "findings": found, "more": more}
            say_json(report)
            return
        for finding in found:
            place = "log" if finding.index is None else f"entry {finding.index}"
            say(f"{'note' if finding.notice else 'FOUND'}  {place}: {finding.sentence} [{finding.code}]")
        if more:
            say(f"... and {more} more")
        rest = "; the next one waits for its policy file" if waits is not None else ""
        say(f"{judged} entries judged{rest}. {'All of it holds.' if self.clean else 'Not all of it holds.'}")


def _by_digest(policies: "list[Policy]") -> "dict[str, Policy]":
    from attestor.core.errors import Rejected

    by_digest = {policy.digest: policy for policy in policies}
    if len({policy.serial for policy in by_digest.values()}) < len(by_digest):
        raise Rejected("policies-contradict", "Two of the policy files have one serial and say different things.")
    return by_digest


def _refuse_other_key(policy: "Policy", log_key: str | None) -> None:
    from attestor.core.errors import Rejected

    if log_key is not None and key_given(log_key) != policy.log.key:
        raise Rejected(
            "log-key-differs", f"The policy of serial {policy.serial} names another log key: {policy.log.key.text}."
        )
