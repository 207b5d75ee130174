"""Cosignatures of witnesses (C2SP tlog-cosignature v1.0.1, the Ed25519 kind ``cosignature/v1``, key type 0x04).

A line holds the key ID, the time in seconds as 8 bytes big-endian, and 64 bytes of signature.
"""

from collections.abc import Collection
from dataclasses import dataclass

from attestor.core.errors import Rejected
from attestor.core.tlog.checkpoint import parse_checkpoint_text
from attestor.core.tlog.grammar import MAX_NUMBER
from attestor.core.tlog.note import COSIGNATURE, Note, NoteSigner, VerifierKey


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A witness's word that at ``timestamp`` (seconds since 1970) this was the largest consistent checkpoint it had seen."""

    key: VerifierKey
    timestamp: int


def cosign(checkpoint_text: str, signer: NoteSigner, timestamp: int) -> str:
    """The witness's signature line, without its newline, over a checkpoint's text.

    Raises ``Malformed`` ``checkpoint-malformed``; ``Rejected``: ``note-key-type`` unless the signer is a cosigner,
    ``cosignature`` for a time outside of 63 bits.
    """
    parse_checkpoint_text(checkpoint_text)
    if not 0 <= timestamp <= MAX_NUMBER:
        raise Rejected("cosignature", f"The time {timestamp} is no count of seconds since 1970; set the clock.")
    return signer.cosign(checkpoint_text, timestamp)


def cosignatures(note: Note, witnesses: Collection[VerifierKey]) -> tuple[Cosigned, ...]:
    """The witnesses that cosigned, each key material once (its newest time), in the note's order.

    The Ed25519 message names no cosigner, so two names with one key are one witness. Lines of unknown keys are ignored.
    Whoever names the witnesses keeps the log's own key from among them: it must not count as one.
    Raises ``Rejected``: ``cosignature`` when a known witness's signature is wrong, ``note-key-type`` for a witness key
    that is no cosigner's.
    """
    for key in witnesses:
        if key.algorithm != COSIGNATURE:
            raise Rejected(
                "note-key-type", f"The witness key {key.text} is of type {key.algorithm}; it must be {COSIGNATURE}."
            )
    found: dict[bytes, Cosigned] = {}
    for line in note.lines:
        named = [key for key in witnesses if (key.name, key.key_id) == (line.name, line.key_id)]
        signed = [key for key in named if key.verifies(note.text, line.signature)]
        if named and not signed:
            raise Rejected(
                "cosignature", f"The cosignature of {line.name} is not that witness's; ask the witness again."
            )
        timestamp = int.from_bytes(line.signature[:8])
        for key in signed:
            if key.public not in found or found[key.public].timestamp < timestamp:
                found[key.public] = Cosigned(key, timestamp)
    return tuple(found.values())
