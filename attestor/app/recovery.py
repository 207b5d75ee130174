"""The log in the deployment's own database: checked as it stands there, and brought back from an export."""

from pathlib import Path

from attestor.anchor.anchorfile import read_anchor
from attestor.config import Config, Role
from attestor.core.seal import SealRing
from attestor.core.tlog.note import VerifierKey
from attestor.publish.tree import StaticTree
from attestor.service.export import Progress
from attestor.service.logcheck import Report, check_log
from attestor.service.recover import Recovered, recover
from attestor.store.log import PostgresLog
from attestor.store.pool import Settings, connect
from attestor.store.recover import PostgresRecovery


async def check_stored(config: Config, key: VerifierKey, seals: SealRing, progress: Progress) -> Report:
    """Check the published log by its rows, as the owner."""
    async with connect(Settings(config.for_role(Role.OWNER).dsn.reveal(), connections=4)) as pool:
        return await check_log(PostgresLog(pool), key, progress, seals=seals)


async def recover_stored(config: Config, folder: Path, progress: Progress) -> Recovered:
    """Bring back what the database lacks of the log, from the export in *folder*, at least up to this deployment's anchor.

    Raises as :func:`attestor.service.recover.recover`, and ``Halted`` ``anchor-…`` without an anchor to hold the export against.
    """
    log = config.policy.log
    anchor = read_anchor(config.signer.anchor).checkpoint(log.key.name)
    async with connect(Settings(config.for_role(Role.OWNER).dsn.reveal(), connections=1)) as pool:
        return await recover(
            StaticTree(folder),
            PostgresRecovery(pool),
            log.key,
            anchor=anchor,
            witnesses={witness.name: witness.key for witness in log.witnesses},
            progress=progress,
        )
