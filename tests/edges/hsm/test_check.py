"""What `attestor check` finds out about each node and each release key."""

import pytest

from attestor.core.algorithm import Algorithm
from attestor.core.errors import Forbidden, Missing, Rejected, Unavailable
from attestor.core.secret import Secret
from attestor.hsm.check import require_version
from attestor.hsm.connection import NodeSettings
from attestor.hsm.keys import Login
from attestor.hsm.survey import status
from tests.edges.hsm.nodes import ADMIN, signing_key

pytestmark = pytest.mark.asyncio(loop_scope="module")
DIGEST = bytes(64)


async def test_each_node_and_each_key_is_reported(make, nodes):
    keys = [signing_key(each) for each in Algorithm]
    reports = await make(*nodes).check(keys, administrator=Login("admin", Secret(ADMIN)))
    assert [each.url for each in reports] == [each.url for each in nodes]
    for report in reports:
        assert (report.state, report.version, report.problem) == ("Operational", "4.0", None)
        assert "emulator" in report.vendor
        assert [(key.name, key.login, key.problem) for key in report.keys] == [(each.name, True, None) for each in keys]


async def test_without_an_administrator_the_version_is_not_known(make):
    (report,) = await make().check([])
    assert (report.version, report.keys, report.problem) == (None, (), None)


async def test_a_node_that_does_not_answer_is_a_problem_and_the_others_are_still_looked_at(make, nodes):
    nothing = NodeSettings("https://127.0.0.1:9", fingerprint="00" * 32)
    dead, alive = await make(nothing, nodes[1]).check([signing_key()])
    assert isinstance(dead.problem, Unavailable)
    assert (dead.state, dead.keys) == (None, ())
    assert alive.problem is None
    assert alive.keys[0].login


async def test_another_certificate_than_configured_is_a_problem_of_its_own(make, nodes):
    (report,) = await make(NodeSettings(nodes[0].url, fingerprint="00" * 32)).check([signing_key()])
    assert report.problem.code == "hsm-certificate"


PROBLEMS = {
    "a key of another type": ({"key_id": "key-p256"}, True, Rejected, "hsm-key"),
    "a key that is not there": ({"key_id": "nowhere"}, True, Missing, "hsm-refused"),
    "a user that is not there": ({"user": "nobody"}, False, Forbidden, "hsm-login"),
}


@pytest.mark.parametrize("name", PROBLEMS)
async def test_a_problem_of_a_key_is(make, name):
    changes, login, kind, code = PROBLEMS[name]
    (report,) = await make().check([signing_key(**changes), signing_key(Algorithm.RSA)])
    bad, good = report.keys
    assert (bad.login, type(bad.problem), bad.problem.code) == (login, kind, code)
    assert good.problem is None


async def test_production_refuses_the_emulator_in_each_call(make):
    device = make(production=True)
    for call in (device.check([]), device.sign(signing_key(), DIGEST), device.public_key(signing_key())):
        with pytest.raises(Rejected, match="hsm-emulator"):
            await call


async def test_production_refuses_the_emulator_s_status_too(nodes):
    with pytest.raises(Rejected, match="hsm-emulator"):
        await status(nodes[0].node(), Secret(ADMIN), {}, production=True)


@pytest.mark.parametrize("version", ["3.0", "v3.0", "3.0.1", "3.0-rc1", " 3.0\n"])
async def test_the_version_with_other_rsa_signatures_is_refused(version):
    with pytest.raises(Rejected, match="hsm-version"):
        require_version(version)


@pytest.mark.parametrize("version", ["2.0", "2.2", "3.1", "3.10", "4.0", "5.0", "30.0", "13.0"])
async def test_other_versions_are_not(version):
    require_version(version)
