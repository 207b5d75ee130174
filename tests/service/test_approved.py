"""From what two people sign with their own gpg and ssh-keygen to a bundle that is checked offline, over the real parts."""

import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from attestor.anchor.auditbook import FileAuditBook
from attestor.app.clock import now
from attestor.app.offline import Given, Holds, verify_files
from attestor.core.approvaldocuments import NAMESPACE, ApprovalDocument, encode_approval
from attestor.core.approvals import Given as Approval
from attestor.core.approvals import rules_digest
from attestor.core.bundle import encode_bundle, read_bundle
from attestor.core.entries import moment_text
from attestor.core.entrybytes import read_entry
from attestor.core.errors import Rejected
from attestor.embedded.device import emulator
from attestor.openpgp.approvers import Approvers
from attestor.service.audit import audit
from attestor.service.auditports import Auditor
from attestor.store.listen import Listener
from attestor.store.log import PostgresLog
from tests.approvers import approver_table, key_table, manifest_of
from tests.core.test_sshsig import SshKeygen
from tests.edges.hsm.nodes import Running
from tests.gnupg import Keyring, gnupg_home
from tests.logkeys import log_signer
from tests.service.loghouse import caught_up, following
from tests.service.makers import BUILDER, ORIGIN, asking, make_policy, package, payload_digest, vote, withdrawal
from tests.service.signers import device_of, make_certificates, make_signing, sign_next

GOOD, OTHER = b"the package", b"another package"
PAIR = (package().id, hashlib.sha256(GOOD).hexdigest())
MANIFEST = manifest_of(PAIR, ("0" * 64, "1" * 64))


@pytest.fixture(scope="module")
def keyring(tool):
    with gnupg_home(tool) as home:
        keyring = Keyring(tool("gpg"), home)
        keyring.key("anna", life="never")
        yield keyring


@pytest.fixture(scope="module")
def ssh_keygen(tool, tmp_path_factory):
    made = SshKeygen(tool("ssh-keygen"), tmp_path_factory.mktemp("ssh"))
    made.make("bert", "ed25519")
    return made


@pytest.fixture(scope="module")
def people(keyring, ssh_keygen):
    return keyring, ssh_keygen


@pytest.fixture(scope="module")
def policy(people):
    """Anna approves with gpg, Bert with ssh-keygen; two let a disputed package through."""
    keyring, ssh_keygen = people
    anna, bert = keyring.made["anna"], ssh_keygen.run("-lf", "bert.pub").stdout.decode().split()[1]
    tables = (
        approver_table("anna", key_table("anna", form="openpgp", text=keyring.export(anna), mark=anna)),
        approver_table("bert", key_table("bert", text=ssh_keygen.public("bert").strip(), mark=bert)),
    )
    return make_policy(rules={"approvals": "{ hours = 24, dispute = 2 }"}, approvers="".join(tables))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def emulated(tmp_path_factory):
    async with emulator(tmp_path_factory.mktemp("hsm"), flags=("--faults",)) as started:
        running = Running(started).set_up()
        yield running, await make_certificates(running)


@pytest_asyncio.fixture
async def signing(ground, emulated, folder, policy):
    assert folder.is_dir()
    running, certificates = emulated
    device = device_of(running.node())
    made = make_signing(
        await ground.pool("attestor_signer"), Listener(), device, certificates, ground.folder, policy=policy
    )
    async with following(made.past):
        yield made
    device.close()


def document(policy, **what):
    at = now()
    return ApprovalDocument(
        origin=ORIGIN,
        action="dispute",
        tier="packages",
        rules=rules_digest(policy.tier_of(package()), policy),
        reason=hashlib.sha256(b"Carol's clock was wrong.").hexdigest(),
        not_before=moment_text(at - timedelta(minutes=5)),
        until=moment_text(at + timedelta(hours=1)),
        nonce="0" * 32,
        **what,
    )


async def taken_in(ground, policy, given):
    """As the API keeps an approval whose signature it verified."""
    if given.manifest is not None:
        await ground.sql("INSERT INTO approval_manifests VALUES (sha256($1::bytea), $1)", given.manifest)
    await ground.sql(
        "INSERT INTO approvals (document_sha256, approver, key, action, tier, document, signature, reason, manifest, until) "
        "VALUES ($1, $2, $3, 'dispute', 'packages', $4, $5, 'x', sha256($6::bytea), now() + interval '1 hour')",
        given.digest,
        policy.approver_keys[given.key].approver,
        given.key,
        given.document,
        given.signature,
        given.manifest,
    )
    pair = map(bytes.fromhex, PAIR)
    await ground.sql(
        "INSERT INTO approval_pairs (approval, release_id, sha256) VALUES ($1, $2, $3)", given.digest, *pair
    )


async def approve(ground, policy, people, request):
    """Anna approves a manifest, Bert this very request."""
    keyring, ssh_keygen = people
    anna = keyring.made["anna"]
    (bert,) = policy.approver_keys.keys() - {anna}
    by_manifest = encode_approval(document(policy, manifest=hashlib.sha256(MANIFEST).hexdigest()))
    signature = keyring.sign(anna, document=by_manifest, at=now())
    await taken_in(ground, policy, Approval(anna, by_manifest, signature, MANIFEST))
    this_one = encode_approval(document(policy, request=str(request), release=PAIR[0], digest=PAIR[1]))
    await taken_in(ground, policy, Approval(bert, this_one, ssh_keygen.sign("bert", this_one, NAMESPACE)))


@pytest_asyncio.fixture
async def gate(ground, policy):
    return await ground.gate(policy)


async def approved_request(ground, gate, policy, people):
    """Of a release that Carol disputes and two people approved."""
    (ground.folder / "files" / package().file_name).write_bytes(GOOD)
    await gate.admit(vote(package(), GOOD, "alice", "bob"))
    await gate.admit(vote(package(), OTHER, "carol"))
    opened, _ = await gate.ask(BUILDER, asking(package(), GOOD))
    assert (opened.state, opened.reason) == ("waiting", "disputed")
    await approve(ground, policy, people, opened.id)
    await queued(ground)


async def queued(ground):
    await ground.sql("UPDATE signing_requests SET state = 'queued', not_before = clock_timestamp()")


@pytest_asyncio.fixture
async def approved(ground, gate, policy, people, signing):
    """The bundle of a release that was signed so."""
    await approved_request(ground, gate, policy, people)
    await sign_next(signing)
    await ground.settled()
    return await gate.bundle(package().id)


@pytest.fixture
def verified(policy, emulated, tmp_path):
    """What `attestor verify` comes to over a bundle's bytes and the files that it is given."""
    contents = {
        "file": GOOD,
        "policy.toml": policy.raw,
        "log.vkey": log_signer(ORIGIN).verifier.text.encode(),
        "release.pgp": emulated[1]["packages"],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)

    def verify(raw):
        (tmp_path / "bundle").write_bytes(raw)
        paths = (tmp_path / name for name in ("bundle", *contents))
        return verify_files(Given(*paths), lambda _count: None)

    return verify


def without_approval(raw, number):
    """The bundle with one approval out of its evidence."""
    bundle = read_bundle(raw)
    evidence = json.loads(bundle.evidence)
    del evidence["approvals"][number]
    changed = json.dumps(evidence, sort_keys=True, separators=(",", ":")).encode()
    return encode_bundle(replace(bundle, evidence=changed))


@pytest.mark.required_in_ci
async def test_a_dispute_that_two_people_overruled_is_signed_and_checked_by_strangers(  # noqa: PLR0917 - fixtures
    approved, verified, ground, gate, policy, tmp_path
):
    outcome = verified(approved)
    assert isinstance(outcome, Holds), outcome
    said = {check.name: check.sentence for check in outcome.checks}
    assert "dispute by anna, bert" in said["approvals"]
    assert "build-service, who asked" in said["approvals"]

    decision = read_entry(read_bundle(approved).decision.entry)
    assert sorted(spent.approver for spent in decision.approvals) == ["anna", "bert"]
    assert {vote.operator for vote in decision.counted} == {"alice", "bob"}
    for number in (0, 1):
        assert verified(without_approval(approved, number)).code == "bundle-evidence"
    assert verified(encode_bundle(replace(read_bundle(approved), manifests=()))).code == "bundle-manifests"

    with FileAuditBook.opened(tmp_path / "book", policy.log.key.name) as book:
        source = PostgresLog(await ground.pool())
        waits = await audit(
            Auditor(source, Served(gate), book, {policy.digest: policy}, Approvers().verify), lambda *_: None
        )
        assert (waits, [(each.index, each.code) for each in book.findings(9)]) == (None, [])
        assert book.judged() == 5


class Served:
    """What the API gives out."""

    def __init__(self, gate):
        self._gate = gate

    async def envelope(self, release_id, operator, payload):
        return await self._gate.envelope(release_id, payload, operator)

    async def bundle(self, release_id, digest):
        return await self._gate.bundle(release_id, digest)


class Interrupted:
    """A signer whose place at the HSM comes only after something else has happened."""

    def __init__(self, signer, happens):
        self._signer = signer
        self._happens = happens

    def __getattr__(self, name):
        return getattr(self._signer, name)

    @asynccontextmanager
    async def slot(self, lane):
        async with self._signer.slot(lane) as pen:
            await self._happens()
            yield pen


@pytest.mark.required_in_ci
async def test_a_dispute_that_ends_before_the_signature_is_decided_anew_without_approvals(  # noqa: PLR0917 - fixtures
    ground, gate, policy, people, signing, verified
):
    async def carol_takes_it_back():
        await gate.admit(withdrawal(package(), payload_digest(package(), OTHER), "carol"))
        await caught_up(ground, signing.past)

    await approved_request(ground, gate, policy, people)
    interrupted = {name: Interrupted(signer, carol_takes_it_back) for name, signer in signing.signers.items()}
    await sign_next(replace(signing, signers=interrupted))
    [row] = await ground.sql("SELECT state, reason FROM signing_requests")
    assert (row["state"], row["reason"]) == ("waiting", "decision-void")

    await queued(ground)
    await sign_next(signing)
    await ground.settled()
    outcome = verified(await gate.bundle(package().id))
    assert isinstance(outcome, Holds), outcome
    assert "approvals" not in {check.name for check in outcome.checks}


@pytest.mark.required_in_ci
async def test_an_approval_has_to_hold_when_it_is_decided_and_not_only_when_it_was_first_seen(
    ground, gate, policy, people, signing
):
    seen = set()

    def lapsing(key, signature, signed, at):
        if signed in seen and key.approver == "anna":
            raise Rejected("approval-signature", "It was valid until a moment ago.")
        seen.add(signed)
        Approvers().verify(key, signature, signed, at)

    await approved_request(ground, gate, policy, people)
    await sign_next(replace(signing, verify_approval=lapsing))
    [row] = await ground.sql("SELECT state, reason FROM signing_requests")
    assert (row["state"], row["reason"], len(seen)) == ("waiting", "disputed", 2)
    assert await ground.owner.fetchval("SELECT count(*) FROM log_outbox WHERE kind = 'decision'") == 0
