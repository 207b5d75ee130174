"""What the database has lost of its log comes back byte for byte, or nothing changes."""

import asyncio
import hashlib

import pytest

from attestor.core.entrybytes import outgoing
from attestor.core.errors import AttestorError, Halted, Malformed, Missing, Rejected
from attestor.core.seal import SealRing
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.merkle import EMPTY, EMPTY_ROOT, leaf_hash
from attestor.publish.tree import StaticTree
from attestor.service.export import export
from attestor.service.logcheck import check_log
from attestor.service.recover import recover
from attestor.store.pool import Settings, connect
from attestor.store.recover import PostgresRecovery
from tests.edges.store.emptying import tamper
from tests.edges.store.logmakers import KEY, enqueue, logged
from tests.edges.store.seeds import add_release
from tests.loghistory import hexed, history, late_dissent, received, release_of, signature, withdrawal
from tests.logkeys import seal, witness_signer
from tests.memorylog import MemoryLog

ENTRIES = history(110)
SIZE = len(ENTRIES)
NOWHERE = Checkpoint(KEY.verifier.name, 0, EMPTY_ROOT)
TABLES = ("log_entries", "log_nodes", "log_checkpoints", "log_cosignatures", "log_state", "log_outbox")


def silent(_done, _of):
    pass


@pytest.fixture
async def recovery(stand):
    async with connect(Settings(stand.dsn(), connections=1)) as pool:
        yield PostgresRecovery(pool)


@pytest.fixture
def holding(stand, sequencer):
    """`await holding(entries)` has the database's log hold these, as the sequencer appends them."""

    async def fill(entries):
        book = await stand.book()
        await sequencer(book).begin()
        for start in range(0, len(entries), 97):
            await enqueue(stand.owner, *map(outgoing, entries[start : start + 97]))
            await sequencer(book).sequence()

    return fill


async def run(recovery, source, anchor=NOWHERE, witnesses=None, progress=silent):
    return await recover(
        source, recovery, KEY.verifier, anchor=anchor, witnesses=witnesses or {}, progress=progress
    )  # fmt: skip


async def rows(owner):
    return {table: await owner.fetch(f"SELECT * FROM {table} ORDER BY 1, 2") for table in TABLES}  # noqa: S608 - constants


@pytest.fixture
def refused(stand, recovery):
    """`await refused(source, ...)` is the class and code of the refusal; nothing has changed."""

    async def run_it(source, anchor=NOWHERE):
        before = await rows(stand.owner)
        with pytest.raises(AttestorError) as error:
            await run(recovery, source, anchor)
        assert await rows(stand.owner) == before
        return type(error.value), error.value.code

    return run_it


@pytest.mark.parametrize("left", [0, 1, 255, 256, 257, SIZE - 1, SIZE])
async def test_what_is_missing_comes_back_with_its_keys_places_tiles_and_checkpoint(stand, recovery, holding, left):
    await holding(ENTRIES[:left])
    source = MemoryLog(ENTRIES, KEY)
    seen = []
    done = await run(recovery, source, source.checkpoint_at(left), progress=lambda *at: seen.append(at))
    assert (done.before, done.after, done.outbox, seen[-1]) == (left, SIZE, 0, (SIZE, SIZE))
    assert await logged(stand.owner) == ENTRIES
    log = await stand.log()
    assert await log.checkpoint() == await source.checkpoint()
    report = await check_log(log, KEY.verifier, silent, seals=SealRing([seal().public]))
    assert (report.size, report.findings) == (SIZE, ())


async def test_the_sequencer_goes_on_from_there(stand, recovery, holding, sequencer):
    await holding(ENTRIES[:300])
    await run(recovery, MemoryLog(ENTRIES, KEY))
    await enqueue(stand.owner, outgoing(late_dissent(999)))
    assert await sequencer(await stand.book()).sequence() == 1
    assert await logged(stand.owner) == [*ENTRIES, late_dissent(999)]


async def test_it_comes_back_from_an_export(stand, recovery, holding, tmp_path):
    await holding(ENTRIES)
    tree = StaticTree(tmp_path / "tree")
    await export(await stand.log(), tree, KEY.verifier, silent)
    await tamper(stand.owner, "DELETE FROM log_entries WHERE idx >= 300")
    await tamper(stand.owner, "DELETE FROM log_nodes WHERE idx >= 1")
    frontier = EMPTY.extended([leaf_hash(entry) for entry in ENTRIES[:300]])
    await tamper(
        stand.owner,
        "UPDATE log_state SET size = 300, published = 300, root = $1, frontier = $2",
        frontier.root,
        frontier.encode(),
    )
    await run(recovery, tree)
    assert await logged(stand.owner) == ENTRIES


async def test_what_waits_for_the_log_and_stands_in_it_is_taken_out(stand, recovery, holding):
    await holding(ENTRIES[:300])
    await enqueue(stand.owner, outgoing(ENTRIES[301]), outgoing(ENTRIES[400]), outgoing(late_dissent(999)))
    assert (await run(recovery, MemoryLog(ENTRIES, KEY))).outbox == 2
    left = await stand.owner.fetch("SELECT entry FROM log_outbox")
    assert [row["entry"] for row in left] == [late_dissent(999)]


async def test_cosignatures_of_known_witnesses_come_back_apart_from_the_logs_own_signature(stand, recovery, holding):
    await holding(ENTRIES[:300])
    source = MemoryLog(ENTRIES, KEY)
    own = await source.checkpoint()
    text = source.checkpoint_at(SIZE).text
    lines = {name: witness_signer(name).cosign(text, 1_700_000_000) for name in ("one", "two")}
    source.note = own + "".join(f"{line}\n" for line in lines.values()).encode()
    await run(recovery, source, witnesses={"one": witness_signer("one").verifier})
    assert await stand.owner.fetchval("SELECT note FROM log_checkpoints WHERE size = $1", SIZE) == own
    kept = await stand.owner.fetch("SELECT size, witness, line FROM log_cosignatures")
    assert [tuple(row) for row in kept] == [(SIZE, "one", lines["one"])]


async def hold(owner, number, operator, body=b""):
    """An envelope whose bytes the made `received` entries name, or other ones."""
    await owner.execute(
        "INSERT INTO envelopes VALUES ($1, $2, $3, now())",
        operator,
        bytes.fromhex(hexed("payload", number, operator)),
        body,
    )


async def test_what_the_log_names_and_the_database_lacks_is_said(stand, recovery, holding):
    entries = [
        received(1, "alice", body=b"one"),
        received(2, "bob", body=b"two"),
        received(2, "bob", body=b"two in another envelope"),
        received(3, "carol", body=b"three"),
        withdrawal(2, "bob"),
        signature(2, 0),
    ]
    await holding(entries[:1])
    await hold(stand.owner, 3, "carol", b"three")
    await hold(stand.owner, 1, "alice", b"spoilt")
    done = await run(recovery, MemoryLog(entries, KEY))
    assert [(named.operator, named.payload.hex()) for named in done.payloads] == [
        ("alice", hexed("payload", 1, "alice")),
        ("bob", hexed("payload", 2, "bob")),
    ]
    assert done.payloads[1].sha256 == hashlib.sha256(b"two").digest(), "the first entry says which envelope"
    assert [(named.operator, named.release) for named in done.withdrawals] == [("bob", release_of(2).id)]
    assert [named.release for named in done.signatures] == [release_of(2).id]


async def test_what_the_database_holds_is_not_asked_for(stand, recovery):
    await hold(stand.owner, 3, "carol", b"three")
    done = await run(recovery, MemoryLog([received(3, "carol", body=b"three")], KEY))
    assert (done.payloads, done.withdrawals, done.signatures) == ([], [], [])


async def test_of_two_withdrawals_of_a_vote_the_one_that_the_database_lacks_is_said(stand, recovery):
    release = release_of(2)
    payload = bytes.fromhex(hexed("payload", 2, "bob"))
    await add_release(stand.owner, release)
    await hold(stand.owner, 2, "bob")
    await stand.owner.execute(
        "INSERT INTO claims VALUES ($1, 'bob', $2, 'rebuild', '{k}', 'failed', NULL, NULL, NULL, now())",
        bytes.fromhex(release.id),
        payload,
    )
    await stand.owner.execute(
        "INSERT INTO withdrawals VALUES ('bob', $1, $2, 'r', 'first', now())", payload, bytes.fromhex(release.id)
    )
    entries = [withdrawal(2, "bob", body=b"first"), withdrawal(2, "bob", body=b"second")]
    done = await run(recovery, MemoryLog(entries, KEY))
    assert [named.sha256 for named in done.withdrawals] == [hashlib.sha256(b"second").digest()]


def changed(place, entries=ENTRIES):
    return [*entries[:place], late_dissent(77_000 + place), *entries[place + 1 :]]


@pytest.mark.parametrize(
    ("held", "offered"),
    [
        (ENTRIES[:300], changed(0)),
        (ENTRIES[:300], changed(299)),
        ([*ENTRIES[:300], late_dissent(999)], ENTRIES),
        (changed(SIZE - 1), ENTRIES),
    ],
    ids=["the first differs", "the last differs", "one that nobody else has", "two logs of one size"],
)
async def test_entries_that_nobody_else_has_are_a_fork(holding, refused, held, offered):
    await holding(held)
    assert await refused(MemoryLog(offered, KEY)) == (Rejected, "log-forked")


async def test_the_anchor_decides_between_two_trees(holding, refused):
    await holding(ENTRIES[:300])
    other = MemoryLog(changed(400), KEY)
    source = MemoryLog(ENTRIES, KEY)
    assert await refused(source, other.checkpoint_at(450)) == (Rejected, "log-forked")
    assert await refused(source, other.checkpoint_at(SIZE)) == (Rejected, "log-forked")
    assert await refused(source, MemoryLog(changed(1), KEY).checkpoint_at(300)) == (Rejected, "log-forked")


async def test_an_export_that_does_not_reach_the_anchor_is_refused(holding, refused):
    await holding(ENTRIES[:300])
    anchor = MemoryLog(ENTRIES, KEY).checkpoint_at(SIZE)
    assert await refused(MemoryLog(ENTRIES[: SIZE - 1], KEY), anchor) == (Rejected, "export-behind-anchor")


async def test_an_export_that_is_behind_the_database_is_refused(holding, refused):
    await holding(ENTRIES[:300])
    assert await refused(MemoryLog(ENTRIES[:299], KEY)) == (Rejected, "export-behind-log")


async def test_an_export_that_is_wrong_at_its_end_has_changed_nothing(holding, refused):
    await holding(ENTRIES[:300])
    source = MemoryLog(changed(SIZE - 1), KEY)
    source.note = await MemoryLog(ENTRIES, KEY).checkpoint()
    assert await refused(source) == (Rejected, "export-broken")
    source = MemoryLog(ENTRIES, KEY)
    source.spoilt[f"tile/entries/002.p/{SIZE - 512}"] = None
    assert await refused(source) == (Halted, "log-gap")
    assert await refused(MemoryLog([*ENTRIES, b"{}"], KEY)) == (Malformed, "entry-malformed")


async def test_a_checkpoint_of_another_key_or_none_is_refused(holding, refused, tmp_path):
    await holding(ENTRIES[:300])
    assert await refused(MemoryLog(ENTRIES)) == (Rejected, "note-signature")
    assert await refused(StaticTree(tmp_path / "nothing")) == (Missing, "export-empty")
    source = MemoryLog(ENTRIES, KEY)
    source.note = sign_checkpoint(Checkpoint(KEY.verifier.name, SIZE, leaf_hash(b"")), KEY)
    assert await refused(source) == (Rejected, "export-broken")


async def test_a_database_that_was_written_to_is_not_added_to(stand, holding, refused):
    await holding(ENTRIES[:300])
    await tamper(stand.owner, "UPDATE log_entries SET entry = $1 WHERE idx = 7", late_dissent(5))
    assert await refused(MemoryLog(ENTRIES, KEY)) == (Rejected, "log-forked")
    await tamper(stand.owner, "DELETE FROM log_entries WHERE idx = 7")
    assert await refused(MemoryLog(ENTRIES, KEY)) == (Halted, "log-gap")


async def test_rows_beyond_the_stated_size_are_not_believed(stand, holding, refused):
    await holding(ENTRIES[:300])
    told = outgoing(ENTRIES[310])
    await stand.owner.execute(
        "INSERT INTO log_entries VALUES (300, $1, $2, $3, $4, $5)",
        told.subject, told.kind, told.number, leaf_hash(told.entry), told.entry,
    )  # fmt: skip
    assert await refused(MemoryLog(ENTRIES, KEY)) == (Halted, "log-root")


async def test_a_sequencer_in_its_transaction_is_waited_for(stand, recovery, holding):
    await holding(ENTRIES[:300])
    async with connect(Settings(stand.dsn(), connections=1)) as pool, pool.acquire() as other:
        begun = other.transaction()
        await begun.start()
        await other.execute("SELECT FROM log_state FOR UPDATE")
        task = asyncio.create_task(run(recovery, MemoryLog(ENTRIES, KEY)))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        )
        while not await stand.owner.fetchval(waiting):
            assert not task.done()
            await asyncio.sleep(0.01)
        await begun.commit()
        await task
    assert await logged(stand.owner) == ENTRIES
