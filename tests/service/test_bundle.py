"""What the service makes of the database's parts and the log: a bundle that a stranger's check accepts, or a reason."""

import hashlib
from dataclasses import replace

import pytest

from attestor.core.bundle import read_bundle
from attestor.core.errors import Missing, Unavailable
from attestor.core.tlog.cosignature import cosign
from attestor.core.tlog.tlogproof import parse_tlog_proof
from attestor.service.bundle import bundle
from attestor.service.logports import Archived
from tests.approvers import approval, given, manifest_of
from tests.bundles import CONTENT, ORIGIN, Making, checked, measured, parsed, policy_file
from tests.logkeys import log_signer, witness_signer
from tests.memorylog import MemoryLog
from tests.service.makers import package, vote, withdrawal

MADE = Making()
RULED = policy_file(rules="approvals = { hours = 24, release = 1 }", approvers=("anna",))
MANIFEST = manifest_of((package().id, hashlib.sha256(CONTENT).hexdigest()), ("0" * 64, "1" * 64))
APPROVED = Making(
    policy=RULED,
    approvals=(
        given(
            "anna",
            approval("release", package(), hashlib.sha256(CONTENT).hexdigest(), parsed(RULED), manifest=MANIFEST),
            manifest=MANIFEST,
        ),
    ),
)
WITNESSED = policy_file(witnesses={"w": "https://w.example"}, quorum=1)


class Kept:
    """An Archive of one release."""

    def __init__(self, archived):
        self.archived = archived

    async def signed(self, release_id, sha256):
        asked = release_id == package().id and sha256 in {None, self.archived.sha256}
        return self.archived if asked else None


def kept(made=MADE, **changes):
    """What a database holds of what the bundle was made of, and a log of 300 entries in which its entries stand."""
    parts = made.bundle()
    bodies = (parts.policy, parts.evidence, parts.summary, *parts.manifests)
    digest = {body: measured(body).sha256 for body in bodies}
    index, last = 6, 299
    entries = [b"entry %d" % number for number in range(300)]
    assert parse_tlog_proof(parts.decision.proof).index == index
    entries[index], entries[last] = parts.decision.entry, parts.signed.entry
    found = measured(CONTENT)
    archived = Archived(
        signature=parts.signature,
        size=found.size,
        sha256=found.sha256,
        sha512=found.sha512,
        decision=(index, parts.decision.entry),
        signed=(last, parts.signed.entry),
        documents={sha256: body for body, sha256 in digest.items()},
        envelopes=parts.envelopes,
        withdrawals=parts.withdrawals,
    )
    return Kept(replace(archived, **changes)), MemoryLog(entries, log_signer(ORIGIN))


async def test_it_is_one_that_the_check_accepts():
    archive, log = kept()
    made = read_bundle(await bundle(package().id, None, archive, log))
    assert checked(made)
    assert parse_tlog_proof(made.signed.proof).index == 299


async def test_the_same_log_gives_the_same_bytes():
    archive, log = kept()
    assert await bundle(package().id, None, archive, log) == await bundle(package().id, None, archive, log)


async def test_the_log_may_have_grown_meanwhile():
    archive, log = kept()
    log.grow([b"later"] * 500)
    assert checked(read_bundle(await bundle(package().id, None, archive, log)))


async def test_what_came_after_the_decision_is_no_part_of_it():
    archive, log = kept(
        envelopes=(*MADE.bundle().envelopes, vote(package(), b"late", "bob")),
        withdrawals=(withdrawal(package(), bytes(32), "bob"),),
    )
    made = read_bundle(await bundle(package().id, None, archive, log))
    assert (len(made.envelopes), made.withdrawals) == (2, ())
    assert checked(made)


async def test_cosignatures_of_witnesses_whom_its_policy_names_stay_and_others_go():
    archive, log = kept(Making(policy=WITNESSED))
    text = log.checkpoint_at(300).text
    log.note = await log.checkpoint()
    for name in ("stranger", "w", "other"):
        log.note += f"{cosign(text, witness_signer(name), 1_772_366_400)}\n".encode()
    made = read_bundle(await bundle(package().id, None, archive, log))
    assert checked(made, policy=WITNESSED)
    assert parse_tlog_proof(made.signed.proof).checkpoint.count("— ".encode()) == 2


async def test_a_manifest_that_an_approval_names_comes_along():
    archive, log = kept(APPROVED)
    made = read_bundle(await bundle(package().id, None, archive, log))
    assert made.manifests == (MANIFEST,)
    assert "approvals" in {check.name for check in checked(made, policy=RULED)}


async def test_a_lost_manifest_is_the_operator_s_to_restore():
    archive, log = kept(APPROVED)
    del archive.archived.documents[hashlib.sha256(MANIFEST).digest()]
    with pytest.raises(Unavailable) as caught:
        await bundle(package().id, None, archive, log)
    assert caught.value.code == "bundle-incomplete"
    assert hashlib.sha256(MANIFEST).hexdigest() in caught.value.sentence


async def test_what_is_not_signed_has_none():
    archive, log = kept()
    with pytest.raises(Missing) as caught:
        await bundle("0" * 64, None, archive, log)
    assert caught.value.code == "not-signed"


class Silent(MemoryLog):
    async def checkpoint(self):
        return None


SAME = lambda log: log
LOST = {
    "every document": ({"documents": {}}, SAME),
    "an attestation": ({"envelopes": MADE.bundle().envelopes[:1]}, SAME),
    "the decision entry": ({"decision": (299, MADE.bundle().signed.entry)}, SAME),
    "a readable entry": ({"signed": (299, b"{}")}, SAME),
    "the evidence": ({"documents": {measured(MADE.policy).sha256: MADE.policy}}, SAME),
    "the policy's sense": ({"documents": {measured(MADE.policy).sha256: b"serial = 1"}}, SAME),
    "the checkpoint": ({}, lambda _log: Silent()),
    "the log's own signature": ({}, lambda log: MemoryLog(log.stored)),
    "the end of the log": ({}, lambda log: MemoryLog(log.stored[:299], log.signer)),
}


@pytest.mark.parametrize(("changes", "other"), LOST.values(), ids=LOST.keys())
async def test_a_lost_part_is_the_operator_s_to_restore(changes, other):
    archive, log = kept(**changes)
    with pytest.raises(Unavailable) as caught:
        await bundle(package().id, None, archive, other(log))
    assert caught.value.code == "bundle-incomplete"
    assert caught.value.sentence.isprintable()
