"""Proofs that an entry is in a log, for use without a network (C2SP tlog-proof@v1): index, inclusion proof, checkpoint."""

from dataclasses import dataclass
from typing import Final

from attestor.core.errors import Malformed
from attestor.core.tlog.checkpoint import Checkpoint, open_checkpoint
from attestor.core.tlog.grammar import (
    HASH_BYTES,
    MAX_NUMBER,
    MAX_PROOF_HASHES,
    read_decimal,
    read_proof,
    split_head,
    write_base64,
)
from attestor.core.tlog.merkle import leaf_hash, verify_inclusion
from attestor.core.tlog.note import MAX_NOTE_BYTES, VerifierKey

MAX_TLOG_PROOF_BYTES: Final = MAX_NOTE_BYTES + 4096
"""A checkpoint, and 63 hashes in base64 with a line each for version and index."""

_VERSION: Final = "c2sp.org/tlog-proof@v1"
_INDEX: Final = "index "


@dataclass(frozen=True, slots=True)
class TlogProof:
    """An inclusion proof with the checkpoint that it leads to; nothing in it is verified before :func:`open_tlog_proof`.

    Raises ``Malformed`` ``tlog-proof-malformed`` for an index or hashes that no proof can have.
    """

    index: int
    hashes: tuple[bytes, ...]
    """From the leaf's sibling upwards, 32 bytes each, at most 63."""
    checkpoint: bytes
    """The note, verbatim."""

    def __post_init__(self) -> None:
        if (
            not 0 <= self.index <= MAX_NUMBER
            or len(self.hashes) > MAX_PROOF_HASHES
            or any(len(one) != HASH_BYTES for one in self.hashes)
        ):
            raise _malformed()

    def encode(self) -> bytes:
        """The file, by custom named ``*.tlog-proof``; without the optional ``extra`` line."""
        lines = [_VERSION, f"{_INDEX}{self.index}", *map(write_base64, self.hashes)]
        return "\n".join(lines).encode() + b"\n\n" + self.checkpoint


def parse_tlog_proof(raw: bytes) -> TlogProof:
    """Read a proof; raises ``Malformed`` ``tlog-proof-malformed``.

    An ``extra`` line is refused although the format has it: nothing authenticates it, and we never write one.
    """
    if len(raw) > MAX_TLOG_PROOF_BYTES:
        raise _malformed()
    try:
        (version, index, *hashes), checkpoint = split_head(raw)
        proof = TlogProof(read_decimal(index.removeprefix(_INDEX)), read_proof(hashes), checkpoint)
    except ValueError:
        raise _malformed() from None
    if version != _VERSION or not index.startswith(_INDEX):
        raise _malformed()
    return proof


def open_tlog_proof(proof: TlogProof, entry: bytes, key: VerifierKey) -> Checkpoint:
    """Check that ``entry`` stands in the log of ``key`` where the proof says; give back the checkpoint that holds it.

    Raises what :func:`attestor.core.tlog.checkpoint.open_checkpoint` and
    :func:`attestor.core.tlog.merkle.verify_inclusion` raise.
    """
    checkpoint = open_checkpoint(proof.checkpoint, key)
    verify_inclusion(
        leaf=leaf_hash(entry), index=proof.index, size=checkpoint.size, proof=proof.hashes, root=checkpoint.root
    )
    return checkpoint


def _malformed() -> Malformed:
    return Malformed(
        "tlog-proof-malformed",
        f"This is no proof of the kind {_VERSION}: that line, the index, up to {MAX_PROOF_HASHES} hashes in base64, an empty "
        "line, the checkpoint; an extra line is not accepted.",
    )
