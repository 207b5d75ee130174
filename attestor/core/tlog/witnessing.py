"""The one request that a log makes of its witnesses: ``add-checkpoint`` (C2SP tlog-witness v1.0.0)."""

from collections.abc import Sequence
from typing import Final

from attestor.core.errors import Malformed
from attestor.core.tlog.grammar import MAX_PROOF_HASHES, read_decimal, read_proof, split_head, write_base64
from attestor.core.tlog.note import MAX_NOTE_BYTES

MAX_ADD_CHECKPOINT_BYTES: Final = MAX_NOTE_BYTES + 4096
"""A checkpoint, 63 hashes in base64, the old size. Witnesses in the field take 10 KiB: send the log's own signature alone."""

_OLD: Final = "old "


def encode_add_checkpoint(old_size: int, proof: Sequence[bytes], checkpoint: bytes) -> bytes:
    """The request's body: the size that the witness has, the consistency proof from there (none from 0), the note."""
    return "\n".join([f"{_OLD}{old_size}", *map(write_base64, proof)]).encode() + b"\n\n" + checkpoint


def parse_add_checkpoint(raw: bytes) -> tuple[int, tuple[bytes, ...], bytes]:
    """Read old size, consistency proof and checkpoint note; raises ``Malformed`` ``add-checkpoint-malformed``.

    From size 0 there is nothing to prove, so a proof beside it is refused as well.
    """
    if len(raw) > MAX_ADD_CHECKPOINT_BYTES:
        raise _malformed()
    try:
        (old, *hashes), checkpoint = split_head(raw)
        old_size, proof = read_decimal(old.removeprefix(_OLD)), read_proof(hashes)
    except ValueError:
        raise _malformed() from None
    if not old.startswith(_OLD) or (old_size == 0 and proof):
        raise _malformed()
    return old_size, proof, checkpoint


def _malformed() -> Malformed:
    return Malformed(
        "add-checkpoint-malformed",
        f"This is no add-checkpoint request: 'old <size>', up to {MAX_PROOF_HASHES} hashes in base64 (none if the old "
        "size is 0), an empty line, the checkpoint.",
    )
