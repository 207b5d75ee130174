"""Checkpoints (C2SP tlog-checkpoint v1.0.0): a log's origin, tree size and root hash, as a note that the log signs."""

from dataclasses import dataclass

from attestor.core.errors import Malformed, Rejected
from attestor.core.tlog.grammar import HASH_BYTES, MAX_NUMBER, read_decimal, read_hash, refuse_controls, write_base64
from attestor.core.tlog.merkle import EMPTY_ROOT
from attestor.core.tlog.note import NoteSigner, VerifierKey, parse_note, verified_by


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The tree of one log at one size. Raises ``Malformed`` ``checkpoint-malformed`` for what no checkpoint can say."""

    origin: str
    size: int
    root: bytes
    """32 bytes; at size 0 the empty tree's."""

    def __post_init__(self) -> None:
        try:
            refuse_controls(self.origin)
        except ValueError:
            raise _malformed() from None
        if not self.origin or not 0 <= self.size <= MAX_NUMBER or len(self.root) != HASH_BYTES:
            raise _malformed()
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise _malformed()

    @property
    def text(self) -> str:
        """The note's text: three lines."""
        return f"{self.origin}\n{self.size}\n{write_base64(self.root)}\n"


def parse_checkpoint_text(text: str) -> Checkpoint:
    """Read a note's text as a checkpoint; raises ``Malformed`` ``checkpoint-malformed``.

    Extension lines, which tlog-checkpoint advises against, are refused: ours have none, and what is read must be all
    that was signed.
    """
    try:
        origin, size, root = text.removesuffix("\n").split("\n")
        checkpoint = Checkpoint(origin, read_decimal(size), read_hash(root))
    except ValueError:
        raise _malformed() from None
    if not text.endswith("\n"):
        raise _malformed()
    return checkpoint


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> bytes:
    """The whole note with the log's signature.

    The caller must never have signed a checkpoint inconsistent with it. Raises ``Rejected``: ``checkpoint-origin`` when
    the signer's name is another, ``note-key-type`` for a cosigner.
    """
    if checkpoint.origin != signer.verifier.name:
        raise _other_origin(checkpoint.origin, signer.verifier)
    return f"{checkpoint.text}\n{signer.sign(checkpoint.text)}\n".encode()


def open_checkpoint(raw: bytes, key: VerifierKey) -> Checkpoint:
    """Read a checkpoint that the log's ``key`` signed; further signatures may stand beside it.

    Raises ``Malformed``: ``note-malformed``, ``checkpoint-malformed``; ``Rejected``: ``note-signature``,
    ``checkpoint-origin`` when the origin is not the key's name.
    """
    note = parse_note(raw)
    verified_by(note, [key])
    checkpoint = parse_checkpoint_text(note.text)
    if checkpoint.origin != key.name:
        raise _other_origin(checkpoint.origin, key)
    return checkpoint


def _other_origin(origin: str, key: VerifierKey) -> Rejected:
    return Rejected(
        "checkpoint-origin",
        f"The checkpoint is of the log {origin[:128]!r}, the key of {key.name[:128]!r}; use that log's own key.",
    )


def _malformed() -> Malformed:
    return Malformed(
        "checkpoint-malformed",
        "This is no checkpoint: exactly three lines, the origin, the tree size in decimal, the root hash in base64.",
    )
