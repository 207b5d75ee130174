"""A pull root gives regular files strictly below it, and nothing else, whoever writes there meanwhile."""

import hashlib
import os
import threading
from pathlib import Path

import psutil
import pytest

from attestor.content.inspect import inspect
from attestor.content.measure import measure, snapshot
from attestor.content.roots import DirectoryRoot, PullRoots
from attestor.core.errors import AttestorError, Missing, Rejected, Unavailable

LIMIT = 1 << 30


@pytest.fixture
def root(tmp_path):
    """A root with what a hostile writer could put there, and a secret beside it."""
    (tmp_path / "secret").write_text("outside")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("outside")
    root = tmp_path / "root"
    (root / "pool" / "a b").mkdir(parents=True)
    (root / "file").write_text("inside")
    (root / "pool" / "file").write_text("inside")
    (root / "pool" / "a b" / "größe:$(x);'.db").write_text("inside")
    (root / "link-to-secret").symlink_to("../secret")
    (root / "link-to-file").symlink_to("file")
    (root / "link-to-nothing").symlink_to("nothing")
    (root / "link-to-outside").symlink_to(tmp_path / "outside")
    (root / "link-to-pool").symlink_to("pool")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def roots(root, tmp_path):
    (tmp_path / "scratch").mkdir(mode=0o700)
    return PullRoots({"main": DirectoryRoot(root)}, scratch=tmp_path / "scratch", max_bytes=LIMIT)


async def read(roots, relative, root="main"):
    async with roots.open(root, relative) as opened:
        return os.pread(opened.fd, 100, 0)


@pytest.mark.parametrize("relative", ["file", "pool/file", "pool/a b/größe:$(x);'.db"])
async def test_a_regular_file_below_the_root_is_opened(roots, relative):
    assert await read(roots, relative) == b"inside"


PATHS = {
    "nothing": ("", "content-outside-root"),
    "the root": (".", "content-outside-root"),
    "upwards": ("../secret", "content-outside-root"),
    "upwards in the middle": ("pool/../file", "content-outside-root"),
    "upwards at the end": ("pool/..", "content-outside-root"),
    "from the root of the host": ("/etc/hostname", "content-outside-root"),
    "a doubled slash": ("pool//file", "content-outside-root"),
    "a final slash": ("file/", "content-outside-root"),
    "a dot component": ("./file", "content-outside-root"),
    "a NUL": ("file\0", "content-outside-root"),
    "a newline": ("fi\nle", "content-outside-root"),
    "an escape": ("fi\x1b[31mle", "content-outside-root"),
    "a turned direction of writing": ("fi\u202ele", "content-outside-root"),
    "half a character": ("fi\udc80le", "content-outside-root"),
    "a name of 256 bytes": ("x" * 256, "content-outside-root"),
    "33 folders": ("/".join("x" * 33), "content-outside-root"),
    "a link out of the root": ("link-to-secret", "content-outside-root"),
    "a link to a file of the root": ("link-to-file", "content-outside-root"),
    "a link to nothing": ("link-to-nothing", "content-outside-root"),
    "a link in the middle, outwards": ("link-to-outside/file", "content-outside-root"),
    "a link in the middle, inside": ("link-to-pool/file", "content-outside-root"),
    "a fifo": ("fifo", "content-not-a-file"),
    "a folder": ("pool", "content-not-a-file"),
    "a missing file": ("pool/missing", "content-missing"),
    "a missing folder": ("missing/file", "content-missing"),
    "a file as a folder": ("file/file", "content-missing"),
}


@pytest.mark.parametrize(("relative", "code"), PATHS.values(), ids=PATHS)
async def test_a_path_to_anything_else_is_refused(roots, relative, code):
    with pytest.raises(Rejected) as refusal:
        await read(roots, relative)
    assert refusal.value.code == code


async def test_a_device_is_no_content():
    roots = PullRoots({"dev": DirectoryRoot(Path("/dev"))}, scratch=None, max_bytes=LIMIT)
    with pytest.raises(Rejected) as refusal:
        await read(roots, "zero", "dev")
    assert refusal.value.code == "content-not-a-file"


async def test_what_is_missing_can_be_waited_for(roots):
    with pytest.raises(Missing):
        await read(roots, "pool/missing")


async def test_an_unknown_root_is_refused(roots):
    with pytest.raises(Rejected) as refusal:
        await read(roots, "file", "other")
    assert refusal.value.code == "content-root-unknown"


async def test_a_root_that_is_not_there_is_an_outage(tmp_path):
    roots = PullRoots({"main": DirectoryRoot(tmp_path / "unmounted")}, scratch=tmp_path, max_bytes=LIMIT)
    with pytest.raises(Unavailable) as outage:
        await read(roots, "file")
    assert outage.value.code == "content-unavailable"


async def test_no_descriptor_is_left_open(roots):
    before = psutil.Process().num_fds()
    for relative, _ in PATHS.values():
        with pytest.raises(AttestorError):
            await read(roots, relative)
    await read(roots, "pool/file")
    assert psutil.Process().num_fds() == before


def swapping(first, second, name):
    """Put `first` and `second` in turn under `name` until stopped, as fast as a writer of the root can."""
    stop = threading.Event()

    def run():
        while not stop.is_set():
            for source in (first, second):
                source(name.with_name("next"))
                name.with_name("next").replace(name)

    thread = threading.Thread(target=run)
    thread.start()
    return lambda: (stop.set(), thread.join())


async def test_a_file_swapped_for_a_link_again_and_again_never_leads_out(roots, root):
    end = swapping(lambda path: path.write_text("inside"), lambda path: path.symlink_to("../secret"), root / "file")
    seen = set()
    try:
        for _ in range(1000):
            try:
                seen.add(await read(roots, "file"))
            except Rejected as refusal:
                seen.add(refusal.code)
    finally:
        end()
    assert seen == {b"inside", "content-outside-root"}


def alternating_folders(root, stop):
    while not stop.is_set():
        (root / "pool").rename(root / "kept")
        (root / "pool").symlink_to("../outside")
        (root / "pool").unlink()
        (root / "kept").rename(root / "pool")


async def test_a_folder_swapped_for_a_link_again_and_again_never_leads_out(roots, root):
    stop = threading.Event()
    thread = threading.Thread(target=alternating_folders, args=(root, stop))
    thread.start()
    seen = set()
    try:
        for _ in range(1000):
            try:
                seen.add(await read(roots, "pool/file"))
            except Rejected as refusal:
                seen.add(refusal.code)
    finally:
        stop.set()
        thread.join()
    assert b"outside" not in seen
    assert seen <= {b"inside", "content-outside-root", "content-missing"}


async def test_one_content_for_the_hash_and_another_for_the_inspector_cannot_be_shown(
    roots, root, tmp_path, package_of, tar_of
):
    """The attack: a harmless file to be hashed, a package in its place when the inspector looks, and back again."""
    harmless, package = tar_of({"bash-5.2-1/desc": b"x"}), package_of()
    (root / "extra.db").write_bytes(package)
    async with roots.open("main", "extra.db") as opened:
        measured = await snapshot(opened, tmp_path / "scratch" / "copy")
        (root / "extra.db").write_bytes(harmless)
        facts = await inspect(tmp_path / "scratch" / "copy", deadline_seconds=30)
    assert measured.sha256 == hashlib.sha256(package).digest()
    assert facts.package_info, (
        "the inspector saw the package that was hashed, not the harmless file that stands there now"
    )


async def test_a_file_swapped_after_the_attestation_has_another_digest(roots, root):
    attested = hashlib.sha256(b"inside").digest()
    async with roots.open("main", "file") as opened:
        assert (await measure(opened)).sha256 == attested
    (root / "file").write_text("insidE")
    async with roots.open("main", "file") as opened:
        assert (await measure(opened)).sha256 != attested
