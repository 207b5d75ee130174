"""Each release key goes the whole way, with an algorithm of its own; and hash states, without the bytes."""

import base64
import io
import json
import re
import tarfile

import pytest

from attestor.core.errors import Rejected
from attestor.core.wire import HashState, SigningRequestAsk
from rebuilders.backends.pyimage import iso9660, qcow2
from tests.core.test_hashstate import snapshot
from tests.system.houses import artifact_of, database, debian, iso, package, vm

SAMPLE = b"this is sample text"  # what the state in Signstar's sample request is of
LONG = bytes(range(256)) * 5 + b"and the rest of a block"


def tables():
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        folder = tarfile.TarInfo("some-1.0-1/")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        text = b"%FILENAME%\nsome-1.0-1-any.pkg.tar.zst\n"
        desc = tarfile.TarInfo("some-1.0-1/desc")
        desc.size = len(text)
        tar.addfile(desc, io.BytesIO(text))
    return content.getvalue()


KEYS = {
    "Ed25519 over a package of Arch": (package("some"), b"any bytes", ("alice", "bob"), "packages"),
    "P-521 over a package of Debian": (debian("some"), b"any bytes", ("bob", "carol"), "debian"),
    "P-384 over a database": (database("some"), tables(), ("release-host",), "databases"),
    "RSA over an ISO image": (iso("some"), iso9660({"README.TXT": b"Boot me"}, 0), ("release-host",), "isos"),
    "P-256 over a VM image": (vm("some"), qcow2(bytes(1 << 16)), ("release-host",), "vm-images"),
}


@pytest.mark.parametrize("case", KEYS.values(), ids=KEYS)
async def test_gpg_accepts(house, sign, gpg, case):
    name, content, operators, key = case
    await house.attest(name, content, *operators)
    done = await sign(name, content)
    assert done.request.state == "signed", done.request
    status = gpg(content, done.signature)
    assert re.search(rf"GOODSIG \w+ Example .*<{key}@example\.org>", status), status
    assert gpg(content + b"\n", done.signature) is None


async def test_the_hash_state_of_signstars_own_sample_is_signed_without_the_bytes(house, sign, gpg, real_input):
    sample = json.loads(real_input("signstar/sample-request.json").read_bytes())
    state = bytes(sample["required"]["input"]["content"])
    await house.attest(package("sample"), SAMPLE, "alice", "bob")
    done = await sign(package("sample"), SAMPLE, _stated(state))
    assert done.request.state == "signed", done.request
    assert gpg(SAMPLE, done.signature)


@pytest.mark.parametrize("layout", [208, 210], ids=["208 bytes", "210 bytes"])
async def test_a_hash_state_of_many_blocks_is_signed_without_the_bytes(house, sign, gpg, layout):
    name = package(f"long{layout}")
    await house.attest(name, LONG, "alice", "bob")
    done = await sign(name, LONG, _stated(snapshot(layout, LONG)))
    assert done.request.state == "signed", done.request
    assert gpg(LONG, done.signature)
    assert gpg(LONG + b"\n", done.signature) is None


REFUSED = {
    "by a single-builder tier": (database("stateful"), snapshot(208, LONG), "hash-state-not-allowed"),
    "when it is of other bytes": (package("stateful"), snapshot(208, LONG[:-1]), "hash-state-differs"),
    "when nobody can have made it": (package("stateful"), bytes(208), "hash-state-impossible"),
}


@pytest.mark.parametrize(("name", "state", "code"), REFUSED.values(), ids=REFUSED)
async def test_a_hash_state_is_refused(house, client, name, state, code):
    await house.attest(name, LONG, *(("release-host",) if name.kind == "database" else ("alice", "bob")))
    with pytest.raises(Rejected) as caught:
        await client.ask(SigningRequestAsk(name, artifact_of(LONG), _stated(state)))
    assert caught.value.code == code
    [line] = (await client.releases(purl=name.purl)).releases
    assert (await client.release(line.id)).requests == ()


def _stated(state):
    return HashState(base64.b64encode(state).decode())
