"""For who trusts nobody: follow the log from outside, and look at everything that it says was decided and signed."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attestor.cli.connection import CaOption, ServerOption
from attestor.cli.output import Exit, JsonOption, leave, note, say, say_json

if TYPE_CHECKING:
    from attestor.core.policy import Policy
    from attestor.service.audit import Audited, Auditor
    from attestor.service.past import Past

_STATE: Final = "audit.json"


def register(app: typer.Typer) -> None:
    app.command("audit")(audit)


def audit(  # noqa: PLR0913 - one flag each
    *,
    server: ServerOption,
    policy: Annotated[
        list[Path],
        typer.Option(
            help="A policy file; repeat it for each that the log names. The highest serial names the log's key."
        ),
    ],
    state: Annotated[Path, typer.Option(help="A folder of its own for what was seen; made where it is missing.")],
    ca: CaOption = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes, until stopped.")] = False,
    every: Annotated[float, typer.Option(help="Seconds between two looks with --follow.", min=0.1)] = 60,
    acknowledge: Annotated[
        bool, typer.Option("--acknowledge", help="Forget the findings of earlier runs before this one.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check that the log only grew and that every decision and signature in it holds; exit 0 clean, 3 findings, 4 another past.

    Stopped, it goes on where it was. Findings of earlier runs count until they are acknowledged.
    """
    from attestor.config.loading import load_policy
    from attestor.service.audit import Audited

    watch = _Watch(server, ca, [load_policy(path) for path in policy], state)
    if acknowledge:
        watch.keep(Audited(watch.kept().size))
    while True:
        audited = asyncio.run(watch.once())
        if as_json:
            say_json(audited)
        else:
            _print(audited)
        if not follow:
            leave(Exit.YES if audited.clean else Exit.REFUSED)
        asyncio.run(asyncio.sleep(every))


def _print(audited: "Audited") -> None:
    for finding in audited.findings:
        say(f"entry {finding.index}: {finding.sentence} [{finding.code}]")
    say(f"{audited.size} entries looked at; {len(audited.findings)} of them want a person's eye.")


@dataclass(frozen=True, slots=True)
class _Watch:
    """One audited instance."""

    server: str
    ca: Path | None
    policies: "list[Policy]"
    folder: Path

    async def once(self) -> "Audited":
        """Follow the log to its end and judge what is new. Raises ``Halted``, ``Unavailable``; what was judged stays."""
        from attestor.anchor.anchorfile import NAME, make_anchor
        from attestor.anchor.memory import FileMemory
        from attestor.client.calls import AttestorClient
        from attestor.client.log import HttpLog
        from attestor.client.tls import client_tls
        from attestor.core.tlog.merkle import EMPTY_ROOT
        from attestor.service.audit import Auditor
        from attestor.service.past import Past

        newest = max(self.policies, key=lambda policy: policy.serial)
        if not (self.folder / NAME).exists():
            # An auditor's own beginning: the empty log, so that everything since is looked at.
            make_anchor(self.folder, 0, EMPTY_ROOT)
        tls = client_tls(ca=self.ca)
        async with (
            AttestorClient(self.server, tls=tls) as client,
            HttpLog(f"{self.server.rstrip('/')}/log", tls=tls) as source,
            FileMemory.opened(self.folder, newest.log.key.name) as memory,
        ):
            past = Past(source, memory, newest, alone=False)
            auditor = Auditor(source, memory, {policy.digest: policy for policy in self.policies}, newest, client)
            return await self._judged(past, auditor)

    async def _judged(self, past: "Past", auditor: "Auditor") -> "Audited":
        from rich.console import Console
        from rich.progress import Progress

        from attestor.service.audit import Audited
        from attestor.service.audit import audit as judged

        await past.follow()
        before, size = self.kept(), await past.size()
        found = list(before.findings)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("entries", total=size, completed=before.size)

            def went_on(index: int) -> None:
                bar.update(task, completed=index)
                if index % 1024 == 0:
                    self.keep(Audited(index, tuple(found)))

            async for finding in judged(auditor, before.size, size, went_on):
                found.append(finding)
                note(f"entry {finding.index}: {finding.code}")
        done = Audited(max(size, before.size), tuple(found))
        self.keep(done)
        return done

    def kept(self) -> "Audited":
        """Raises ``Rejected`` ``audit-state`` when the file cannot be read: findings may stand in it."""
        import msgspec

        from attestor.core.errors import Rejected
        from attestor.service.audit import Audited

        place = self.folder / _STATE
        try:
            return msgspec.json.decode(place.read_bytes(), type=Audited)
        except FileNotFoundError:
            return Audited()
        except msgspec.MsgspecError:
            raise Rejected(
                "audit-state", f"{place} cannot be read; move it away to look at the whole log again."
            ) from None

    def keep(self, audited: "Audited") -> None:
        """Whole or not at all: a file that is half written would be one that says less."""
        import msgspec

        new = self.folder / f"{_STATE}.new"
        new.write_bytes(msgspec.json.encode(audited))
        new.replace(self.folder / _STATE)
