"""The log's word on a bundle: both entries in one tree, and whose tree it is."""

from dataclasses import dataclass

from attestor.core.bundle import Bundle, LoggedEntry
from attestor.core.bundleplace import place, refuse
from attestor.core.policy import LogPolicy
from attestor.core.tlog.checkpoint import Checkpoint, parse_checkpoint_text
from attestor.core.tlog.merkle import leaf_hash, verify_inclusion
from attestor.core.tlog.note import Note, VerifierKey, parse_note
from attestor.core.tlog.tlogproof import TlogProof, parse_tlog_proof


@dataclass(frozen=True, slots=True)
class Proven:
    """The indices of both entries in the tree of one checkpoint, which nobody has vouched for yet."""

    note: Note
    checkpoint: Checkpoint
    decision: int
    signed: int


def proven_in(bundle: Bundle) -> Proven:
    """Both entries, by their hashes, in the one tree that both proofs lead to.

    Raises ``Rejected`` ``bundle-decision``, ``bundle-signed``, ``bundle-checkpoint``.
    """
    decision = _proof(bundle.decision, "bundle-decision", "decision entry")
    signed = _proof(bundle.signed, "bundle-signed", "signature entry")
    if decision.checkpoint != signed.checkpoint:
        refuse("bundle-checkpoint", "The two proofs do not lead to one checkpoint, byte for byte.")
    with place("bundle-checkpoint", "checkpoint"):
        note = parse_note(decision.checkpoint)
        checkpoint = parse_checkpoint_text(note.text)
    with place("bundle-decision", "decision entry"):
        _verify_inclusion(bundle.decision, decision, checkpoint)
    with place("bundle-signed", "signature entry"):
        _verify_inclusion(bundle.signed, signed, checkpoint)
    return Proven(note, checkpoint, decision.index, signed.index)


def _proof(logged: LoggedEntry, code: str, name: str) -> TlogProof:
    with place(code, name):
        return parse_tlog_proof(logged.proof)


def _verify_inclusion(logged: LoggedEntry, proof: TlogProof, checkpoint: Checkpoint) -> None:
    verify_inclusion(
        leaf=leaf_hash(logged.entry),
        index=proof.index,
        size=checkpoint.size,
        proof=proof.hashes,
        root=checkpoint.root,
    )


def witnessed(proven: Proven, log: LogPolicy) -> int:
    """How many of the policy's witnesses cosigned the checkpoint that the log signed, at least as many as the policy wants.

    Raises ``Rejected`` ``bundle-checkpoint``, ``bundle-witnesses``.
    """
    if proven.checkpoint.origin != log.key.name:
        refuse("bundle-checkpoint", f"The checkpoint is of another log: {proven.checkpoint.origin[:128]!a}.")
    signers = _signers(proven.note, [log.key, *(witness.key for witness in log.witnesses)])
    if log.key not in signers:
        refuse("bundle-checkpoint", f"The checkpoint is not signed by the log {log.key.name}.")
    cosigned = len({key.public for key in signers} - {log.key.public})
    if cosigned < log.quorum:
        refuse(
            "bundle-witnesses",
            f"{cosigned} witnesses of the policy cosigned the checkpoint; it wants {log.quorum}.",
        )
    return cosigned


def _signers(note: Note, keys: list[VerifierKey]) -> frozenset[VerifierKey]:
    """Who signed; a line that is nobody's of *keys* would be bytes that nothing binds."""
    signers: set[VerifierKey] = set()
    for line in note.lines:
        key = next((key for key in keys if (key.name, key.key_id) == (line.name, line.key_id)), None)
        if key is None or key in signers or not key.verifies(note.text, line.signature):
            refuse(
                "bundle-checkpoint",
                f"The checkpoint's signature line of {line.name[:64]!a} is wrong, doubled, "
                "or of nobody whom the policy names.",
            )
        signers.add(key)
    return frozenset(signers)
