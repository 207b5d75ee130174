"""The real Arch package and the real attestation of reproducible.archlinux.org, from the link to what gpg says."""

import io
import json
import tarfile

import pytest

from attestor.core.errors import AttestorError, Missing
from tests.system.conftest import ARCH_REBUILDER
from tests.system.houses import database, iso, package, vm

FILESYSTEM = package("filesystem", "2025.10.12-1")


@pytest.fixture
def arch(real_input):
    """`arch(".in-toto.link")` is the bytes of the real file with that ending."""
    return lambda ending: real_input(f"rebuilderd/filesystem-2025.10.12-1-any{ending}").read_bytes()


async def _refusal(house, attestation):
    async with house.submitter() as stranger:
        with pytest.raises(AttestorError) as caught:
            await stranger.submit(attestation)
    return caught.value.code


async def _votes(house, name):
    async with house.submitter() as reader:
        [line] = (await reader.releases(purl=name.purl)).releases
        return [(vote.operator, vote.form, vote.counted) for vote in (await reader.release(line.id)).votes]


def test_the_policy_names_the_key_as_its_owner_publishes_it(real_input):
    assert real_input("rebuilderd/reproducible-archlinux.pub").read_text() == ARCH_REBUILDER


async def test_the_real_link_and_another_operator_get_the_real_package_signed(house, sign, gpg, arch):
    content, link = arch(".pkg.tar.zst"), arch(".in-toto.link")
    # Nothing of these is kept, so nothing of them can be in the way of the genuine one.
    assert await _refusal(house, arch(".INVALID.in-toto.link")) == "signature-invalid"
    assert await _refusal(house, _with_one_digest_changed(link)) == "signature-invalid"
    async with house.submitter() as stranger:
        assert (await stranger.releases(purl=FILESYSTEM.purl)).releases == ()
        first = await stranger.submit(link)
    assert [(one.decision.state, one.decision.missing) for one in first.releases] == [("pending", 1)]
    assert (await sign(FILESYSTEM, content, seconds=0)).request.reason == "not-reached"

    await house.attest(FILESYSTEM, content, "alice")
    signed = await sign(FILESYSTEM, content)
    assert signed.request.state == "signed"
    assert "Example packages" in gpg(content, signed.signature)
    assert gpg(content[:-1] + bytes([content[-1] ^ 1]), signed.signature) is None

    await house.attest(FILESYSTEM, content, "bob")
    async with house.submitter() as stranger:
        again = await stranger.submit(link)
    assert (again.replay, again.payload_digest) == (True, first.payload_digest)
    assert again.releases[0].decision.agreeing == ("alice", "bob", "reproducible")
    assert sorted(await _votes(house, FILESYSTEM)) == [
        ("alice", "rebuild", True), ("bob", "rebuild", True), ("reproducible", "link", True),
    ]  # fmt: skip
    assert (await sign(FILESYSTEM, content)).signature == signed.signature


async def test_the_real_link_is_no_vote_for_another_version_of_its_package(house, sign, arch):
    later = package("filesystem", "2025.10.12-2")
    content = arch(".pkg.tar.zst")
    async with house.submitter() as stranger:
        await stranger.submit(arch(".in-toto.link"))
    await house.attest(later, content, "alice")
    assert (await sign(later, content, seconds=0)).request.reason == "not-reached"


def _with_one_digest_changed(link):
    document = json.loads(link)
    [digests] = document["signed"]["products"].values()
    digests["sha256"] = ("0" if digests["sha256"][0] != "0" else "1") + digests["sha256"][1:]
    return json.dumps(document).encode()


DISGUISES = {
    "a repository database": database("disguised"),
    "an ISO image": iso("disguised"),
    "a VM image": vm("disguised"),
}


@pytest.mark.parametrize("name", DISGUISES.values(), ids=DISGUISES)
async def test_the_real_package_is_never_signed_as(house, client, sign, arch, name):
    content = arch(".pkg.tar.zst")
    await house.attest(name, content, "release-host")
    asked = await sign(name, content)
    assert (asked.request.state, asked.request.reason) == ("refused", "content-is-package")
    with pytest.raises(Missing):
        await client.signature(asked.request.id)


async def test_any_other_tar_is_never_signed_as_a_database(house, sign):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        tar.addfile(tarfile.TarInfo("etc/passwd"))
    await house.attest(database("plain-tar"), content.getvalue(), "release-host")
    asked = await sign(database("plain-tar"), content.getvalue())
    assert (asked.request.state, asked.request.reason) == ("refused", "content-not-database")
