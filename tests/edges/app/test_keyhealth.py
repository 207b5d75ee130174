"""What an API process says of release keys, with nothing but their certificates: readiness, metrics, warnings."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import structlog
from prometheus_client import CollectorRegistry, generate_latest

from attestor.api.metrics import Metrics, Standing
from attestor.app.canaries import check
from attestor.app.keyhealth import KeyHealth
from attestor.core.canary import CANARY, canary_notation
from attestor.core.wire import CanaryList, CanaryView
from attestor.openpgp.signature import Notation, draft_signature
from attestor.service.keyports import Canary, KeyStanding
from tests.edges.openpgp.softkeys import release_key
from tests.service.makers import ORIGIN, make_policy

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
OURS, OTHER = release_key("ed25519"), release_key("p256")
POLICY = make_policy(valid_until={"bob": "2026-03-20T00:00:00Z", "carol": "2026-02-01T00:00:00Z"}, revoked=("carol",))
LOG = POLICY.log.key.name


def signed(key=OURS, *, ago=DAY, content=CANARY, notation=None):
    hasher = hashlib.sha512(content)
    notations = (Notation(*(notation or canary_notation(ORIGIN, LOG, 7))),)
    draft = draft_signature(key.certificate, created=NOW - ago, file_sha512=hasher.digest(), notations=notations)
    return draft.seal(key.device.sign(draft.digest(hasher)), hasher)


def canary(key=OURS, of=None, **how):
    return Canary((of or key).certificate.fingerprint, 7, NOW, signed(key, **how))


def standing(key=OURS, **changes):
    known = KeyStanding("packages", key.certificate.fingerprint, key.raw, 12, 10, stopped=False)
    return replace(known, **changes)


class Ledger:
    def __init__(self, keys, canaries):
        self.keys, self.made = keys, canaries

    async def release_keys(self):
        return self.keys

    async def canaries(self):
        return self.made


def health(keys, canaries, *, pinned=None, configured=True):
    section = SimpleNamespace(interval_seconds=86400.0) if configured else None
    keys_of = {"packages": SimpleNamespace(certificate_fingerprint=pinned)}
    config = SimpleNamespace(canary=section, signing_keys=keys_of)
    return KeyHealth(Ledger(keys, canaries), config, SimpleNamespace(policy=POLICY), lambda: NOW)


READY = {
    "it was made yesterday": ([standing()], [canary()], "1 keys signed; the oldest is 86400 s old"),
    "it is two intervals old": ([standing()], [canary(ago=2 * DAY)], "the oldest is 172800 s old"),
    "the signer's clock is a little ahead": ([standing()], [canary(ago=timedelta(seconds=-4))], "0 s old"),
}
NOT_READY = {
    "no signer has told of the key": ([], [], "packages: no canary was made yet"),
    "none was made": ([standing()], [], "packages: no canary was made yet"),
    "it is older than two intervals": ([standing()], [canary(ago=timedelta(seconds=172801))], "is 172801 s old"),
    "it is of tomorrow": ([standing()], [canary(ago=-DAY)], "has not come yet"),
    "another key made it": ([standing()], [canary(OTHER, of=OURS)], "not by the key"),
    "it is of other bytes": ([standing()], [canary(content=b"a package")], "The file's SHA-512"),
    "it is a release's notation": (
        [standing()],
        [canary(notation=(f"log-entry@{ORIGIN}", f"{LOG} 7"))],
        "canary@ORIGIN",
    ),
    "another instance made it": ([standing()], [canary(notation=canary_notation("x.example", LOG, 7))], "of x.example"),
    "it stands in another log": ([standing()], [canary(notation=canary_notation(ORIGIN, "x/log", 7))], "logged in x/log"),
    "the signature is spoilt": ([standing()], [replace(canary(), signature=b"\xc2\x00")], "openpgp"),
    "the database shows another certificate": (
        [standing(certificate=OTHER.raw)],
        [canary()],
        "not the one that the deployment file pins",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READY)
async def test_the_canary_is_ready_where(case):
    keys, canaries, said = READY[case]
    part = await health(keys, canaries, pinned=OURS.certificate.fingerprint).canary()
    assert (part.part, part.ready) == ("canary", True)
    assert said in part.detail


@pytest.mark.parametrize("case", [name for name in NOT_READY if name != "the signature is spoilt"])
async def test_the_canary_is_not_ready_where(case):
    keys, canaries, said = NOT_READY[case]
    part = await health(keys, canaries).canary()
    assert (part.part, part.ready) == ("canary", False)
    assert said in part.detail, part.detail


async def test_a_spoilt_signature_is_no_canary():
    part = await health([standing()], [replace(canary(), signature=b"\xc2\x00")]).canary()
    assert not part.ready


async def test_a_lying_database_cannot_bring_a_key_of_its_own_where_the_fingerprint_is_pinned():
    lie = [standing(OTHER)], [canary(OTHER)]
    assert (await health(*lie).canary()).ready
    part = await health(*lie, pinned=OURS.certificate.fingerprint).canary()
    assert not part.ready
    assert "pins" in part.detail


async def test_a_deployment_without_canary_says_so():
    part = await health([], [], configured=False).canary()
    assert (part.ready, part.detail) == (True, "there is none")


async def shown(keys, canaries, **how):
    async def others():
        return Standing(
            signers=(), policy_serial=1, policy_digest="", size=0, published=0, backlog_seconds=0, refused=0
        )

    metrics = Metrics(CollectorRegistry())
    metrics.stands(await health(keys, canaries, **how).with_keys(others)())
    return generate_latest(metrics.registry).decode().splitlines()


async def test_metrics_show_ages_ends_and_counts():
    lines = await shown([standing(stopped=True)], [canary()])
    assert 'attestor_canary_age_seconds{key="packages"} 86400.0' in lines
    assert 'attestor_certificate_expiry_seconds{key="packages"} +Inf' in lines
    assert 'attestor_hsm_counted{key="packages"} 12.0' in lines
    assert 'attestor_hsm_operations{key="packages"} 10.0' in lines
    assert 'attestor_hsm_key_stopped{key="packages"} 1.0' in lines
    ends = [line for line in lines if line.startswith("attestor_key_expiry_seconds")]
    left = (datetime(2026, 3, 20, tzinfo=UTC) - NOW).total_seconds()
    assert {float(line.rpartition(" ")[2]) for line in ends if 'name="bob"' in line} == {left}
    assert not any('name="carol"' in line for line in ends), "revoked"


async def test_metrics_show_how_long_nobody_has_looked_at_the_count():
    lines = await shown([standing(at=NOW - timedelta(seconds=90))], [])
    assert 'attestor_hsm_read_age_seconds{key="packages"} 90.0' in lines


async def test_a_key_that_the_deployment_has_no_more_alarms_nobody():
    gone = standing(name="retired", stopped=True)
    lines = await shown([standing(), gone], [canary()])
    assert any('key="packages"' in line for line in lines)
    assert not any('key="retired"' in line for line in lines)


async def test_what_does_not_verify_has_no_age():
    lines = await shown([standing()], [canary(content=b"a package")])
    assert not any(line.startswith("attestor_canary_age_seconds{") for line in lines)


async def test_a_key_that_ends_within_thirty_days_is_warned_of():
    with structlog.testing.capture_logs() as said:
        assert await health([standing()], []).warn_of_ends() is False
    assert [(line["event"], line["role"], line["name"], line["days"]) for line in said] == [
        ("key ends", "operator", "bob", 18)
    ]


CHECKS = {
    "it was made in time": (canary(), None),
    "it is too old": (canary(ago=3 * DAY), "canary-old"),
    "it is of tomorrow": (canary(ago=-DAY), "canary-old"),
    "it is of other bytes": (canary(content=b"a package"), "signature-digest"),
    "it is a release's": (canary(notation=(f"log-entry@{ORIGIN}", f"{LOG} 7")), "canary-notation"),
    "another key made it": (canary(OTHER, of=OURS), "signature-issuer"),
    "there is none of this key": (canary(OTHER), "canary-missing"),
}


@pytest.mark.parametrize("case", CHECKS)
def test_from_outside_the_certificate_says_whether(case, tmp_path):
    made, code = CHECKS[case]
    (tmp_path / "key.pgp").write_bytes(OURS.raw)
    view = CanaryView(key=made.key_fingerprint, created=NOW, entry=99, signature=made.signature)
    # What is given out beside the signatures is not believed.
    given = CanaryList(content=b"something else", canaries=(view,))
    found = check(given, tmp_path / "key.pgp", now=NOW, oldest=2 * DAY)
    assert (found.problem.code if found.problem else None) == code
    assert found.key == OURS.certificate.fingerprint
    if code is None:
        assert (found.created, found.origin, found.entry) == (NOW - DAY, ORIGIN, 7)
