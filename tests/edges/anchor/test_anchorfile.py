"""The anchor moves forward only, is whole and durable at any moment, and is near to nobody else."""

import base64
import json
import os
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from attestor.anchor import anchorfile
from attestor.anchor.anchorfile import NAME, held, make_anchor, read_anchor, try_hold
from attestor.core import canonical
from attestor.core.errors import Conflict, Halted, Malformed, Rejected
from attestor.core.tlog.checkpoint import Checkpoint
from attestor.core.tlog.merkle import EMPTY_ROOT
from tests.edges.anchor.logged import ORIGIN, checkpoint, digest, note, tree


def move(folder, to):
    with held(folder) as place:
        place.move(to, note(to))


@contextmanager
def halts(code):
    with pytest.raises(Halted) as caught:
        yield caught
    assert caught.value.code == code


def test_an_anchor_says_where_it_was_made(folder):
    made = make_anchor(folder, 5, tree(5).root)
    assert read_anchor(folder) == made
    assert made.checkpoint(ORIGIN) == checkpoint(5)
    written = json.loads((folder / NAME).read_bytes())
    assert written.pop("sha256")
    assert written == {"version": 1, "id": made.id, "since": 5, "size": 5, "root": tree(5).root.hex(), "note": None}


def test_it_keeps_the_signed_checkpoint_that_moved_it(folder):
    made = make_anchor(folder, 2, tree(2).root)
    move(folder, checkpoint(7))
    moved = read_anchor(folder)
    assert (moved.id, moved.since, moved.size) == (made.id, 2, 7)
    written = json.loads((folder / NAME).read_bytes())
    assert base64.b64decode(written["note"]) == moved.note == note(checkpoint(7))
    assert (folder / NAME).read_bytes() == canonical.encode(written)


def test_only_the_owner_comes_near(folder):
    make_anchor(folder, 0, EMPTY_ROOT)
    move(folder, checkpoint(1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {NAME: 0o600, "lock": 0o600}


def test_nothing_overwrites_an_anchor(folder):
    made = make_anchor(folder, 0, EMPTY_ROOT)
    with pytest.raises(Conflict) as caught:
        make_anchor(folder, 3, tree(3).root)
    assert caught.value.code == "anchor-exists"
    assert read_anchor(folder) == made


def test_not_even_one_that_is_a_dangling_link(folder):
    folder.mkdir(0o700)
    (folder / NAME).symlink_to("elsewhere")
    with pytest.raises(Conflict):
        make_anchor(folder, 0, EMPTY_ROOT)


@pytest.mark.parametrize(
    ("size", "root"),
    [(0, digest("x")), (-1, EMPTY_ROOT), (1, b"short")],
    ids=["empty tree", "below zero", "short root"],
)
def test_what_no_log_can_say_is_no_anchor(folder, size, root):
    with pytest.raises(Malformed):
        make_anchor(folder, size, root)
    with halts("anchor-missing"):
        read_anchor(folder)


def test_a_folder_is_made_but_not_the_one_above_it(tmp_path):
    with pytest.raises(Rejected) as caught:
        make_anchor(tmp_path / "a/b", 0, EMPTY_ROOT)
    assert caught.value.code == "folder-parent-missing"


@pytest.mark.parametrize(
    ("to", "code"),
    [
        (checkpoint(4), "log-rolled-back"),
        (checkpoint(0), "log-rolled-back"),
        (Checkpoint(ORIGIN, 5, digest("another")), "log-forked"),
        (checkpoint(5), None),
        (checkpoint(6), None),
    ],
    ids=["one back", "to the beginning", "another root", "where it is", "one on"],
)
def test_it_never_goes_back(folder, to, code):
    make_anchor(folder, 0, EMPTY_ROOT)
    move(folder, checkpoint(5))
    before = (folder / NAME).read_bytes()
    if code is None:
        move(folder, to)
        assert read_anchor(folder).checkpoint(ORIGIN) == to
    else:
        with halts(code):
            move(folder, to)
        assert (folder / NAME).read_bytes() == before


def test_a_note_that_says_something_else_is_not_kept(folder):
    make_anchor(folder, 0, EMPTY_ROOT)
    with held(folder) as place, halts("anchor-unreadable"):
        place.move(checkpoint(2), note(checkpoint(3)))
    assert read_anchor(folder).size == 0


def test_the_anchor_of_another_log_is_not_ours(folder):
    make_anchor(folder, 0, EMPTY_ROOT)
    move(folder, checkpoint(2))
    with halts("anchor-unreadable"):
        read_anchor(folder).checkpoint("another.example/log")


def test_a_missing_anchor_says_how_one_is_made(folder):
    with halts("anchor-missing") as caught:
        read_anchor(folder)
    assert "attestor log anchor init --size S --root R" in caught.value.sentence
    with halts("anchor-missing"):
        try_hold(folder)


def test_another_anchor_than_the_one_we_started_with(folder):
    make_anchor(folder, 0, EMPTY_ROOT)
    with halts("anchor-replaced"):
        read_anchor(folder, "f" * 32)


def test_no_bit_of_it_turns_unseen(folder):
    make_anchor(folder, 0, EMPTY_ROOT)
    move(folder, checkpoint(3))
    good = (folder / NAME).read_bytes()
    descriptor = os.open(folder / NAME, os.O_WRONLY)
    for at in range(len(good)):
        for bit in range(8):
            os.pwrite(descriptor, bytes([good[at] ^ 1 << bit]), at)
            with halts("anchor-unreadable"):
                read_anchor(folder)
        os.pwrite(descriptor, good[at : at + 1], at)
    os.close(descriptor)
    assert read_anchor(folder).size == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda _: b"",
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw + b"\n",
        lambda raw: raw + b" " * (4 << 20),
        lambda raw: b"\0" * len(raw),
        lambda raw: json.dumps(json.loads(raw)).encode(),
        lambda raw: canonical.encode(json.loads(raw) | {"more": 1}),
        lambda raw: canonical.encode(json.loads(raw) | {"version": 2}),
        lambda raw: canonical.encode(json.loads(raw) | {"size": 4}),
        lambda raw: canonical.encode({key: value for key, value in json.loads(raw).items() if key != "sha256"}),
    ],
    ids=[
        "empty",
        "cut by a byte",
        "half",
        "a line's end",
        "far too long",
        "zeros",
        "other spelling",
        "a member more",
        "a later version",
        "changed by hand",
        "no checksum",
    ],
)
def test_what_was_not_written_so_is_not_believed(folder, spoil):
    make_anchor(folder, 0, EMPTY_ROOT)
    move(folder, checkpoint(3))
    path = folder / NAME
    path.write_bytes(spoil(path.read_bytes()))
    with halts("anchor-unreadable"):
        read_anchor(folder)


def to_link(folder):
    folder.rename(folder.with_name("real"))
    folder.symlink_to("real")


def file_to_link(folder):
    (folder / NAME).rename(folder / "real")
    (folder / NAME).symlink_to("real")


def file_to_pipe(folder):
    (folder / NAME).unlink()
    os.mkfifo(folder / NAME, 0o600)


def folder_to_file(folder):
    folder.rename(folder.with_name("real"))
    folder.write_bytes(b"")


OPENED = {
    "the folder for the group": (lambda folder: folder.chmod(0o710), "anchor-open"),
    "the folder for everybody": (lambda folder: folder.chmod(0o705), "anchor-open"),
    "the folder is a link": (to_link, "anchor-open"),
    "the folder is a file": (folder_to_file, "anchor-open"),
    "the file for the group": (lambda folder: (folder / NAME).chmod(0o640), "anchor-open"),
    "the file for everybody": (lambda folder: (folder / NAME).chmod(0o602), "anchor-open"),
    "the file is a pipe": (file_to_pipe, "anchor-open"),
    "the file is a link": (file_to_link, "anchor-unreadable"),
}


@pytest.mark.parametrize(("opened", "code"), OPENED.values(), ids=OPENED)
def test_an_anchor_that_others_come_near_is_refused(folder, opened, code):
    make_anchor(folder, 0, EMPTY_ROOT)
    opened(folder)
    with halts(code):
        read_anchor(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("what", [".", NAME], ids=["the folder", "the file"])
def test_an_anchor_that_is_somebody_else_s_is_refused(folder, what):
    make_anchor(folder, 0, EMPTY_ROOT)
    os.chown(folder / what, 65534, 65534)
    with halts("anchor-open"):
        read_anchor(folder)


def test_one_holds_the_folder_at_a_time(folder):
    make_anchor(folder, 0, EMPTY_ROOT)
    tries = "import sys, pathlib; from attestor.anchor.anchorfile import try_hold; print(try_hold(pathlib.Path(sys.argv[1])))"

    def elsewhere():
        done = subprocess.run([sys.executable, "-c", tries, folder], capture_output=True, text=True, check=True)
        return done.stdout.strip() != "None"

    with held(folder):
        assert try_hold(folder) is None
        assert not elsewhere()
    assert elsewhere()


class Watched:
    """The durable steps of a write, in their order; the one at *breaks* fails as a crash would."""

    def __init__(self, monkeypatch, breaks=None):
        self.steps = []
        self._breaks = breaks
        fsync, replace = os.fsync, Path.replace

        def watched_fsync(descriptor):
            self._step(f"fsync {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
            fsync(descriptor)

        def watched_replace(path, target):
            self._step(f"rename {path.name} {target.name}")
            return replace(path, target)

        monkeypatch.setattr(anchorfile.os, "fsync", watched_fsync)
        monkeypatch.setattr(Path, "replace", watched_replace)

    def _step(self, name):
        if len(self.steps) == self._breaks:
            raise KeyboardInterrupt(name)
        self.steps.append(name)


STEPS = [f"fsync {NAME}.new", f"rename {NAME}.new {NAME}", "fsync anchor"]


def test_a_move_is_durable_in_this_order(folder, monkeypatch):
    make_anchor(folder, 0, EMPTY_ROOT)
    watched = Watched(monkeypatch)
    move(folder, checkpoint(1))
    assert watched.steps == STEPS
    # Where nothing moves, nothing is written.
    move(folder, checkpoint(1))
    assert watched.steps == STEPS


@pytest.mark.parametrize("breaks", range(len(STEPS)), ids=STEPS)
def test_a_crash_leaves_the_old_or_the_new_one_and_the_next_move_succeeds(folder, monkeypatch, breaks):
    make_anchor(folder, 0, EMPTY_ROOT)
    move(folder, checkpoint(1))
    with monkeypatch.context() as patch:
        Watched(patch, breaks)
        with pytest.raises(KeyboardInterrupt):
            move(folder, checkpoint(2))
    assert read_anchor(folder).checkpoint(ORIGIN) == checkpoint(1 if breaks < 2 else 2)
    move(folder, checkpoint(3))
    assert read_anchor(folder).size == 3
    assert sorted(path.name for path in folder.iterdir()) == [NAME, "lock"]
