"""Provisioning through the real SDK: an empty device, a half-done one, one that is otherwise."""

import asyncio
import hashlib

import nethsm
import pytest

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Forbidden, Rejected, Unavailable
from attestor.core.secret import Secret
from attestor.embedded.device import emulator
from attestor.hsm.device import Device, DeviceSettings
from attestor.hsm.keys import Login, SigningKey
from attestor.hsm.plan import CanaryPlan, Certificates, KeyPlan, NamespacePlan, Plan
from attestor.hsm.provision import new_passphrase, provision
from attestor.hsm.survey import status
from attestor.openpgp.certificate import draft_certificate, parse_certificate
from tests.edges.hsm.nodes import ADMIN, NOW, UNLOCK, Running, count_nowhere, whole_text

pytestmark = pytest.mark.asyncio(loop_scope="module")
CERTIFICATES = Certificates(draft_certificate, parse_certificate)
NS_ADMIN = "the passphrase of a namespace's admin"
OPERATOR = "the passphrase of the operator"


def key_plan(algorithm=Algorithm.ED25519, **changes):
    name = f"release-{algorithm}"
    values = {"key_id": name, "operator": f"signs-{algorithm}", "tag": name, "user_id": "Release <r@example.org>"}
    bits = 2048 if algorithm is Algorithm.RSA else None
    return KeyPlan(**(values | {"algorithm": algorithm, "passphrase": Secret(OPERATOR), "rsa_bits": bits} | changes))


def namespace_plan(name, *keys, **changes):
    values = {"name": name, "administrator": "admin", "passphrase": Secret(NS_ADMIN), "keys": keys or (key_plan(),)}
    return NamespacePlan(**values | changes)


def plan_of(*namespaces, admin=ADMIN, unattended=True):
    return Plan(Secret(UNLOCK), Secret(admin), unattended, namespaces)


def run(node, plan, **more):
    return provision(node.node(answer_seconds=30), plan, CERTIFICATES, **{"now": NOW, "production": False} | more)


async def look(node, name):
    logins = {name: Login(f"{name}~admin", Secret(NS_ADMIN))}
    return (await status(node.node(), Secret(ADMIN), logins, production=False)).surveyed[name]


async def test_an_empty_device_becomes_one_that_signs_with_each_key_and_the_next_run_changes_nothing(tmp_path):
    plan = plan_of(namespace_plan("packages", *(key_plan(each) for each in Algorithm)), namespace_plan("databases"))
    async with emulator(tmp_path / "device", flags=("--faults",)) as started:
        node = Running(started)
        first = await run(node, plan)
        assert first.existed == ()
        assert first.made[:4] == ("device", "unattended boot on", "Administrator packages~admin", "namespace packages")
        again = await run(node, plan)
        assert (again.made, set(again.existed)) == ((), set(first.made))
        assert again.device == first.device
        assert again.device.unattended_boot is True
        device = Device(DeviceSettings((node.node(),), 2, 10, production=False), count_nowhere)
        for each in plan.namespaces[0].keys:
            await sign_with(device, each, again.device.surveyed["packages"].keys[each.key_id])
        device.close()
        node.sdk("admin", ADMIN).lock()
        assert (await run(node, plan)).made == ("unlocked device",)


async def sign_with(device, plan, found):
    key = SigningKey(plan.key_id, plan.key_id, f"packages~{plan.operator}", Secret(OPERATOR), plan.algorithm)
    certificate = parse_certificate(await device.certificate(key))
    assert (certificate.algorithm, certificate.created) == (plan.algorithm, NOW)
    assert (certificate.raw, found.tags, found.operations) == (found.certificate, (plan.tag,), 1)
    assert await device.sign(key, hashlib.sha512(b"release").digest())
    foreign = SigningKey("x", plan.key_id, f"packages~{other_operator(plan)}", Secret(OPERATOR), plan.algorithm)
    with pytest.raises(Forbidden, match="tags restriction not met"):
        await device.sign(foreign, hashlib.sha512(b"release").digest())
    (report,) = await device.check([key])
    assert [(each.login, each.certificate, each.problem) for each in report.keys] == [(True, certificate.raw, None)]


def other_operator(plan):
    return next(f"signs-{each}" for each in Algorithm if each is not plan.algorithm)


# The calls that change something, in the order in which provisioning makes them.
CALLS = (
    ("PUT", "/users/[^/]+"),
    ("PUT", "/namespaces/.+"),
    ("POST", "/keys/generate"),
    ("PUT", "/keys/.+/restrictions/tags/.+"),
    ("PUT", "/users/[^/]+signs[^/]+"),
    ("PUT", "/users/.+/tags/.+"),
    ("POST", "/keys/.+/sign"),
    ("PUT", "/keys/.+/cert"),
)


@pytest.mark.parametrize("lost", ["before", "after"])
@pytest.mark.parametrize("step", range(len(CALLS)), ids=[" ".join(each) for each in CALLS])
async def test_a_crash_at_each_step_leaves_what_the_next_run_completes(nodes, step, lost):
    name = f"crash-{lost}-{step}"
    plan = plan_of(namespace_plan(name), unattended=False)
    method, path = CALLS[step]
    nodes[0].fault("status" if lost == "before" else "drop-after-sign", {"method": method, "path": path})
    with pytest.raises(Unavailable):
        await run(nodes[0], plan)
    assert nodes[0].left() == []
    completed = await run(nodes[0], plan)
    assert bool(completed.made) is ((step, lost) != (len(CALLS) - 1, "after"))
    last = await run(nodes[0], plan)
    assert last.made == ()
    found = await look(nodes[0], name)
    assert set(found.users) == {f"{name}~admin", f"{name}~signs-ed25519"}
    assert found.users[f"{name}~signs-ed25519"].tags == ("release-ed25519",)
    assert found.keys["release-ed25519"].tags == ("release-ed25519",)
    assert parse_certificate(found.keys["release-ed25519"].certificate)


@pytest.mark.parametrize("lost", ["status", "drop-after-sign"])
async def test_a_crash_while_the_device_itself_is_provisioned_is_completed(tmp_path, lost):
    async with emulator(tmp_path / "device", flags=("--faults",)) as started:
        node = Running(started)
        node.fault(lost, {"path": "/provision"})
        plan = plan_of(namespace_plan("packages"))
        with pytest.raises(Unavailable):
            await run(node, plan)
        node.fault(lost, {"method": "PUT", "path": "/config/unattended-boot"})
        with pytest.raises(Unavailable):
            await run(node, plan)
        assert ("unattended boot on" in (await run(node, plan)).made) is (lost == "status")
        assert (await run(node, plan)).made == ()


async def test_a_read_that_fails_changes_nothing(nodes):
    nodes[0].fault("status", {"method": "GET", "path": "/namespaces"}, status=500)
    with pytest.raises(Unavailable):
        await run(nodes[0], plan_of(namespace_plan("unread")))
    assert "unread" not in nodes[0].sdk("admin", ADMIN).list_namespaces()


# Contradictions: each is made on a namespace of its own by its Administrator, and found before anything is changed.


def wrong_type(admin, name):
    admin.delete_key("release-ed25519")
    admin.generate_key(nethsm.KeyType.EC_P256, [nethsm.KeyMechanism.ECDSA_SIGNATURE], 256, "release-ed25519")


def wrong_role(admin, name):
    admin.delete_user(f"{name}~signs-ed25519")
    admin.add_user("x", nethsm.Role.METRICS, OPERATOR, f"{name}~signs-ed25519")


def other_operator_with_tag(admin, name):
    admin.add_user("x", nethsm.Role.OPERATOR, OPERATOR, f"{name}~intruder")
    admin.add_operator_tag(f"{name}~intruder", "release-ed25519")


def other_key_with_tag(admin, name):
    admin.generate_key(nethsm.KeyType.CURVE25519, [nethsm.KeyMechanism.EDDSA_SIGNATURE], 256, "another")
    admin.add_key_tag("another", "release-ed25519")


def other_certificate(admin, name):
    other_key_with_tag(admin, name)
    admin.delete_key_tag("another", "release-ed25519")
    raw = admin.get_key_certificate("release-ed25519")
    admin.delete_key("release-ed25519")
    admin.generate_key(nethsm.KeyType.CURVE25519, [nethsm.KeyMechanism.EDDSA_SIGNATURE], 256, "release-ed25519")
    admin.set_key_certificate("release-ed25519", raw)


def broken_certificate(admin, name):
    admin.delete_key_certificate("release-ed25519")
    admin.set_key_certificate("release-ed25519", b"no certificate at all")


CONTRADICTIONS = {
    "a key of another type": (wrong_type, "is EC_P256 with ECDSA_Signature"),
    "a user with another role": (wrong_role, "has the role Metrics"),
    "a key with one tag more": (lambda admin, _: admin.add_key_tag("release-ed25519", "more"), "has the tags more"),
    "an Operator with one tag more": (
        lambda admin, name: admin.add_operator_tag(f"{name}~signs-ed25519", "more"),
        "shall have release-ed25519 only",
    ),
    "another Operator with the key's tag": (other_operator_with_tag, "intruder has the tag release-ed25519 too"),
    "another key with the Operator's tag": (other_key_with_tag, "the key another has the tag"),
    "the certificate of another key": (other_certificate, "holds the certificate of another key"),
    "a certificate that is none": (broken_certificate, "holds a certificate that cannot be used"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
async def test_it_is_refused_and_nothing_is_changed_if_there_is(nodes, name):
    change, sentence = CONTRADICTIONS[name]
    namespace = "otherwise-" + name.replace(" ", "-").replace("'", "")
    await run(nodes[0], plan_of(namespace_plan(namespace)))
    change(nodes[0].sdk(f"{namespace}~admin", NS_ADMIN), namespace)
    before = await look(nodes[0], namespace)
    more = plan_of(namespace_plan(namespace, key_plan(), key_plan(Algorithm.P256)))
    with pytest.raises(Rejected, match="hsm-plan") as caught:
        await run(nodes[0], more)
    assert sentence in caught.value.sentence
    assert await look(nodes[0], namespace) == before


async def test_another_user_id_or_rsa_length_than_planned_is_refused(nodes):
    planned = key_plan(Algorithm.RSA)
    await run(nodes[0], plan_of(namespace_plan("lengths", planned)))
    with pytest.raises(Rejected, match="has 2048 bits, not 3072"):
        await run(nodes[0], plan_of(namespace_plan("lengths", key_plan(Algorithm.RSA, rsa_bits=3072))))
    with pytest.raises(Rejected, match="not 'Someone else'"):
        await run(nodes[0], plan_of(namespace_plan("lengths", key_plan(Algorithm.RSA, user_id="Someone else"))))


async def test_a_namespace_without_the_planned_administrator_is_refused(nodes):
    nodes[0].sdk("admin", ADMIN).add_namespace("orphan")
    with pytest.raises(Rejected, match="the namespace orphan exists, but not its Administrator"):
        await run(nodes[0], plan_of(namespace_plan("orphan")))


CANARY = CanaryPlan("canary", Secret("the passphrase of a canary"))


async def test_the_canary_s_operator_has_the_tags_of_all_keys_also_of_those_that_come_later(nodes):
    one = namespace_plan("watched", canary=CANARY)
    first = await run(nodes[0], plan_of(one))
    assert "Operator watched~canary of the canary" in first.made
    assert (await run(nodes[0], plan_of(one))).made == ()
    two = namespace_plan("watched", key_plan(), key_plan(Algorithm.P256), canary=CANARY)
    made = (await run(nodes[0], plan_of(two))).made
    assert "tag release-p256 of Operator watched~canary" in made
    assert "tag release-ed25519 of Operator watched~canary" not in made
    users = (await look(nodes[0], "watched")).users
    assert set(users["watched~canary"].tags) == {"release-ed25519", "release-p256"}
    assert users["watched~signs-p256"].tags == ("release-p256",)


async def test_a_canary_is_added_to_a_device_that_had_none(nodes):
    await run(nodes[0], plan_of(namespace_plan("late")))
    report = await run(nodes[0], plan_of(namespace_plan("late", canary=CANARY)))
    assert report.made == ("Operator late~canary of the canary", "tag release-ed25519 of Operator late~canary")
    # It is known by its name alone: without a plan for it, it is a stranger with a key's tag.
    with pytest.raises(Rejected, match="the user late~canary has the tag release-ed25519 too"):
        await run(nodes[0], plan_of(namespace_plan("late")))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        pytest.param(lambda admin: admin.add_operator_tag("{}~canary", "more"), "which are no planned key's", id="one tag more"),
        pytest.param(lambda admin: other_operator_with_tag(admin, "{}"), "intruder has the tag", id="somebody else with a key's tag"),
    ],
)  # fmt: skip
async def test_a_canary_that_is_otherwise_than_planned_is_refused(nodes, request, change, sentence):
    name = "canary-" + request.node.callspec.id.replace(" ", "-").replace("'", "")
    plan = plan_of(namespace_plan(name, canary=CANARY))
    await run(nodes[0], plan)
    admin = nodes[0].sdk(f"{name}~admin", NS_ADMIN)
    change(_Named(admin, name))
    with pytest.raises(Rejected, match="hsm-plan") as caught:
        await run(nodes[0], plan)
    assert sentence in caught.value.sentence


class _Named:
    """The SDK, with a namespace's name in the place of braces."""

    def __init__(self, sdk, name):
        self._sdk, self._name = sdk, name

    def __getattr__(self, method):
        return lambda *given: getattr(self._sdk, method)(*[_filled(each, self._name) for each in given])


def _filled(given, name):
    return given.replace("{}", name) if isinstance(given, str) else given


@pytest.mark.parametrize("user", ["admin", "signs-ed25519"])
async def test_a_canary_is_nobody_else_too(user):
    with pytest.raises(Rejected, match="nobody else's"):
        namespace_plan("watched", canary=CanaryPlan(user, Secret("the passphrase of a canary")))


async def test_what_certificates_use_is_counted_first_or_told(nodes):
    counted = []

    async def count(place):
        counted.append(place)

    plan = plan_of(namespace_plan("counted"))
    assert (await run(nodes[0], plan, count=count)).uncounted == ()
    assert counted == ["counted/release-ed25519"]
    assert (await run(nodes[0], plan, count=count)).uncounted == ()
    assert counted == ["counted/release-ed25519"]
    assert (await run(nodes[0], plan_of(namespace_plan("told")))).uncounted == ("told/release-ed25519",)


async def test_what_cannot_be_counted_is_not_used(nodes):
    async def full(_place):
        raise Unavailable("operations-unavailable", "The disk is full.")

    plan = plan_of(namespace_plan("uncountable"))
    with pytest.raises(Unavailable, match="operations-unavailable"):
        await run(nodes[0], plan, count=full)
    assert (await look(nodes[0], "uncountable")).keys["release-ed25519"].operations == 0


WRONG = {
    "the device's admin": lambda: plan_of(namespace_plan("known"), admin="another passphrase"),
    "the namespace's Administrator": lambda: plan_of(namespace_plan("known", passphrase=Secret("another passphrase"))),
    "the Operator": lambda: plan_of(namespace_plan("known", key_plan(passphrase=Secret("another passphrase")))),
}


@pytest.mark.parametrize("whose", WRONG)
async def test_a_plan_with_another_passphrase_is_refused_without_showing_it(nodes, whose):
    await run(nodes[0], plan_of(namespace_plan("known")))
    with pytest.raises(Forbidden, match="hsm-login") as caught:
        await run(nodes[0], WRONG[whose]())
    shown = whole_text(caught.value) + repr(WRONG[whose]())
    assert not any(each in shown for each in ("another passphrase", NS_ADMIN, OPERATOR, ADMIN))
    await asyncio.sleep(1.05)  # until the device takes this user's logins again


async def test_production_refuses_the_emulator_before_it_sends_a_passphrase(nodes):
    before = nodes[0].answered(201)
    with pytest.raises(Rejected, match="hsm-emulator"):
        await run(nodes[0], plan_of(namespace_plan("production"), admin="another passphrase"), production=True)
    assert nodes[0].answered(201) == before


BAD = {
    "an RSA key without length": lambda: key_plan(Algorithm.RSA, rsa_bits=None),
    "an RSA key that is too short": lambda: key_plan(Algorithm.RSA, rsa_bits=1024),
    "a curve with a length": lambda: key_plan(rsa_bits=2048),
    "a key ID with a slash": lambda: key_plan(key_id="../users"),
    "an Operator outside of the namespace": lambda: key_plan(operator="other~name"),
    "two keys with one tag": lambda: namespace_plan("x", key_plan(tag="t"), key_plan(Algorithm.P256, tag="t")),
    "two keys with one Operator": lambda: namespace_plan(
        "x", key_plan(operator="o"), key_plan(Algorithm.P256, operator="o")
    ),
    "an Administrator who signs": lambda: namespace_plan("x", key_plan(operator="admin")),
    "a namespace twice": lambda: plan_of(namespace_plan("x"), namespace_plan("x")),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_plan_is_refused_with(name):
    with pytest.raises(Rejected, match=r"hsm-plan|hsm-name"):
        BAD[name]()


async def test_new_passphrases_are_long_enough_and_never_the_same():
    made = {new_passphrase().reveal() for _ in range(100)}
    assert len(made) == 100
    assert all(40 <= len(each) <= 200 for each in made)
