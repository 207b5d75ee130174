"""P10: what a signer decided, a stranger counts again and finds nothing: from the log, the attestations and the bundle alone."""

from types import SimpleNamespace

import pytest

from attestor.anchor.auditbook import FileAuditBook
from attestor.core.entrybytes import read_entry
from attestor.core.policyfile import parse_policy
from attestor.openpgp.approvers import Approvers
from attestor.service.audit import audit
from attestor.service.auditports import Auditor
from attestor.store.log import PostgresLog
from tests.attacks.conftest import GOOD
from tests.service.makers import BUILDER, _public_pem, asking, make_policy, package, payload_digest, vote, withdrawal
from tests.service.signers import under

P = package()
BEFORE = make_policy(dissent_limit=1)
REVOKED = make_policy(serial=2, dissent_limit=1, revoked=["alice-2"])
GONE = parse_policy(
    make_policy(serial=2, dissent_limit=1).raw.replace(_public_pem("alice-2").encode(), _public_pem("somebody").encode()),
    "policy.toml",
)  # fmt: skip
TOOK_BACK = withdrawal(P, payload_digest(P, GOOD), "alice-2")
AGAIN = withdrawal(P, payload_digest(P, GOOD), "alice")
OTHERS = vote(P, GOOD, "bob", "carol")
HISTORIES = {
    "a build that failed before it was built": (
        [vote(P, None, "alice"), vote(P, GOOD, "alice"), vote(P, GOOD, "bob")],
        BEFORE,
        {"alice": payload_digest(P, GOOD), "bob": payload_digest(P, GOOD)},
    ),
    "an attestation by a key that has left the policy, and the same bytes once more": (
        [vote(P, GOOD, "alice-2", log=b"first"), vote(P, GOOD, "alice"), vote(P, GOOD, "bob")],
        GONE,
        {"alice": payload_digest(P, GOOD), "bob": payload_digest(P, GOOD)},
    ),
    "a vote that a key took back which is revoked by now": (
        [vote(P, GOOD, "alice"), OTHERS, TOOK_BACK],
        REVOKED,
        {"bob": payload_digest(P, GOOD), "carol": payload_digest(P, GOOD)},
    ),
    "a vote that a key took back which has left the policy": (
        [vote(P, GOOD, "alice"), OTHERS, TOOK_BACK],
        GONE,
        {"bob": payload_digest(P, GOOD), "carol": payload_digest(P, GOOD)},
    ),
    "a vote that a key took back which is revoked by now, and a sound one again": (
        [vote(P, GOOD, "alice"), OTHERS, TOOK_BACK],
        REVOKED,
        {"bob": payload_digest(P, GOOD), "carol": payload_digest(P, GOOD)},
        AGAIN,
    ),
    "a vote that a key took back which has left the policy, and a sound one again": (
        [vote(P, GOOD, "alice"), OTHERS, TOOK_BACK],
        GONE,
        {"bob": payload_digest(P, GOOD), "carol": payload_digest(P, GOOD)},
        AGAIN,
    ),
}


def served(gate):
    async def envelope(release_id, operator, payload_digest):
        return await gate.envelope(release_id, payload_digest, operator)

    return SimpleNamespace(envelope=envelope, bundle=gate.bundle)


async def findings(scene, gate, folder):
    """What an auditor finds who has all policies."""
    policies = {policy.digest: policy for policy in (BEFORE, REVOKED, GONE)}
    source = PostgresLog(await scene.ground.pool())
    with FileAuditBook.opened(folder / "audit", BEFORE.log.key.name) as book:
        auditor = Auditor(source, served(gate), book, policies, Approvers().verify)
        assert await audit(auditor, lambda _done, _of: None) is None
        assert book.judged() == await scene.ground.owner.fetchval("SELECT count(*) FROM log_entries")
        return [(finding.code, finding.sentence) for finding in book.findings(10)]


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES)
async def test_a_stranger_comes_to_the_same_count_with(scene, tmp_path, history):
    comes, policy, counted, *later = history
    scene.place(P)
    before = await scene.ground.gate(BEFORE)
    for each in comes:
        await before.admit(each)
    gate = await scene.ground.gate(policy)
    await gate.reevaluate(10)
    for each in later:
        assert not (await gate.admit(each)).replay
    await gate.ask(BUILDER, asking(P, GOOD))
    scene.signing = under(scene.signing, BEFORE)
    await scene.aware()
    scene.signing = under(scene.signing, policy)
    await scene.sign()
    assert await scene.standing() == ("signed", "signed")
    await scene.caught_up()
    await scene.ground.settled()
    [row] = await scene.ground.sql("SELECT entry FROM log_entries WHERE kind = 'decision'")
    assert {each.operator: bytes.fromhex(each.payload) for each in read_entry(row["entry"]).counted} == counted
    assert await findings(scene, gate, tmp_path) == []
