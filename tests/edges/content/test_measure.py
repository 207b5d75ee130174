"""What is hashed is what was there, whole and unmoved, and reading it stops nobody else."""

import asyncio
import hashlib
import os
import threading
import time

import pytest

from attestor.content.measure import Measured, Opened, measure, measure_fd, snapshot
from attestor.core.errors import AttestorError, Rejected, TooLarge, Unavailable

MIB = 1 << 20
LIMIT = 1 << 40


@pytest.fixture
def opened(tmp_path):
    fds = []

    def put(content, limit=LIMIT):
        path = tmp_path / "artifact"
        path.write_bytes(content)
        fds.append(os.open(path, os.O_RDONLY))
        return path, Opened(fds[-1], limit)

    yield put
    for fd in fds:
        os.close(fd)


@pytest.fixture
def private(tmp_path):
    folder = tmp_path / "private"
    folder.mkdir(mode=0o700)
    return folder


@pytest.mark.parametrize("size", [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 7])
async def test_size_and_digests_are_those_of_the_file(opened, size):
    content = os.urandom(size)
    _, file = opened(content)
    measured = await measure(file)
    assert (measured.size, measured.sha256) == (size, hashlib.sha256(content).digest())
    assert measured.sha512 == hashlib.sha512(content).digest()


async def test_a_copy_of_the_hash_goes_on_where_the_file_ended_and_the_hash_stays(opened):
    content = os.urandom(5000)
    measured = await measure(opened(content)[1])
    extended = measured.hasher.copy()
    extended.update(b"\x04\xff")
    assert extended.digest() == hashlib.sha512(content + b"\x04\xff").digest()
    assert measured.hasher.digest() == measured.sha512


async def test_a_file_can_be_measured_again(opened):
    _, file = opened(b"x" * 100)
    assert await measure(file) == await measure(file)


def test_progress_is_told_in_bytes_up_to_the_size(opened):
    seen = []
    measure_fd(opened(bytes(2 * MIB + 5))[1].fd, LIMIT, seen.append)
    assert seen == [MIB, 2 * MIB, 2 * MIB + 5]


def overwrite_keeping_time(path):
    before = path.stat()
    with path.open("r+b") as file:
        file.write(b"evil")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def append(path):
    with path.open("ab") as file:
        file.write(bytes(10))


CHANGES = {
    "overwritten in place": lambda path: path.write_bytes(b"y" * 3 * MIB),
    "overwritten and its time set back": overwrite_keeping_time,
    "longer": append,
    "shorter": lambda path: os.truncate(path, MIB + 5),
    "longer and cut again": lambda path: (append(path), os.truncate(path, 3 * MIB)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_changes_while_it_is_read_is_refused(opened, change):
    path, file = opened(bytes(3 * MIB))
    with pytest.raises(Rejected) as refusal:
        measure_fd(file.fd, LIMIT, lambda read: change(path) if read == MIB else None)
    assert refusal.value.code == "content-changed"


def test_a_file_replaced_by_name_while_it_is_read_is_the_file_that_was_opened(opened, tmp_path):
    path, file = opened(bytes(3 * MIB))
    (tmp_path / "other").write_bytes(b"evil")

    def replace(read):
        if read == MIB:
            # Keeps the opened file's link count, and so its ctime, as it is.
            os.link(path, tmp_path / "kept")
            (tmp_path / "other").replace(path)

    with pytest.raises(Rejected) as refusal:
        measure_fd(file.fd, LIMIT, replace)
    assert refusal.value.code == "content-changed", "a name taken away counts as a change too: the caller asks again"


def test_a_file_over_the_limit_is_refused_before_it_is_read(opened):
    seen = []
    with pytest.raises(TooLarge) as refusal:
        measure_fd(opened(bytes(101))[1].fd, 100, seen.append)
    assert (refusal.value.code, seen) == ("content-too-large", [])


NOT_FILES = {
    "a folder": lambda: os.open("/", os.O_RDONLY),
    "a device": lambda: os.open("/dev/zero", os.O_RDONLY),
    "a pipe": lambda: os.dup(os.pipe()[0]),
}


@pytest.mark.parametrize("made", NOT_FILES.values(), ids=NOT_FILES)
def test_what_is_no_regular_file_is_refused(made):
    fd = made()
    try:
        with pytest.raises(Rejected) as refusal:
            measure_fd(fd, LIMIT)
    finally:
        os.close(fd)
    assert refusal.value.code == "content-not-a-file"


async def test_the_loop_stays_free_while_a_file_is_measured(opened):
    _, file = opened(bytes(128 * MIB))
    turns = 0
    task = asyncio.create_task(measure(file))
    while not task.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert isinstance(task.result(), Measured)
    assert turns > 20


async def test_a_cancelled_measurement_returns_only_when_its_thread_has_ended(opened):
    _, file = opened(bytes(4 * MIB))
    told, begun = [], threading.Event()

    def progress(read):
        begun.set()
        time.sleep(0.1)
        told.append(read)

    task = asyncio.create_task(measure(file, progress))
    await asyncio.to_thread(begun.wait)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told == [MIB], "the piece that was being read was finished, and no other begun"


async def test_a_snapshot_is_the_bytes_that_were_hashed(opened, private):
    content = os.urandom(2 * MIB + 3)
    measured = await snapshot(opened(content)[1], private / "copy")
    assert (private / "copy").read_bytes() == content
    assert measured.sha256 == hashlib.sha256(content).digest()
    assert (private / "copy").stat().st_mode & 0o777 == 0o600


async def test_a_snapshot_of_a_file_that_changes_is_refused_and_leaves_nothing(opened, private):
    path, file = opened(bytes(3 * MIB))
    with pytest.raises(Rejected):
        await snapshot(file, private / "copy", lambda read: append(path) if read == MIB else None)
    assert list(private.iterdir()) == []


async def test_a_cancelled_snapshot_leaves_nothing(opened, private):
    begun = threading.Event()
    task = asyncio.create_task(snapshot(opened(bytes(64 * MIB))[1], private / "copy", lambda _read: begun.set()))
    await asyncio.to_thread(begun.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(private.iterdir()) == []


async def test_a_snapshot_needs_a_folder_that_others_cannot_enter(opened, private):
    private.chmod(0o755)
    with pytest.raises(Unavailable) as outage:
        await snapshot(opened(b"x")[1], private / "copy")
    assert outage.value.code == "scratch-not-private"


async def test_a_snapshot_never_writes_through_what_is_already_there(opened, private, tmp_path):
    (private / "copy").symlink_to(tmp_path / "victim")
    with pytest.raises(AttestorError) as failure:
        await snapshot(opened(b"x")[1], private / "copy")
    assert failure.value.code == "scratch-failed"
    assert not (tmp_path / "victim").exists()
