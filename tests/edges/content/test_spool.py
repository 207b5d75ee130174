"""The upload spool keeps exactly the announced bytes, or nothing, in flat memory."""

import asyncio
import datetime as dt
import gc
import hashlib
import os
import resource
import threading

import psutil
import pytest

from attestor.content.measure import measure
from attestor.content.roots import DirectoryRoot, PullRoots
from attestor.content.spool import Spool
from attestor.core.errors import AttestorError, Malformed, Rejected, TooLarge, Unavailable

MIB = 1 << 20
CONTENT = os.urandom(2 * MIB + 5)
DIGEST = hashlib.sha256(CONTENT).digest()
SIZE = len(CONTENT)


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool", max_bytes=512 * MIB, max_total_bytes=600 * MIB)
    spool.prepare()
    return spool


async def chunks(content=CONTENT, size=65536):
    for at in range(0, len(content), size):
        yield content[at : at + size]
        await asyncio.sleep(0)


def left(tmp_path):
    return sorted(path.name for path in (tmp_path / "spool").rglob("*") if path.is_file())


async def test_an_upload_is_stored_under_its_digest_for_its_owner_only(spool, tmp_path):
    path = await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    assert path == tmp_path / "spool" / DIGEST.hex() == spool.path(DIGEST)
    assert path.read_bytes() == CONTENT
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert left(tmp_path) == [DIGEST.hex()]
    assert spool.has(DIGEST)


async def test_an_empty_upload_is_an_upload(spool):
    nothing = hashlib.sha256().digest()
    assert (await spool.receive(chunks(b""), size=0, sha256=nothing)).read_bytes() == b""


async def test_the_signer_reads_the_spool_as_a_directory_root(spool, tmp_path):
    await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    roots = PullRoots({"spool": DirectoryRoot(tmp_path / "spool")}, scratch=tmp_path, max_bytes=512 * MIB)
    async with roots.open("spool", DIGEST.hex()) as opened:
        assert (await measure(opened)).sha256 == DIGEST


BAD = {
    "another digest": ({"sha256": bytes(32)}, Rejected, "upload-digest-mismatch"),
    "one byte fewer than announced": ({"size": SIZE + 1}, Rejected, "upload-size-mismatch"),
    "one byte more than announced": ({"size": SIZE - 1}, Rejected, "upload-size-mismatch"),
    "announced over the limit": ({"size": 512 * MIB + 1}, TooLarge, "upload-too-large"),
    "a digest of 31 bytes": ({"sha256": bytes(31)}, Malformed, "digest-malformed"),
}


@pytest.mark.parametrize(("said", "error", "code"), BAD.values(), ids=BAD)
async def test_an_upload_that_is_not_as_announced_leaves_nothing(spool, tmp_path, said, error, code):
    with pytest.raises(error) as refusal:
        await spool.receive(chunks(), **({"size": SIZE, "sha256": DIGEST} | said))
    assert refusal.value.code == code
    assert left(tmp_path) == []


async def test_an_upload_with_more_than_announced_is_refused_before_it_ends(spool):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 65536
            yield bytes(65536)

    with pytest.raises(Rejected):
        await spool.receive(endless(), size=MIB, sha256=DIGEST)
    assert sent <= 2 * MIB


async def test_a_broken_connection_leaves_nothing(spool, tmp_path):
    async def breaking():
        yield bytes(2 * MIB)
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await spool.receive(breaking(), size=SIZE, sha256=DIGEST)
    assert left(tmp_path) == []


@pytest.mark.parametrize("pieces", [0, 1, 3])
async def test_a_cancelled_upload_leaves_nothing_and_its_room_is_free_again(spool, tmp_path, pieces):
    reached = asyncio.Event()

    async def stalling():
        for _ in range(pieces):
            yield bytes(MIB)
        reached.set()
        await asyncio.sleep(60)

    for _ in range(3):
        reached.clear()
        task = asyncio.create_task(spool.receive(stalling(), size=400 * MIB, sha256=DIGEST))
        await asyncio.wait_for(reached.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert left(tmp_path) == []
    await spool.receive(chunks(), size=SIZE, sha256=DIGEST)


@pytest.mark.parametrize("after", range(0, 40, 3))
async def test_an_upload_cancelled_at_any_turn_of_the_loop_leaves_all_or_nothing(spool, tmp_path, after):
    task = asyncio.create_task(spool.receive(chunks(size=MIB), size=SIZE, sha256=DIGEST))
    for _ in range(after):
        await asyncio.sleep(0.0003)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert left(tmp_path) in ([], [DIGEST.hex()])
    assert not spool.has(DIGEST) or spool.path(DIGEST).read_bytes() == CONTENT


async def test_the_same_content_again_is_answered_without_reading_or_writing(spool):
    path = await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    before = path.stat()

    async def unread():
        raise AssertionError
        yield

    assert await spool.receive(unread(), size=SIZE, sha256=DIGEST) == path
    assert path.stat().st_ino == before.st_ino
    assert path.stat().st_size == before.st_size


async def test_the_same_content_with_another_size_is_refused(spool):
    await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    with pytest.raises(Rejected) as refusal:
        await spool.receive(chunks(), size=SIZE + 1, sha256=DIGEST)
    assert refusal.value.code == "upload-size-mismatch"


async def test_many_uploads_of_one_content_at_once_are_one_file(spool, tmp_path):
    received = await asyncio.gather(*(spool.receive(chunks(), size=SIZE, sha256=DIGEST) for _ in range(12)))
    assert set(received) == {spool.path(DIGEST)}
    assert left(tmp_path) == [DIGEST.hex()]
    assert spool.path(DIGEST).read_bytes() == CONTENT


async def test_uploads_that_fit_one_by_one_but_not_together_are_told_to_come_back(spool):
    go_on = asyncio.Event()

    async def waiting():
        await go_on.wait()
        yield b"x"

    tasks = [
        asyncio.create_task(spool.receive(waiting(), size=250 * MIB, sha256=bytes([index]) * 32)) for index in range(3)
    ]
    done, _ = await asyncio.wait(tasks, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    go_on.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [task.exception().code for task in done] == ["spool-full"]
    assert sorted(result.code for result in results) == ["spool-full", "upload-size-mismatch", "upload-size-mismatch"]


async def test_what_is_stored_counts_against_the_total(tmp_path):
    spool = Spool(tmp_path / "spool", max_bytes=SIZE, max_total_bytes=SIZE + 5)
    spool.prepare()
    await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    other = hashlib.sha256(b"123456").digest()
    with pytest.raises(Unavailable) as outage:
        await spool.receive(chunks(b"123456"), size=6, sha256=other)
    assert outage.value.code == "spool-full"
    await spool.discard(DIGEST)
    assert (await spool.receive(chunks(b"123456"), size=6, sha256=other)).exists()


async def test_a_disk_that_takes_no_more_is_an_outage_and_leaves_nothing(spool, tmp_path):
    """The kernel's limit of a file's size stands for the full disk: the write fails half way, for real."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB + 1000, hard))
    try:
        with pytest.raises(Unavailable) as outage:
            await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert outage.value.code == "spool-full"
    assert left(tmp_path) == []


async def test_a_spool_that_went_away_is_an_outage(spool, tmp_path):
    (tmp_path / "spool").rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable) as outage:
        await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    assert outage.value.code == "spool-failed"


async def test_discarding_is_for_good_and_may_be_repeated(spool, tmp_path):
    await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    await spool.discard(DIGEST)
    await spool.discard(DIGEST)
    assert not spool.has(DIGEST)
    assert left(tmp_path) == []


def at(seconds):
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


async def test_a_sweep_takes_what_is_old_and_not_kept(spool, tmp_path):
    contents = {name: hashlib.sha256(name).digest() for name in (b"kept", b"old", b"new")}
    for name, digest in contents.items():
        await spool.receive(chunks(name), size=len(name), sha256=digest)
        os.utime(spool.path(digest), (1000, 2000 if name == b"new" else 1000))
    assert await spool.sweep({contents[b"kept"]}, before=at(1500)) == 1
    assert left(tmp_path) == sorted(contents[name].hex() for name in (b"kept", b"new"))


async def test_a_content_uploaded_again_is_new_to_the_sweep(spool):
    await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    os.utime(spool.path(DIGEST), (1000, 1000))
    await spool.receive(chunks(), size=SIZE, sha256=DIGEST)
    assert await spool.sweep(set(), before=at(2000)) == 0
    assert spool.has(DIGEST)


async def test_a_sweep_takes_the_remains_of_dead_uploads_and_leaves_the_living(spool, tmp_path):
    (tmp_path / "spool" / "incoming" / "dead").write_bytes(b"partial")
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def slow():
        yield CONTENT[:MIB]
        reached.set()
        await go_on.wait()
        yield CONTENT[MIB:]

    task = asyncio.create_task(spool.receive(slow(), size=SIZE, sha256=DIGEST))
    await reached.wait()
    assert await spool.sweep(set(), before=at(0)) == 1
    go_on.set()
    assert (await task).read_bytes() == CONTENT


def test_a_spool_that_others_may_enter_is_not_used(tmp_path):
    (tmp_path / "spool").mkdir(mode=0o755)
    with pytest.raises(AttestorError) as outage:
        Spool(tmp_path / "spool", max_bytes=1, max_total_bytes=1).prepare()
    assert outage.value.code == "scratch-not-private"


async def test_a_large_upload_stays_flat_in_memory(spool):
    piece, count = bytes(65536), 4096
    digest = hashlib.sha256()
    for _ in range(count):
        digest.update(piece)

    async def stream():
        for _ in range(count):
            yield piece

    gc.collect()
    process, done, peak = psutil.Process(), threading.Event(), 0
    idle = process.memory_info().rss

    def watch():
        nonlocal peak
        while not done.wait(0.005):
            peak = max(peak, process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        await spool.receive(stream(), size=count * len(piece), sha256=digest.digest())
    finally:
        done.set()
        watcher.join()
    assert 0 < peak < idle + 32 * MIB
