"""Bundles made of pure parts: two operators, a release key in software, a log in a list. Every part can be made otherwise."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property

import msgspec

from attestor.core.approvaldocuments import read_approval
from attestor.core.authorisation import evidence_notation, named_release
from attestor.core.bundle import Bundle, LoggedEntry, bundled_release
from attestor.core.bundlecheck import MeasuredFile, OpenPgpFacts, check_bundle
from attestor.core.dossier import counted_votes, dossier, not_counted_votes
from attestor.core.entries import (
    MAX_NOT_COUNTED,
    DecisionEntry,
    NamedArtifact,
    NamedPolicy,
    SignatureEntry,
    SpentApproval,
    moment_text,
)
from attestor.core.entrybytes import encode_entry, received_entries, seal_entry
from attestor.core.evidence import read_evidence
from attestor.core.past import LoggedDecision
from attestor.core.policyfile import parse_policy
from attestor.core.quorum import evaluate, in_favour_of
from attestor.core.statement import parse_attestation
from attestor.core.summary import summary_envelope
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.cosignature import cosign
from attestor.core.tlog.merkle import EMPTY, leaf_hash
from attestor.core.tlog.proofs import inclusion_proof
from attestor.core.tlog.tiles import Tile
from attestor.core.tlog.tlogproof import TlogProof
from attestor.openpgp.approvers import Approvers
from attestor.openpgp.signature import Notation, draft_signature, verify_signature
from tests.approvers import REQUEST, approver_table
from tests.edges.openpgp.softkeys import release_key
from tests.logkeys import log_signer, log_table, seal, witness_signer
from tests.service.makers import _public_pem, package, vote

ORIGIN = "attestor.example.org"
CREATED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
CONTENT = b"These are the bytes of a package."
ANCHOR = "0f" * 16


def policy_file(
    *,
    serial=7,
    origin=ORIGIN,
    operators=("alice", "bob"),
    threshold=2,
    dissent_limit=0,
    tier="packages",
    rules="",
    approvers=(),
    person="chief",
    **log,
):
    """Each operator has the key that bears its name; the log is that of tests/logkeys.py.

    *rules* are further lines of the tier; *approvers* names or whole tables; *person* answers for what the requester asks.
    """
    people = "".join(each if "\n" in each else approver_table(each) for each in approvers)
    keys = "".join(
        f"[[operators.{name}.keys]]\npublic_key = '''{_public_pem(name)}'''\n"
        "valid_from = 2025-01-01T00:00:00Z\nvalid_until = 2036-01-01T00:00:00Z\n"
        'statements = ["rebuild"]\nscopes = [{ kind = "package", type = "alpm", namespace = "arch" }]\n'
        for name in operators
    )
    return (
        f'origin = "{origin}"\nserial = {serial}\n{log_table(origin, **log)}\n{keys}'
        f'[tiers.{tier}]\nkind = "package"\npurl = "pkg:alpm/arch/*"\noperators = {list(operators)}\n'
        f'threshold = {threshold}\ndissent_limit = {dissent_limit}\nsigning_key = "packages"\nrequesters = ["build"]\n'
        f'networks = ["192.0.2.0/24"]\n{rules}\n[requesters.build]\nclients = ["{"ab" * 32}"]\n'
        + (f'person = "{person}"\n{people}' if people else "")
    ).encode()


@cache
def parsed(raw):
    return parse_policy(raw, "policy.toml")


@dataclass(frozen=True)
class Log:
    """Entries in a list, and who signs its checkpoints."""

    entries: tuple[bytes, ...]
    signer: object = field(default_factory=lambda: log_signer(ORIGIN))
    witnesses: tuple[str, ...] = ()

    def checkpoint(self):
        root = EMPTY.extended([leaf_hash(entry) for entry in self.entries]).root
        checkpoint = Checkpoint(self.signer.verifier.name, len(self.entries), root)
        lines = "".join(f"{cosign(checkpoint.text, witness_signer(name), 1_772_366_400)}\n" for name in self.witnesses)
        return sign_checkpoint(checkpoint, self.signer) + lines.encode()

    def tiles(self):
        return {Tile(0, 0, len(self.entries)): b"".join(leaf_hash(entry) for entry in self.entries)}

    def proof(self, index):
        hashes = inclusion_proof(index, len(self.entries), self.tiles())
        return TlogProof(index, hashes, self.checkpoint()).encode()

    def logged(self, index):
        return LoggedEntry(self.entries[index], self.proof(index))


@dataclass(frozen=True)
class Making:
    """What a bundle is made of; ``replace`` one thing and all that follows from it is made anew, well sealed and logged."""

    policy: bytes = field(default_factory=policy_file)
    release: object = field(default_factory=package)
    content: bytes = CONTENT
    envelopes: tuple[tuple[str, bytes], ...] = ()
    """(operator, envelope); alice's and bob's attestations of the content when there are none."""
    withdrawals: tuple[bytes, ...] = ()
    taken_back: tuple[tuple[str, bytes], ...] = ()
    """(operator, payload digest) of what the log alone says was taken back."""
    approvals: tuple[object, ...] = ()
    """As they were given in (tests/approvers.py); the decision names them, and "build" as who asked."""
    period: str | None = None
    key: str = "ed25519"
    created: datetime = CREATED
    log: Log = field(default_factory=lambda: Log(tuple(b"another entry %d" % number for number in range(5))))
    sealed_by: object = field(default_factory=seal)
    signed_sealed_by: object = None
    changed_dossier: object = lambda document: document
    changed_decision: object = lambda entry: entry
    changed_signed: object = lambda entry: entry
    changed_summary: object = lambda raw: raw
    changed_notations: object = lambda notations: notations
    signature_created: datetime | None = None

    @property
    def parsed(self):
        return parsed(self.policy)

    @cached_property
    def weighed(self):
        """(operator, payload digest, envelope, received at)."""
        envelopes = self.envelopes or tuple(
            (name, vote(self.release, self.content, name)) for name in sorted(self.parsed.operators)[:2]
        )
        return [
            (name, parse_attestation(body).payload_digest, body, CREATED - timedelta(hours=2))
            for name, body in envelopes
        ]

    @cached_property
    def dossier(self):
        policy = self.parsed
        tier = policy.tier_of(self.release)
        reading = read_evidence(
            self.release, [(name, body, at) for name, _, body, at in self.weighed], self.withdrawals, policy
        )
        doubted = reading.doubted | frozenset(self.taken_back)
        decision = evaluate(tier, policy, reading.claims, reading.withdrawn, self.created, doubted=doubted)
        if any(read_approval(each.document).action == "dispute" for each in self.approvals):
            decision = in_favour_of(decision, hashlib.sha256(self.content).digest())
        weighed = dossier(self.weighed, self.withdrawals, decision, self.approvals, self.taken_back)
        return self.changed_dossier(weighed), decision, reading.claims

    def spent(self):
        keys = self.parsed.approver_keys
        named = (
            SpentApproval(
                action=read_approval(each.document).action,
                approver=keys[each.key].approver if each.key in keys else "stranger",
                document=each.digest.hex(),
            )
            for each in self.approvals
        )
        return tuple(sorted(named, key=lambda each: (each.action, each.document)))

    def artifact(self):
        return NamedArtifact(
            size=len(self.content),
            sha256=hashlib.sha256(self.content).hexdigest(),
            sha512=hashlib.sha512(self.content).hexdigest(),
        )

    def decision(self):
        weighed, decision, claims = self.dossier
        policy = self.parsed
        tier = policy.tier_of(self.release)
        return self.changed_decision(
            DecisionEntry(
                verdict="sign",
                request=REQUEST,
                number=0,
                release=named_release(self.release),
                artifact=self.artifact(),
                tier=tier.name,
                policy=NamedPolicy(serial=policy.serial, digest=policy.digest),
                reason="reached",
                signing_key=tier.signing_key,
                key=release_key(self.key).certificate.fingerprint,
                created=moment_text(self.created),
                counted=counted_votes(weighed, decision.tally.agreeing, claims),
                not_counted=not_counted_votes(weighed, MAX_NOT_COUNTED),
                evidence=weighed.digest,
                approvals=self.spent(),
                requester="build" if self.approvals else None,
                period=self.period,
                anchor=ANCHOR,
            )
        )

    def signature(self, index):
        named = evidence_notation(self.parsed.origin, self.log.signer.verifier.name, index)
        return sign(self.key, self.content, self.signature_created or self.created, self.changed_notations((named,)))

    def summary(self, decision, index, raw):
        # A tier that the policy does not have has no rule to tell of.
        known = msgspec.structs.replace(decision, tier=self.parsed.tier_of(self.release).name)
        return summary_envelope(LoggedDecision(index, known, raw), self.parsed, self.sealed_by)

    def signed(self, decision, index, signature, summary):
        return self.changed_signed(
            SignatureEntry(
                request=decision.request,
                release=decision.release.id,
                sha256=decision.artifact.sha256,
                decision=index,
                signature=hashlib.sha256(signature).hexdigest(),
                key=release_key(self.key).certificate.fingerprint,
                summary=hashlib.sha256(summary).hexdigest(),
                anchor=ANCHOR,
            )
        )

    def bundle(self):
        received = received_entries(
            (name, payload, hashlib.sha256(body).digest(), self.release.id) for name, payload, body, _ in self.weighed
        )
        log = replace(self.log, entries=(*self.log.entries, *map(encode_entry, received)))
        decision = self.decision()
        log, index, raw = appended(log, seal_entry(decision, self.sealed_by))
        signature = self.signature(index)
        summary = self.changed_summary(self.summary(decision, index, raw))
        signed = self.signed(decision, index, signature, summary)
        log = replace(log, entries=(*log.entries, b"one between"))
        log, last, _ = appended(log, seal_entry(signed, self.signed_sealed_by or self.sealed_by))
        return Bundle(
            release=bundled_release(self.release),
            artifact=self.artifact(),
            policy=self.policy,
            evidence=self.dossier[0].raw,
            envelopes=tuple(body for _, _, body, _ in self.weighed),
            withdrawals=self.withdrawals,
            signature=signature,
            decision=log.logged(index),
            signed=log.logged(last),
            summary=summary,
            manifests=tuple({each.manifest for each in self.approvals} - {None}),
        )


def flips(raw, start, end, bits=8):
    """(byte, *raw* with one bit of that byte changed), so many bits of each byte from *start* up to before *end*, in turn all."""
    for at in range(start, end):
        for bit in range(at, at + bits):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit % 8
            yield at, bytes(changed)


def appended(log, entry):
    """The longer log, where the entry stands in it, and the entry."""
    return replace(log, entries=(*log.entries, entry)), len(log.entries), entry


def sign(key, content, created, notations):
    """A detached signature by a key in software."""
    made = release_key(key)
    hasher = hashlib.sha512(content)
    draft = draft_signature(
        made.certificate,
        created=created,
        file_sha512=hasher.digest(),
        notations=tuple(Notation(*each) for each in notations),
    )
    return draft.seal(made.device.sign(draft.digest(hasher)), hasher)


def measured(content):
    return MeasuredFile(len(content), hashlib.sha256(content).digest(), hashlib.sha512(content).digest())


def reader(content, key="ed25519"):
    """What the command line gives the check: a signature verified over the file with the given certificate."""

    def read(signature):
        said = verify_signature(release_key(key).certificate, signature, hashlib.sha512(content))
        return OpenPgpFacts(said.created, said.issuer, tuple((each.name, each.value) for each in said.notations))

    return read


def checked(bundle, *, content=CONTENT, policy=None, key="ed25519", log_key=None):
    """The check with everything given from outside as it should be, or otherwise."""
    given = parsed(policy if policy is not None else policy_file())
    return check_bundle(
        bundle,
        file=measured(content),
        policy=given,
        log_key=log_key or log_signer(ORIGIN).verifier,
        openpgp=reader(content, key),
        approvals=Approvers().verify,
    )
