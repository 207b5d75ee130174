"""The spool keeps what a request waits for, and nothing else for long."""

from datetime import timedelta

from attestor.app.clock import now
from attestor.core.wire import Upload
from tests.service.makers import BUILDER, asking, lines_of, package

GOOD, ORPHAN = b"the package", b"nobody asked for this"


async def test_what_a_request_waits_for_stays_and_what_nobody_needs_goes(ground):
    gate = await ground.gate(clock=lambda: now() + timedelta(hours=2))
    asked, _ = await gate.ask(BUILDER, asking(package(), GOOD, Upload()))
    await gate.upload(BUILDER, asked.id, lines_of(GOOD))
    orphan = ground.folder / "spool" / ("ab" * 32)
    orphan.write_bytes(ORPHAN)

    removed = await gate.tidy()

    assert removed == 1
    assert not orphan.exists()
    assert [path.read_bytes() for path in (ground.folder / "spool").iterdir() if path.is_file()] == [GOOD]


async def test_what_came_within_the_last_hour_stays(ground):
    gate = await ground.gate()
    fresh = ground.folder / "spool" / ("cd" * 32)
    fresh.write_bytes(ORPHAN)

    assert await gate.tidy() == 0
    assert fresh.exists()


async def test_the_content_of_a_withdrawn_request_goes(ground):
    gate = await ground.gate(clock=lambda: now() + timedelta(hours=2))
    asked, _ = await gate.ask(BUILDER, asking(package(), GOOD, Upload()))
    await gate.upload(BUILDER, asked.id, lines_of(GOOD))
    await gate.withdraw(BUILDER, asked.id)

    assert await gate.tidy() == 1
