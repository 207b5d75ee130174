"""Check a static tlog-tiles tree with aics-tlog, which shares no code with ours; run by a Python of 3.12 or newer that has it.

    python aics.py VKEY DIR CHECKPOINT...

Arguments, standard input and output are those of main.go beside this file. Besides, every tile and every bundle is audited,
and standard input names "witnesses", vkeys whose cosignatures are counted: "cosigned" in the last line, over all checkpoints.
"""

import base64
import json
import sys
from pathlib import Path

from aics_tlog import tiles
from aics_tlog.checkpoint import parse_checkpoint, verify_checkpoint
from aics_tlog.note import parse_note, parse_vkey
from aics_tlog.tree import verify_consistency, verify_leaf_inclusion
from aics_tlog.verified import audit_tiles


def say(**done):
    sys.stdout.write(json.dumps(done) + "\n")


def demand(holds, sentence):
    if not holds:
        sys.exit(sentence)


def opened(raw, key, witnesses):
    note = parse_note(raw)
    result = verify_checkpoint(note, key, witnesses, expected_origin=key.name)
    demand(result.ok, f"checkpoint: {result.error}")
    return parse_checkpoint(note.text), result.cosignature_count


def check(reader, head, older, samples):
    audit_tiles(reader, head.size, head.root)
    stride = head.size // (samples - 1) + 1
    indexes = sorted({*range(0, head.size, stride), *([head.size - 1] if head.size else [])})
    for index in indexes:
        proof = tiles.inclusion_proof_from_tiles(reader, index, head.size)
        entry = tiles.read_entry(reader, index, head.size)
        demand(verify_leaf_inclusion(entry, index, head.size, proof, head.root), f"inclusion of {index} in {head.size}")
    grown = [old for old in older if old.size]
    for old in grown:
        proof = tiles.consistency_proof_from_tiles(reader, old.size, head.size)
        demand(verify_consistency(old.size, head.size, old.root, head.root, proof), f"{old.size} to {head.size}")
    say(size=head.size, leaves=head.size, inclusion=len(indexes), consistency=len(grown))


def check_given(given, reader, heads):
    for one in given["inclusion"]:
        head = heads[one["size"]]
        entry = tiles.read_entry(reader, one["index"], head.size)
        proof = [base64.b64decode(value, validate=True) for value in one["proof"]]
        demand(verify_leaf_inclusion(entry, one["index"], head.size, proof, head.root), f"given inclusion: {one}")
    for one in given["consistency"]:
        head, old = heads[one["size"]], heads[one["old"]]
        proof = [base64.b64decode(value, validate=True) for value in one["proof"]]
        demand(verify_consistency(old.size, head.size, old.root, head.root, proof), f"given consistency: {one}")


def run(vkey, folder, *checkpoints):
    given = json.load(sys.stdin)
    key, reader = parse_vkey(vkey), tiles.FileSystemTileReader(folder)
    witnesses = [parse_vkey(one) for one in given["witnesses"]]
    heads, cosigned = {}, 0
    for name in checkpoints:
        head, count = opened((Path(folder) / name).read_bytes(), key, witnesses)
        cosigned += count
        check(reader, head, list(heads.values()), given["samples"])
        heads[head.size] = head
    check_given(given, reader, heads)
    say(inclusion=len(given["inclusion"]), consistency=len(given["consistency"]), cosigned=cosigned)


if __name__ == "__main__":
    run(*sys.argv[1:])
