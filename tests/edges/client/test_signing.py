"""A file, asked for, sent, waited for, and its signature laid beside it."""

import asyncio
import hashlib
import os

import pytest

from attestor.client.signing import Watching, measure, sign_file, write_signature
from attestor.core.errors import Conflict, Missing, Rejected
from attestor.core.wire import Pull, ReleaseName

RELEASE = ReleaseName("package", "pkg:alpm/arch/a@1-1?arch=any", "a-1-1-any.pkg.tar.zst")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / RELEASE.file_name
    path.write_bytes(os.urandom(3 << 20))
    return path


async def test_a_file_is_measured_sent_and_its_signature_returned(client, gate, file):
    measured, sent, seen = [], [], []
    watching = Watching(measured.append, sent.append, lambda view: seen.append(view.state))
    signing = await sign_file(client, file, RELEASE, wait_seconds=5, watching=watching)
    assert (signing.signature, signing.request.state) == (b"\x88\x00signature", "signed")
    assert sum(measured) == sum(sent) == 3 << 20
    assert seen == ["waiting", "signed"]
    assert gate.uploaded.digest() == hashlib.sha256(file.read_bytes()).digest()


async def test_what_the_signer_pulls_is_not_sent_and_patience_ends(client, gate, file):
    signing = await sign_file(client, file, RELEASE, wait_seconds=1, content=Pull("pool", "a/b"))
    assert (signing.signature, signing.request.state) == (None, "waiting")
    assert gate.uploaded_bytes == 0


async def test_the_wait_ends_when_the_request_is_withdrawn_meanwhile(client, gate, file):
    async def withdraw():
        await gate.waiting.wait()
        await client.withdraw((await client.requests()).requests[0].id)

    withdrawing = asyncio.create_task(withdraw())
    signing = await sign_file(client, file, RELEASE, wait_seconds=3, content=Pull("pool", "a/b"))
    await withdrawing
    assert (signing.signature, signing.request.state) == (None, "withdrawn")


async def test_a_file_that_is_missing_or_empty_is_said_so(tmp_path):
    (tmp_path / "empty").touch()
    with pytest.raises(Missing):
        await measure(tmp_path / "none", print)
    with pytest.raises(Rejected) as refused:
        await measure(tmp_path / "empty", print)
    assert refused.value.code == "file-empty"


def test_a_signature_is_written_whole_and_the_same_again_changes_nothing(tmp_path):
    path = tmp_path / "a.sig"
    write_signature(path, b"one")
    before = path.stat()
    write_signature(path, b"one")
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (b"one", before.st_mtime_ns)
    assert [each.name for each in tmp_path.iterdir()] == ["a.sig"]


def test_another_signature_is_replaced_only_when_told(tmp_path):
    path = tmp_path / "a.sig"
    path.write_bytes(b"one")
    with pytest.raises(Conflict) as refused:
        write_signature(path, b"two")
    assert (refused.value.code, path.read_bytes()) == ("signature-differs", b"one")
    write_signature(path, b"two", overwrite=True)
    assert path.read_bytes() == b"two"
