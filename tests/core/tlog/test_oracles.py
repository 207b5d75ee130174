"""Our log seen from outside: golang.org/x/mod and aics-tlog, which share no code with ours, accept it, and not a changed one."""

import base64
import hashlib
import os
import shutil

import pytest

from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.cosignature import cosign
from attestor.core.tlog.note import COSIGNATURE, NoteSigner
from attestor.core.tlog.proofs import consistency_proof, inclusion_proof
from attestor.core.tlog.tiles import tiles_for_consistency, tiles_for_inclusion
from tests.core.tlog.oracles import (
    NOTHING,
    SOURCES,
    Oracle,
    Refused,
    build_go_oracle,
    install_aics,
    newer_python,
    pinned,
    x_mod,
)
from tests.core.tlog.reference import GrownLog

SIZES = [0, 1, 2, 255, 256, 257, 65536, 70000]
SIGNER = NoteSigner.create("log.example/packages", bytes(range(32)))
VKEY = SIGNER.verifier.text
WITNESSES = [NoteSigner.create(f"witness.example/w{at}", bytes([at]) * 32, COSIGNATURE) for at in (1, 2)]


@pytest.fixture(scope="session")
def go_oracle(tool, tmp_path_factory):
    go = tool("go")
    module = x_mod(tool("dpkg"))
    if module is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("the package golang-golang-x-mod-dev is not installed")
    return Oracle((build_go_oracle(go, module, tmp_path_factory.mktemp("go")),), samples=512)


@pytest.fixture(scope="session")
def aics_oracle(request):
    found = newer_python()
    if found is None:
        pytest.skip(
            "aics-tlog needs a Python of 3.12 or newer, and there is none: install one, or run the tests with it"
        )
    program, version = found
    lock = hashlib.sha256(pinned().encode()).hexdigest()[:16]
    folder = request.config.cache.mkdir(f"aics-tlog-{version}-{lock}")
    if complaint := install_aics(version, folder):
        pytest.skip(f"aics-tlog for Python {version} cannot be had: {complaint.strip().splitlines()[-1]}")
    # It reads all leaves under a range to prove one entry, so 512 samples of 70,000 entries would take minutes.
    return Oracle((program, SOURCES / "aics.py"), samples=8, environment={"PYTHONPATH": str(folder / "site")})


@pytest.fixture(params=[pytest.param("x/mod", marks=pytest.mark.required_in_ci), "aics-tlog"])
def verified(request):
    return request.getfixturevalue({"x/mod": "go_oracle", "aics-tlog": "aics_oracle"}[request.param])


@pytest.fixture(scope="module")
def log():
    entries = [f'{{"entry":{number}}}'.encode() for number in range(SIZES[-1])]
    entries[3], entries[300] = b"", bytes(65535)
    return GrownLog(entries, SIZES[1:])


@pytest.fixture(scope="module")
def tree(log, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tree")
    return folder, log.export(folder, SIGNER)


SMALL = [0, 200, 257]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    return folder, GrownLog([str(number).encode() for number in range(257)], SMALL[1:]).export(folder, SIGNER)


@pytest.fixture
def spoilable(small, tmp_path):
    folder, names = small
    return shutil.copytree(folder, tmp_path / "tree"), names


def base64ed(proof):
    return [base64.b64encode(one).decode() for one in proof]


def proofs_of(log):
    """Ours, at the ends of every tree and where its parts meet, and between all sizes."""
    inclusion = [
        {
            "index": at,
            "size": size,
            "proof": base64ed(inclusion_proof(at, size, log.given(tiles_for_inclusion(at, size)))),
        }
        for size in SIZES
        for at in sorted({0, 1, 254, 255, 256, size // 2, 65535, 65536, size - 2, size - 1})
        if 0 <= at < size
    ]
    consistency = [
        {
            "old": old,
            "size": size,
            "proof": base64ed(consistency_proof(old, size, log.given(tiles_for_consistency(old, size)))),
        }
        for size in SIZES
        for old in SIZES
        if 0 < old <= size
    ]
    return {**NOTHING, "inclusion": inclusion, "consistency": consistency}


def sampled(size, samples):
    stride = size // (samples - 1) + 1
    return len({*range(0, size, stride), *([size - 1] if size else [])})


def test_every_size_is_accepted_with_every_entry_and_our_own_proofs(verified, tree, log):
    given = proofs_of(log)
    *trees, proofs = verified(VKEY, *tree, given)
    assert trees == [
        {"size": size, "leaves": size, "inclusion": sampled(size, verified.samples), "consistency": max(0, at - 1)}
        for at, size in enumerate(SIZES)
    ]
    assert (proofs["inclusion"], proofs["consistency"]) == (len(given["inclusion"]), len(given["consistency"]))
    assert len(given["inclusion"]) == 37
    assert len(given["consistency"]) == 28


def test_tessera_s_own_log_is_accepted_by_the_same_oracle(verified, real_input):
    vkey = real_input("tlog/keys.txt").read_text("utf-8").split()[1]
    said = verified(vkey, real_input("tlog/log"), [f"checkpoint.{size}" for size in range(16)])
    assert [one["size"] for one in said[:-1]] == list(range(16))


def flip(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def other_size(folder):
    path = folder / "checkpoint.257"
    path.write_bytes(path.read_bytes().replace(b"\n257\n", b"\n256\n"))


def another_root(folder):
    note = sign_checkpoint(Checkpoint(SIGNER.verifier.name, 257, bytes(32)), SIGNER)
    (folder / "checkpoint.257").write_bytes(note)


def another_history(folder):
    other = GrownLog([b"changed", *(str(number).encode() for number in range(1, 257))], [200, 257])
    shutil.rmtree(folder / "tile")
    names = {name: (folder / name).read_bytes() for name in ("checkpoint.0", "checkpoint.200")}
    other.export(folder, SIGNER)
    for name, raw in names.items():
        (folder / name).write_bytes(raw)
    # The older tree's own tiles are as they were; only their growing together is broken.
    first = GrownLog([str(number).encode() for number in range(200)], [200])
    for at in ("tile/0/000.p/200", "tile/entries/000.p/200"):
        (folder / at).unlink()
    first.export(folder, SIGNER)


SPOILERS = {
    "a bit of the leaves' tile": lambda folder: flip(folder / "tile/0/000"),
    "a bit of the last leaf": lambda folder: flip(folder / "tile/0/001.p/1"),
    "a bit of the upper tile": lambda folder: flip(folder / "tile/1/000.p/1"),
    "a bit of an entry": lambda folder: flip(folder / "tile/entries/000"),
    "a size that was not signed": other_size,
    "a tile that is not there": lambda folder: (folder / "tile/0/000").unlink(),
    "a bundle that is not there": lambda folder: (folder / "tile/entries/001.p/1").unlink(),
    "another root": another_root,
    "another history": another_history,
}


def test_the_tree_that_will_be_spoiled_is_accepted(verified, small):
    assert [one["size"] for one in verified(VKEY, *small)[:-1]] == SMALL


@pytest.mark.parametrize("what", SPOILERS)
def test_a_tree_is_refused_with(verified, spoilable, what):
    folder, names = spoilable
    SPOILERS[what](folder)
    with pytest.raises(Refused):
        verified(VKEY, folder, names)


@pytest.mark.parametrize(
    "given",
    [
        {"inclusion": [{"index": 0, "size": 200, "proof": []}]},
        {"inclusion": [{"index": 0, "size": 200, "proof": base64ed([bytes(32)] * 8)}]},
        {"consistency": [{"old": 200, "size": 257, "proof": base64ed([bytes(32)] * 8)}]},
    ],
    ids=["no inclusion proof", "a false inclusion proof", "a false consistency proof"],
)
def test_the_oracle_does_look_at_the_proofs_that_it_is_given(verified, small, given):
    with pytest.raises(Refused, match="given"):
        verified(VKEY, *small, {**NOTHING, **given})


def test_cosignatures_are_counted_and_a_wrong_one_is_refused(aics_oracle, spoilable):
    folder, names = spoilable
    path = folder / names[-1]
    text = path.read_text("utf-8").split("\n\n")[0] + "\n"
    with path.open("a", encoding="utf-8") as note:
        note.writelines(f"{cosign(text, one, 1_700_000_000)}\n" for one in WITNESSES)
    for count in range(3):
        given = {**NOTHING, "witnesses": [one.verifier.text for one in WITNESSES[:count]]}
        assert aics_oracle(VKEY, folder, names, given)[-1]["cosigned"] == count
    with path.open("a", encoding="utf-8") as note:
        other = NoteSigner.create("witness.example/w3", bytes([3]) * 32, COSIGNATURE)
        note.write(cosign(text.replace("257", "258"), other, 1_700_000_000) + "\n")
    with pytest.raises(Refused, match="w3"):
        aics_oracle(VKEY, folder, names, {**NOTHING, "witnesses": [other.verifier.text]})
