"""Signing requests as a careless or hostile client makes them: what it is told, and that no signature comes of it."""

import asyncio
import os
import ssl
import threading
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pytest

from attestor.client.tls import client_tls
from attestor.core.errors import Forbidden, Missing, Rejected
from attestor.core.wire import Artifact, Pull, SigningRequestAsk, Upload
from attestor.embedded.ca import CertificateAuthority
from tests.system.houses import artifact_of, package, until

CONTENT = b"what everyone agreed on"
OTHER = b"what nobody agreed on.."


async def _answered(url, tls):
    """What the server says to a request; nothing where TLS ends before. With TLS 1.3 that may come as late as the answer."""
    port = url.rpartition(":")[2]
    try:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("localhost", int(port), ssl=tls)
            try:
                writer.write(b"GET /v1/releases HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                return await reader.read()
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
    except (ssl.SSLError, ConnectionError):
        return b""


async def test_who_shows_a_certificate_of_the_authority_is_answered(house):
    assert (await _answered(house.requests, house.tls())).startswith(b"HTTP/1.1 200 ")


async def test_tls_1_2_is_refused_on_each_listener(house):
    for url in (house.public, house.requests):
        old = house.tls()
        assert await _answered(url, old)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_2
        assert await _answered(url, old) == b""


async def test_a_client_without_certificate_is_refused(house):
    assert await _answered(house.requests, house.tls(None)) == b""


async def test_the_same_name_from_another_authority_is_refused(house, tmp_path):
    now = datetime.now(UTC)  # noqa: TID251 - a certificate for this very run
    forger = CertificateAuthority.create(tmp_path / "ca", name="attestor-localhost-ca", now=now)
    certificate, key = forger.issue("build-service", client=True, valid_days=1, now=now).write(tmp_path)
    assert await _answered(house.requests, client_tls(ca=house.ca, certificate=certificate, key=key)) == b""


WITHOUT_RIGHT = {
    "a requester that the tier does not list": ("mirror", "requester-not-allowed"),
    "a client that the policy does not list": ("unlisted", "client-unknown"),
}


@pytest.mark.parametrize(("who", "code"), WITHOUT_RIGHT.values(), ids=WITHOUT_RIGHT)
async def test_nothing_is_kept_of_a_request_by(house, client, who, code):
    name = package(f"asked-by-{who}")
    await house.attest(name, CONTENT, "alice", "bob")
    async with house.client(who) as stranger:
        with pytest.raises(Forbidden) as caught:
            await stranger.ask(SigningRequestAsk(name, artifact_of(CONTENT), Upload()))
    assert caught.value.code == code
    [line] = (await client.releases(purl=name.purl)).releases
    assert (await client.release(line.id)).requests == ()


async def test_a_stranger_cannot_read_or_withdraw_anothers_request(house, client):
    name = package("private")
    mine = await client.ask(SigningRequestAsk(name, artifact_of(CONTENT), Upload()))
    async with house.client("mirror") as stranger:
        for call in (stranger.request, stranger.signature, stranger.withdraw, stranger.retry):
            with pytest.raises(Forbidden):
                await call(mine.id)
    assert (await client.request(mine.id)).state == "waiting"


ARTIFACT = artifact_of(CONTENT)
NOT_AGREED = {
    "another file": artifact_of(OTHER),
    "another SHA-512": Artifact(ARTIFACT.size, ARTIFACT.sha256, artifact_of(OTHER).sha512),
    "another size": Artifact(ARTIFACT.size + 1, ARTIFACT.sha256, ARTIFACT.sha512),
}


@pytest.mark.parametrize("artifact", NOT_AGREED.values(), ids=NOT_AGREED)
async def test_a_request_waits_without_a_signature_when_agreed_is_otherwise_than(house, client, artifact):
    name = package(f"digests-{list(NOT_AGREED.values()).index(artifact)}")
    (house.folder / "release" / name.file_name).write_bytes(CONTENT)
    await house.attest(name, CONTENT, "alice", "bob")
    asked = await client.ask(SigningRequestAsk(name, artifact, Pull("release", name.file_name)))
    stood = await client.request(asked.id, wait_seconds=1)
    assert (stood.state, stood.reason) == ("waiting", "other-digest-reached")
    with pytest.raises(Missing):
        await client.signature(asked.id)


async def test_an_upload_of_other_bytes_is_refused_and_the_right_bytes_are_then_signed(house, client, gpg, tmp_path):
    name = package("uploaded")
    await house.attest(name, CONTENT, "alice", "bob")
    asked = await client.ask(SigningRequestAsk(name, ARTIFACT, Upload()))
    (file := tmp_path / "file").write_bytes(OTHER)
    with pytest.raises(Rejected) as caught:
        await client.upload(asked.id, file, lambda _count: None)
    assert caught.value.code == "upload-digest-mismatch"
    assert (await client.request(asked.id)).reason == "content-missing"
    file.write_bytes(CONTENT)
    await client.upload(asked.id, file, lambda _count: None)
    await until(lambda: client.request(asked.id), lambda seen: seen.state == "signed")
    assert gpg(CONTENT, await client.signature(asked.id))


async def test_a_missing_file_is_waited_for_and_then_signed(house, client, gpg):
    name = package("late")
    await house.attest(name, CONTENT, "alice", "bob")
    asked = await client.ask(SigningRequestAsk(name, ARTIFACT, Pull("release", name.file_name)))
    await until(
        lambda: client.request(asked.id), lambda seen: (seen.state, seen.reason) == ("waiting", "content-missing")
    )
    # As a careful publisher does it: whole, or not there.
    (partial := house.folder / "release" / f".{name.file_name}").write_bytes(CONTENT)
    partial.replace(partial.with_name(name.file_name))
    await until(lambda: client.request(asked.id), lambda seen: seen.state == "signed")
    assert gpg(CONTENT, await client.signature(asked.id))


async def test_a_file_that_was_swapped_after_agreement_is_refused_for_good(house, client):
    name = package("swapped")
    await house.attest(name, CONTENT, "alice", "bob")
    (house.folder / "release" / name.file_name).write_bytes(OTHER)
    asked = await client.ask(SigningRequestAsk(name, ARTIFACT, Pull("release", name.file_name)))
    stood = await until(lambda: client.request(asked.id), lambda seen: seen.state not in {"queued", "claimed"})
    assert (stood.state, stood.reason) == ("refused", "content-differs")
    with pytest.raises(Missing):
        await client.signature(asked.id)


@contextmanager
def _written_all_the_time(file):
    """Its last byte is changed and put right again, for as long as the context lasts; it ends right."""
    stop = threading.Event()
    size = file.stat().st_size
    last = file.read_bytes()[-1:]

    def write():
        with file.open("r+b", buffering=0) as opened:
            while not stop.wait(0.001):
                for byte in (b"?", last):
                    opened.seek(size - 1)
                    opened.write(byte)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


async def test_a_file_that_changes_while_it_is_read_is_signed_only_once_it_stands_still(house, client, gpg):
    name = package("moving")
    content = os.urandom(1 << 20) * 32
    await house.attest(name, content, "alice", "bob")
    (file := house.folder / "release" / name.file_name).write_bytes(content)
    with _written_all_the_time(file):
        asked = await client.ask(SigningRequestAsk(name, artifact_of(content), Pull("release", name.file_name)))
        await until(
            lambda: client.request(asked.id), lambda seen: (seen.state, seen.reason) == ("queued", "content-changed")
        )
    await until(lambda: client.request(asked.id), lambda seen: seen.state == "signed")
    assert gpg(content, await client.signature(asked.id))


@pytest.fixture
def crooked(house):
    """The release folder with links in it that lead to a file of exactly the agreed bytes outside."""
    release = house.folder / "release"
    (outside := house.folder / "outside").mkdir(exist_ok=True)
    (outside / "agreed").write_bytes(CONTENT)
    for link, target in (("link", outside / "agreed"), ("folder", outside)):
        with suppress(FileExistsError):
            (release / link).symlink_to(target)
    with suppress(FileExistsError):
        os.mkfifo(release / "pipe")


OUTSIDE = {
    "by a link": ("link", "content-outside-root"),
    "by a folder that is a link": ("folder/agreed", "content-outside-root"),
    "to a pipe": ("pipe", "content-not-a-file"),
}


@pytest.mark.parametrize(("path", "code"), OUTSIDE.values(), ids=OUTSIDE)
async def test_the_signer_is_not_led(house, client, crooked, path, code):
    name = package(f"led-{[one for one, _ in OUTSIDE.values()].index(path)}")
    await house.attest(name, CONTENT, "alice", "bob")
    asked = await client.ask(SigningRequestAsk(name, ARTIFACT, Pull("release", path)))
    stood = await until(lambda: client.request(asked.id), lambda seen: seen.state not in {"queued", "claimed"})
    assert (stood.state, stood.reason) == ("refused", code)
    with pytest.raises(Missing):
        await client.signature(asked.id)


@pytest.mark.parametrize(
    "path", ["../outside/agreed", "folder/../../outside/agreed", "/etc/hostname", "a//b", ".", "a/"]
)
async def test_a_path_that_leads_out_by_its_words_is_refused_when_asked_and_nothing_is_kept(
    house, client, crooked, path
):
    name = package("outspoken")
    await house.attest(name, CONTENT, "alice", "bob")
    with pytest.raises(Rejected) as refused:
        await client.ask(SigningRequestAsk(name, ARTIFACT, Pull("release", path)))
    assert refused.value.code == "content-outside-root"
    [line] = (await client.releases(file=name.file_name)).releases
    assert not (await client.release(line.id)).requests


async def test_a_root_that_the_deployment_does_not_name_is_refused(house, client):
    name = package("rootless")
    await house.attest(name, CONTENT, "alice", "bob")
    asked = await client.ask(SigningRequestAsk(name, ARTIFACT, Pull("etc", "hostname")))
    stood = await until(lambda: client.request(asked.id), lambda seen: seen.state not in {"queued", "claimed"})
    assert (stood.state, stood.reason) == ("refused", "content-root-unknown")
