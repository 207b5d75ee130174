"""A database that was put back, cloned or failed over: nothing is signed, and who looks is told what happened and what to do."""

import asyncio
import itertools
import urllib.error
import urllib.request

import pytest
import pytest_asyncio

from attestor.anchor.anchorfile import read_anchor
from attestor.app.recovery import recover_stored
from attestor.cli.output import Exit
from attestor.core.errors import Rejected
from attestor.embedded.device import emulator
from attestor.publish.tree import StaticTree
from attestor.service.export import export
from attestor.store.log import PostgresLog
from tests.system.conftest import short_folder
from tests.system.houses import package
from tests.system.yards import Yard, prepared

OLD, ASKED, NEW, LATE = (package(name) for name in ("old", "asked", "new", "late"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def yard():
    """Of two days: `yesterday` one release was signed and another was agreed on, `today` one more was signed and a fourth agreed on."""
    with short_folder() as folder:
        async with emulator(folder / "nethsm") as device:
            yard = Yard(folder, device)
            await prepared(yard)
            async with yard.up() as day:
                for name in (OLD, ASKED):
                    await day.attest(name, "alice", "bob")
                async with day.signing():
                    assert await day.ask(OLD, 20) == "signed"
            yard.copy("yesterday")
            async with yard.up() as day:
                for name in (NEW, LATE):
                    await day.attest(name, "alice", "bob")
                async with day.signing() as process:
                    assert await day.ask(NEW, 20) == "signed"
                    await day.size()
                    await process.past.follow()
                key = day.config.policy.log.key
                await export(PostgresLog(day.owner), StaticTree(folder / "export"), key, lambda *_: None)
            yard.copy("today")
            yard.export = folder / "export"
            yield yard


def readiness(yard):
    """Status and text of `/readyz`."""
    try:
        with urllib.request.urlopen(f"http://{yard.config.listeners[2].address}/readyz", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, answer.read().decode()


async def test_a_restored_dump_of_yesterday_is_not_signed_over_until_the_log_is_recovered(yard):
    yard.put_back(database="yesterday", anchor="today")
    async with yard.up() as day:
        assert await day.ask(ASKED) == "queued"
        code, said = await day.serve("signer")
        assert code == Exit.HALTED, said
        halted = await day.halted()
        assert halted.code == "log-rolled-back"
        assert "the database was rolled back, restored or failed over" in halted.sentence
        assert "attestor log recover --from EXPORT" in halted.sentence
        assert halted.sentence in said
        status, parts = await asyncio.to_thread(readiness, yard)
        assert (status, halted.code in parts) == (503, True)

        said = await day.recover(yard.export)
        assert "The log has 13 entries again: 6 came back" in said
        assert "submitted the very same envelope again" in said
        async with day.signing():
            assert await day.ask(ASKED, 20) == "signed"
            # What only the log remembers of it is not enough: its operators send their attestations again.
            await day.attest(LATE, "alice", "bob")
            assert await day.ask(LATE, 20) == "signed"


async def test_a_clone_with_the_same_keys_is_refused_by_the_signer_of_the_other(yard):
    names = (package(f"cloned{number}") for number in itertools.count())
    yard.put_back(database="today", anchor="today")
    async with yard.up() as day:
        await day.grow(await day.size() + 3, names)
        async with day.signing() as process:
            size = await day.size()
            while await process.past.size() < size:  # noqa: ASYNC110 - another task
                await asyncio.sleep(0.01)
    yard.copy("original")
    yard.put_back(database="today", anchor="original")
    async with yard.up() as day:
        assert await day.ask(ASKED) == "queued"
        assert (await day.halted()).code == "log-rolled-back"
        await day.grow(size, names)
        assert (await day.halted()).code == "log-forked"
        await day.grow(size + 1, names)
        halted = await day.halted()
        assert halted.code == "log-rewritten"
        assert "entries that nobody has need a new log origin" in halted.sentence


async def test_a_failover_that_lost_commits_and_outgrew_the_anchor_is_not_signed_over(yard):
    names = (package(f"failed-over{number}") for number in itertools.count())
    yard.put_back(database="yesterday", anchor="today")
    async with yard.up() as day:
        assert await day.ask(ASKED) == "queued"
        size = read_anchor(day.config.signer.anchor).size
        await day.grow(size, names)
        assert (await day.halted()).code == "log-forked"
        # What was taken in since then nobody else has: no export brings the two together.
        with pytest.raises(Rejected) as refused:
            await recover_stored(day.config, yard.export, lambda *_: None)
        assert refused.value.code == "log-forked"
        await day.grow(size + 1, names)
        assert (await day.halted()).code == "log-rewritten"
