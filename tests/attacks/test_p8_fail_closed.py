"""P8: what is missing, unreadable or inconsistent means no signature, with a reason."""

import shutil

import msgspec
import pytest

from attestor.anchor import anchorfile
from attestor.anchor.anchorfile import make_anchor, read_anchor
from attestor.anchor.memory import FileMemory
from attestor.core.algorithm import Algorithm
from attestor.core.errors import Halted, Unavailable
from attestor.core.tlog.checkpoint import Checkpoint, sign_checkpoint
from attestor.core.tlog.merkle import EMPTY_ROOT
from attestor.core.tlog.note import NoteSigner
from attestor.service.past import Past
from attestor.store.listen import Listener
from attestor.store.log import PostgresLog
from tests.attacks.conftest import GOOD
from tests.edges.store.emptying import tamper
from tests.service.loghouse import following, past_over
from tests.service.makers import BUILDER, asking, make_policy, package, vote
from tests.service.signers import device_of, make_signing, sign_next

BROKEN = {
    "no table of envelopes": "ALTER TABLE envelopes RENAME TO gone",
    "no table of signed digests": "ALTER TABLE signed_digests RENAME TO gone",
    "no right to read withdrawals": "REVOKE SELECT ON withdrawals FROM attestor_signer",
}
MENDED = {
    "no table of envelopes": "ALTER TABLE gone RENAME TO envelopes",
    "no table of signed digests": "ALTER TABLE gone RENAME TO signed_digests",
    "no right to read withdrawals": "GRANT SELECT ON withdrawals TO attestor_signer",
}


@pytest.mark.parametrize("fault", BROKEN)
async def test_nothing_is_signed_and_the_request_says_so_with(scene, fault):
    await scene.queued()
    await scene.ground.sql(BROKEN[fault])
    try:
        await scene.sign()
        state, reason = await scene.standing()
    finally:
        await scene.ground.sql(MENDED[fault])
    assert (state, reason) == ("queued", "database-refused")
    assert await scene.signatures() == 0


async def test_a_claim_whose_row_cannot_be_is_not_shown_and_nothing_is_decided_from_it(scene):
    await scene.gate.admit(vote(package(), GOOD, "alice"))
    await scene.ground.sql("UPDATE releases SET file_name = 'another-1-1-any.pkg.tar.zst'")
    for reading in (scene.gate.release(package().id), scene.gate.ask(BUILDER, asking(package(), GOOD))):
        with pytest.raises(Unavailable) as caught:
            await reading
        assert caught.value.code == "row-unreadable"


def _other_log(place):
    """The anchor of a signer that follows another log, in the place of this one's."""
    text = Checkpoint("other.example/log", 1, b"\1" * 32)
    anchor = read_anchor(place.parent)
    other = msgspec.structs.replace(anchor, size=1, root=text.root.hex(), note=sign_checkpoint(text, OTHER_LOG))
    place.write_bytes(anchorfile._encode(other))


def _other_anchor(place):
    shutil.rmtree(place.parent)
    place.parent.mkdir(mode=0o700)
    make_anchor(place.parent, 0, EMPTY_ROOT)


def _flipped(place):
    raw = bytearray(place.read_bytes())
    raw[len(raw) // 2] ^= 1
    place.write_bytes(raw)


OTHER_LOG = NoteSigner.create("other.example/log", b"\2" * 32)
ANCHORS = {
    "deleted": (lambda place: place.unlink(), "anchor-missing", "anchor-missing"),
    "deleted with its folder": (lambda place: shutil.rmtree(place.parent), "anchor-missing", "anchor-missing"),
    "empty": (lambda place: place.write_bytes(b""), "anchor-unreadable", "anchor-unreadable"),
    "cut short": (
        lambda place: place.write_bytes(place.read_bytes()[:-1]),
        "anchor-unreadable",
        "anchor-unreadable",
    ),
    "one bit another": (_flipped, "anchor-unreadable", "anchor-unreadable"),
    "open to others": (lambda place: place.chmod(0o644), "anchor-open", "anchor-open"),
    # A signer that starts with it meets what the former one has sealed.
    "made anew": (_other_anchor, "anchor-replaced", "other-signer"),
}


@pytest.mark.parametrize(("spoil", "code", "afterwards"), ANCHORS.values(), ids=ANCHORS)
async def test_nothing_is_signed_with_an_anchor_that_is(scene, spoil, code, afterwards):
    await scene.queued()
    await scene.aware()
    spoil(scene.ground.folder / "anchor" / anchorfile.NAME)
    await scene.halts(code)
    await scene.follower_halts(code)
    with pytest.raises(Halted) as restarted:
        await _restarted(scene)
    assert restarted.value.code == afterwards


async def test_nothing_is_signed_with_the_anchor_of_another_log(scene, impatient):
    await scene.queued()
    await scene.aware()
    _other_log(scene.ground.folder / "anchor" / anchorfile.NAME)
    await scene.follower_halts("anchor-unreadable")
    calls = scene.running.operations(Algorithm.ED25519)
    with pytest.raises(Halted, match="anchor-unreadable"):
        await scene.sign()
    assert await scene.standing() == ("queued", "anchor-unreadable")
    assert (scene.running.operations(Algorithm.ED25519), await scene.signatures()) == (calls, 0)
    with pytest.raises(Halted, match="anchor-unreadable"):
        await _restarted(scene)


async def _restarted(scene):
    """Follow the log as a signer does that begins now."""
    policy = make_policy()
    pool = await scene.ground.pool("attestor_signer")
    async with FileMemory.opened(scene.ground.folder / "anchor", policy.log.key.name) as memory:
        await Past(PostgresLog(pool), memory, policy, alone=True).follow()


async def test_two_signers_with_an_anchor_each_and_no_witness_halt_each_other(scene, device, tmp_path):
    """Each could sign another digest before it reads of the other's."""
    await scene.queued()
    await scene.aware()
    [state] = await scene.ground.sql("SELECT size, root FROM log_state")
    own = tmp_path / "second" / "anchor"
    own.parent.mkdir()
    make_anchor(own, state["size"], state["root"])
    pool = await scene.ground.pool("attestor_signer")
    made = device_of(device[0].node())
    past = past_over(pool, own.parent, make_policy())
    second = make_signing(pool, Listener(), made, device[1], scene.ground.folder, past=past)
    async with following(past):
        await sign_next(second)
        await scene.follower_halts("other-signer")
    made.close()
    await scene.queued(package("next"))
    with pytest.raises(Halted):
        await scene.signing.past.follow()


async def test_a_checkpoint_by_another_key_halts_the_signer(scene):
    await scene.queued()
    await scene.aware()
    [row] = await scene.ground.sql("SELECT size, root FROM log_checkpoints ORDER BY size DESC LIMIT 1")
    key = make_policy().log.key.name
    note = sign_checkpoint(Checkpoint(key, row["size"], row["root"]), NoteSigner.create(key, b"\3" * 32))
    await tamper(scene.ground.owner, "UPDATE log_checkpoints SET note = $1 WHERE size = $2", note, row["size"])
    await scene.follower_halts("log-signature")


REWRITTEN = {
    "a leaf": ("log-rewritten", "UPDATE log_entries SET leaf = sha256('x') WHERE idx = 0"),
    "an entry that is gone": ("log-gap", "DELETE FROM log_entries WHERE idx = 0"),
    "a leaf's place": ("log-gap", "UPDATE log_entries SET idx = 1000 WHERE idx = 0"),
}


@pytest.mark.parametrize(("code", "statement"), REWRITTEN.values(), ids=REWRITTEN)
async def test_the_device_is_not_asked_when_the_log_cannot_prove_the_decision_for(scene, code, statement):
    await scene.queued()
    await scene.aware()
    await tamper(scene.ground.owner, statement)
    calls = scene.running.operations(Algorithm.ED25519)
    with pytest.raises(Halted) as raised:
        await scene.sign()
    assert raised.value.code == code
    assert await scene.standing() == ("queued", code)
    assert (scene.running.operations(Algorithm.ED25519), await scene.signatures()) == (calls, 0)
