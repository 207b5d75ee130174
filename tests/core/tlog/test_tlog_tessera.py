"""Tessera's test log, rebuilt byte by byte from its words and its key; Ed25519 is deterministic."""

import pytest

from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.core.tlog.note import parse_skey, parse_vkey
from attestor.core.tlog.tiles import BUNDLE, decode_bundle, tiles_of
from tests.core.tlog.reference import GrownLog

WORDS = b"one two three four five six seven eit nain ten ileven twelf threeten fourten fivten".split()
SIZES = range(len(WORDS) + 1)
LOG = GrownLog(WORDS, SIZES[1:])


@pytest.fixture(scope="module")
def log(real_input):
    return real_input("tlog/log")


@pytest.fixture(scope="module")
def keys(real_input):
    skey, vkey = real_input("tlog/keys.txt").read_text("utf-8").split()
    return parse_skey(skey), parse_vkey(vkey)


def test_the_two_keys_are_a_pair(keys):
    signer, key = keys
    assert signer.verifier == key


def test_every_file_is_rebuilt(log, keys, tmp_path):
    signer, _ = keys
    names = LOG.export(tmp_path, signer)
    assert names == [f"checkpoint.{size}" for size in SIZES]
    theirs = {
        path.relative_to(log): path.read_bytes()
        for path in log.rglob("*")
        if path.is_file() and ".state" not in path.parts
    }
    ours = {path.relative_to(tmp_path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    newest = theirs.pop((log / "checkpoint").relative_to(log))
    assert newest == ours[(log / "checkpoint.15").relative_to(log)]
    assert len(theirs) == 16 + 15 + 15
    assert ours == theirs


@pytest.mark.parametrize("size", SIZES)
def test_every_checkpoint_tile_and_bundle_is_read(log, keys, size):
    checkpoint = open_checkpoint((log / f"checkpoint.{size}").read_bytes(), keys[1])
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (keys[1].name, size, LOG.root(size))
    read = {tile: (log / tile.path).read_bytes() for tile in tiles_of(size)}
    assert len(read) == (2 if size else 0)
    for tile, raw in read.items():
        if tile.level == BUNDLE:
            assert decode_bundle(raw, tile.width) == WORDS[:size]
        else:
            assert raw == b"".join(LOG.rows[0][:size])
