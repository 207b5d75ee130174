"""A database that was rolled back: the signer halts, the export brings the log back, and the signer goes on."""

from types import SimpleNamespace

import pytest

from attestor.anchor.anchorfile import make_anchor
from attestor.anchor.memory import FileMemory
from attestor.app.recovery import check_stored, recover_stored
from attestor.core.entrybytes import outgoing
from attestor.core.errors import Halted, Rejected
from attestor.core.policy import LogPolicy
from attestor.core.secret import Secret
from attestor.core.tlog.merkle import EMPTY, EMPTY_ROOT, leaf_hash
from attestor.publish.tree import StaticTree
from attestor.service.export import export
from attestor.service.past import Past
from tests.edges.store.conftest import migrated, sequencer, stand  # noqa: F401 - fixtures
from tests.edges.store.emptying import tamper
from tests.edges.store.logmakers import KEY, enqueue, logged
from tests.loghistory import history, late_dissent
from tests.logkeys import seal

ENTRIES = history(100)
YESTERDAY = 300
LOG = LogPolicy(key=KEY.verifier, seal_keys=(seal().public,), quorum=0, witnesses=())


def silent(_done, _of):
    pass


@pytest.fixture
def config(stand, tmp_path):  # noqa: F811 - fixtures by name
    """What these verbs read of a deployment."""
    return SimpleNamespace(
        for_role=lambda _role: SimpleNamespace(dsn=Secret(stand.dsn())),
        policy=SimpleNamespace(log=LOG),
        signer=SimpleNamespace(anchor=tmp_path / "anchor"),
    )


@pytest.fixture
async def log(stand, sequencer):  # noqa: F811 - fixtures by name
    """The database's log: `await log(*entries)` appends."""
    book = await stand.book()
    await sequencer(book).begin()

    async def append(*entries):
        await enqueue(stand.owner, *map(outgoing, entries))
        await sequencer(book).sequence()

    await append(*ENTRIES)
    return append


async def roll_back(owner):
    """As the restored dump of yesterday."""
    frontier = EMPTY.extended([leaf_hash(entry) for entry in ENTRIES[:YESTERDAY]])
    await tamper(owner, "DELETE FROM log_entries WHERE idx >= $1", YESTERDAY)
    await tamper(owner, "DELETE FROM log_nodes WHERE (idx + 1) * 256 > $1", YESTERDAY)
    await tamper(owner, "DELETE FROM log_checkpoints")
    await tamper(
        owner,
        "UPDATE log_state SET size = $1, published = $1, root = $2, frontier = $3",
        YESTERDAY,
        frontier.root,
        frontier.encode(),
    )


async def test_a_signer_that_halted_goes_on_after_the_recovery(stand, log, config, tmp_path, sequencer):  # noqa: F811
    make_anchor(config.signer.anchor, 0, EMPTY_ROOT)
    copy = StaticTree(tmp_path / "copy")
    async with FileMemory.opened(config.signer.anchor, KEY.verifier.name) as memory:
        past = Past(await stand.log("signer"), memory, config.policy, alone=False)
        await past.follow()
        await export(await stand.log(), copy, KEY.verifier, silent)
        await roll_back(stand.owner)
        await sequencer(await stand.book()).begin()
        await log(late_dissent(7_000))
        with pytest.raises(Halted) as halted:
            await past.follow()
        assert halted.value.code == "log-rolled-back"

        # What was appended since nobody else has: the way back is closed, and nothing changes.
        with pytest.raises(Rejected) as refused:
            await recover_stored(config, tmp_path / "copy", silent)
        assert refused.value.code == "log-forked"

        await roll_back(stand.owner)
        recovered = await recover_stored(config, tmp_path / "copy", silent)
        assert (recovered.before, recovered.after) == (YESTERDAY, len(ENTRIES))
        assert await logged(stand.owner) == ENTRIES
        assert await past.follow() is False
        await log(late_dissent(8_000))
        assert await past.follow() is True
        assert await past.size() == len(ENTRIES) + 1


async def test_without_an_anchor_nothing_is_recovered(stand, log, config, tmp_path):  # noqa: F811
    await export(await stand.log(), StaticTree(tmp_path / "copy"), KEY.verifier, silent)
    with pytest.raises(Halted) as halted:
        await recover_stored(config, tmp_path / "copy", silent)
    assert halted.value.code == "anchor-missing"


async def test_an_export_of_before_the_anchor_is_not_enough(stand, log, config, tmp_path):  # noqa: F811
    await export(await stand.log(), StaticTree(tmp_path / "copy"), KEY.verifier, silent)
    make_anchor(config.signer.anchor, len(ENTRIES) + 1, bytes(32))
    with pytest.raises(Rejected) as refused:
        await recover_stored(config, tmp_path / "copy", silent)
    assert refused.value.code == "export-behind-anchor"


async def test_the_rows_are_checked_where_they_stand(stand, log, config):  # noqa: F811
    assert (await check_stored(config, KEY.verifier, LOG.seals, silent)).findings == ()
    await tamper(stand.owner, "UPDATE log_entries SET entry = $1 WHERE idx = 5", late_dissent(9_000))
    await tamper(stand.owner, "UPDATE log_nodes SET hash = sha256('x') WHERE idx = 0")
    found = {finding.code for finding in (await check_stored(config, KEY.verifier, LOG.seals, silent)).findings}
    assert found == {"tile-differs", "root-differs"}
    await tamper(stand.owner, "DELETE FROM log_entries WHERE idx = 5")
    found = {finding.code for finding in (await check_stored(config, KEY.verifier, LOG.seals, silent)).findings}
    assert "tile-missing" in found
