"""P2: the signer hashes what it signs; whoever can write to spool or pull root changes nothing but the outcome."""

import hashlib
import os

import pytest

from attestor.core.wire import Upload
from tests.attacks.conftest import GOOD
from tests.service.makers import BUILDER, asking, lines_of, package, vote
from tests.service.test_ask import hash_state

OTHER = b"the packagE"


async def uploaded(scene):
    """An agreed release whose bytes lie in the spool; the path of those bytes."""
    await scene.gate.admit(vote(package(), GOOD, "alice", "bob"))
    opened, _ = await scene.gate.ask(BUILDER, asking(package(), GOOD, Upload()))
    await scene.gate.upload(BUILDER, opened.id, lines_of(GOOD))
    assert await scene.standing() == ("queued", "queued")
    return scene.ground.folder / "spool" / hashlib.sha256(GOOD).hexdigest()


def _link_to_the_agreed_bytes(path):
    path.rename(path.parent / "moved")
    path.symlink_to(path.parent / "moved")


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _folder(path):
    path.unlink()
    path.mkdir()


SWAPS = {
    "other bytes of the same length": (lambda path: path.write_bytes(OTHER), "content-differs"),
    "more bytes": (lambda path: path.write_bytes(GOOD + b"\0"), "content-differs"),
    "nothing": (lambda path: path.write_bytes(b""), "content-differs"),
    "a link to the agreed bytes": (_link_to_the_agreed_bytes, "content-outside-root"),
    "a pipe that nobody writes": (_pipe, "content-not-a-file"),
    "a folder": (_folder, "content-not-a-file"),
}


@pytest.mark.parametrize(("swap", "reason"), SWAPS.values(), ids=SWAPS)
async def test_the_upload_swapped_in_the_spool_is_refused_when_it_became(scene, swap, reason):
    swap(await uploaded(scene))
    await scene.sign()
    assert await scene.standing() == ("refused", reason)
    assert await scene.signatures() == 0


@pytest.mark.parametrize("state", [hash_state(OTHER), hash_state(GOOD + b"\0")], ids=["other bytes", "more bytes"])
async def test_a_hash_state_swapped_in_the_database_is_refused_when_it_is_of(scene, state):
    await scene.gate.admit(vote(package(), GOOD, "alice", "bob"))
    await scene.gate.ask(BUILDER, asking(package(), GOOD, hash_state(GOOD)))
    await scene.ground.sql(
        """UPDATE signing_requests SET content = '{"type":"hashState","state":"' || $1 || '"}'""", state.state
    )
    await scene.sign()
    assert await scene.standing() == ("refused", "content-differs")


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "a/../../outside", "./x", "x//y", "\0", "folder/"])
async def test_a_path_in_the_database_that_leads_out_of_the_root_is_refused(scene, path):
    (scene.ground.folder / "outside").write_bytes(GOOD)
    await scene.queued()
    await scene.ground.sql(
        """UPDATE signing_requests SET content = jsonb_set('{"type":"pull","root":"files"}', '{path}', $1::jsonb)::text"""
        if "\0" not in path
        else """UPDATE signing_requests SET content = '{"type":"pull","root":"files","path":' || $1 || '}'""",
        f'"{path}"'.replace("\0", "\\u0000"),
    )
    await scene.sign()
    assert await scene.standing() == ("refused", "content-outside-root")
    assert await scene.signatures() == 0
