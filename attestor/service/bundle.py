"""Hand out a bundle: what is kept of a signed release, and both of its entries proved under the log's newest checkpoint.

Nothing of it is believed here, and nobody need believe it: whoever reads it checks every part.
"""

import asyncio
import functools
import hashlib
from collections.abc import Collection
from dataclasses import replace
from typing import TypeVar

from attestor.core.bundle import Bundle, LoggedEntry, bundled_release, encode_bundle
from attestor.core.dossier import manifests_named, read_dossier
from attestor.core.entries import DecisionEntry, NamedArtifact, SignatureEntry
from attestor.core.entrybytes import read_entry
from attestor.core.errors import Missing, Rejected, Unavailable
from attestor.core.naming import parse_release
from attestor.core.policy import Policy
from attestor.core.policyfile import parse_policy
from attestor.core.tlog.checkpoint import open_checkpoint
from attestor.core.tlog.note import parse_note
from attestor.core.tlog.proofs import inclusion_proof
from attestor.core.tlog.tiles import Tile, tiles_for_inclusion
from attestor.core.tlog.tlogproof import TlogProof
from attestor.service.logports import Archive, Archived, LogSource

_T = TypeVar("_T", DecisionEntry, SignatureEntry)


async def bundle(release_id: str, sha256: bytes | None, archive: Archive, source: LogSource) -> bytes:
    """The bundle of a signed release, a document of :mod:`attestor.core.bundle`; with *sha256*, that of these bytes.

    Raises ``Missing`` ``not-signed``; ``Unavailable`` ``bundle-incomplete`` when what is kept does not make one.
    """
    kept = await archive.signed(release_id, sha256)
    if kept is None:
        raise Missing("not-signed", "No signature of this release can be read; ask for its status to see why.")
    try:
        # Some attestations are large, and a tier may have many operators.
        return await asyncio.to_thread(encode_bundle, await _bundle(kept, source))
    except Rejected as error:
        raise _incomplete(error.sentence) from error


async def _bundle(kept: Archived, source: LogSource) -> Bundle:
    decision, signed = _read(kept.decision[1], DecisionEntry), _read(kept.signed[1], SignatureEntry)
    policy_file = _document(kept, decision.policy.digest)
    evidence = _document(kept, decision.evidence or "")
    weighed = read_dossier(evidence)
    proofs = await _proofs((kept.decision[0], kept.signed[0]), source, _policy(policy_file))
    named = decision.release
    return Bundle(
        release=bundled_release(parse_release(named.kind, named.purl, named.file_name)),
        artifact=NamedArtifact(size=kept.size, sha256=kept.sha256.hex(), sha512=kept.sha512.hex()),
        policy=policy_file,
        evidence=evidence,
        envelopes=_named(kept.envelopes, {vote.envelope for vote in weighed.votes}),
        withdrawals=_named(kept.withdrawals, weighed.withdrawals),
        signature=kept.signature,
        decision=LoggedEntry(kept.decision[1], proofs[0]),
        signed=LoggedEntry(kept.signed[1], proofs[1]),
        summary=_document(kept, signed.summary),
        manifests=tuple(_document(kept, digest) for digest in manifests_named(weighed)),
    )


@functools.lru_cache(maxsize=16)
def _policy(raw: bytes) -> Policy:
    """Few policies make many bundles, and to read one costs more than all else here."""
    return parse_policy(raw, "The policy")


async def _proofs(indices: tuple[int, int], source: LogSource, policy: Policy) -> list[bytes]:
    """Of both entries, under one checkpoint, which carries the lines of the log and of the policy's witnesses alone."""
    published = await source.checkpoint()
    if published is None:
        raise _incomplete("The log has published no checkpoint.")
    size = open_checkpoint(published, policy.log.key).size
    wanted = frozenset[Tile]().union(*(tiles_for_inclusion(index, size) for index in indices))
    tiles = {tile: await source.tile(tile) for tile in wanted}
    checkpoint = _only_known(published, policy)
    return [TlogProof(index, inclusion_proof(index, size, tiles), checkpoint).encode() for index in indices]


def _only_known(published: bytes, policy: Policy) -> bytes:
    """The witnesses of today may be others than the policy's of that time, which is all that a reader of the bundle has."""
    known = {(key.name, key.key_id) for key in (policy.log.key, *(witness.key for witness in policy.log.witnesses))}
    note = parse_note(published)
    return replace(note, lines=tuple(line for line in note.lines if (line.name, line.key_id) in known)).encode()


def _document(kept: Archived, digest: str) -> bytes:
    body = kept.documents.get(bytes.fromhex(digest))
    if body is None:
        raise _incomplete(f"The document {digest} that a log entry names is not there.")
    return body


def _named(bodies: Collection[bytes], digests: Collection[str]) -> tuple[bytes, ...]:
    """Those that the evidence names; what came later is no part of the decision."""
    found = {hashlib.sha256(body).hexdigest(): body for body in bodies}
    missing = set(digests) - found.keys()
    if missing:
        raise _incomplete(f"The envelope {min(missing)} that the evidence names is not there.")
    return tuple(found[digest] for digest in digests)


def _read(raw: bytes, kind: type[_T]) -> _T:
    entry = read_entry(raw)
    if not isinstance(entry, kind):
        raise _incomplete("A log entry is of another type.")
    return entry


def _incomplete(sentence: str) -> Unavailable:
    return Unavailable(
        "bundle-incomplete",
        f"What is kept of this release makes no bundle. {sentence} The operator of the service has to restore it.",
    )
