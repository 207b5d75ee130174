"""``attestor check`` of the log: the keys that seal and sign it, and the signer's anchor beside what the database shows."""

from collections.abc import AsyncIterator, Callable
from typing import Final

from attestor.anchor.anchorfile import read_anchor
from attestor.app.finding import Finding, tried
from attestor.app.logkeys import log_signer, seal_of
from attestor.config import Config, RoleView
from attestor.core.errors import AttestorError
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint
from attestor.service.logports import LogSource
from attestor.service.verified import VerifiedTiles
from attestor.store.log import PostgresLog
from attestor.store.pool import Settings, connect

_OTHER_PAST: Final = (
    "find out which of the two is right; a database that was restored gets its entries back with attestor log recover"
)


async def of_sequencer(config: Config, view: RoleView) -> AsyncIterator[Finding]:
    """Its key is the policy's log's."""
    named = lambda: log_signer(config, view).verifier.text  # noqa: E731 - what is tried
    yield _key("log key", named, "put the log's own secret key there, or its vkey into the policy's log.key")


async def of_signer(config: Config, view: RoleView) -> AsyncIterator[Finding]:
    """Its seal is one of the policy's, and its anchor lies on the way to where the log is now."""
    named = lambda: seal_of(config, view).public.fingerprint  # noqa: E731 - what is tried
    yield _key("signer's seal", named, "add its public half to the policy's log.signers, or bring the right key")

    async def look() -> Finding:
        anchor = read_anchor(config.signer.anchor).checkpoint(config.policy.log.key.name)
        async with connect(Settings(view.dsn.reveal(), connections=1)) as pool:
            return await _anchor(config, anchor, PostgresLog(pool))

    yield await tried("anchor", look, "do as it says, and never by copying an anchor from a backup")


def _key(part: str, named: Callable[[], str], remedy: str) -> Finding:
    try:
        return Finding(part, ok=True, detail=named())
    except AttestorError as error:
        return Finding(part, ok=False, detail=error.sentence, remedy=remedy)


async def _anchor(config: Config, anchor: Checkpoint, source: LogSource) -> Finding:
    note = await source.checkpoint()
    if note is None and anchor.size == 0:
        return Finding("anchor", ok=True, detail="at 0 entries; the sequencer's first checkpoint is to come")
    if note is None:
        return _differs(f"it has seen {anchor.size} entries, and the database shows no log at all")
    published = open_checkpoint(note, config.policy.log.key)
    if published.size < anchor.size:
        return _differs(f"it has seen {anchor.size} entries, and the log shows {published.size}")
    if (await VerifiedTiles(published, source.tile).frontier(anchor.size)).root != anchor.root:
        return _differs(f"the log's first {anchor.size} entries are not those that it has seen")
    return Finding(
        "anchor", ok=True, detail=f"at {anchor.size} of the log's {published.size} entries, whose beginning they are"
    )


def _differs(detail: str) -> Finding:
    return Finding("anchor", ok=False, detail=detail, remedy=_OTHER_PAST)
