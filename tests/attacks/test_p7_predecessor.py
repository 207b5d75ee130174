"""P7: a repository database that lists less than the one before it is not signed by its builder's word alone."""

import io
import tarfile

import pytest

from attestor.core.algorithm import Algorithm
from attestor.core.naming import parse_release
from tests.service.makers import BUILDER, asking, make_policy, vote
from tests.service.signers import under

# The key of images serves no other kind here: the policy has no tier of images.
DATABASES = """
[tiers.databases]
kind = "database"
purl = "pkg:generic/arch/*"
operators = ["carol"]
threshold = 1
dissent_limit = 0
signing_key = "isos"
requesters = ["build-service"]
networks = ["192.0.2.0/24"]
version_order = "sequence"
compare_predecessor = true
"""
FIRST = {"bash": "5.2.15-1", "filesystem": "2025.10.12-1"}


def database(packages):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, version in sorted(packages.items()):
            folder = tarfile.TarInfo(f"{name}-{version}/")
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
            text = f"%NAME%\n{name}\n\n%VERSION%\n{version}\n".encode()
            desc = tarfile.TarInfo(f"{name}-{version}/desc")
            desc.size = len(text)
            tar.addfile(desc, io.BytesIO(text))
    return buffer.getvalue()


def release(sequence, arch="x86_64"):
    return parse_release("database", f"pkg:generic/arch/extra.db@{sequence}?arch={arch}", "extra.db.tar.gz")


@pytest.fixture
async def databases(scene, ground):
    policy = make_policy(serial=2, without=("isos",), approvers=DATABASES)
    scene.gate = await ground.gate(policy)
    scene.signing = under(scene.signing, policy)

    async def built(sequence, packages, arch="x86_64"):
        """Where the request stands once the signer has seen it, and why."""
        content, named = database(packages), release(sequence, arch)
        scene.place(named, content)
        await scene.gate.admit(vote(named, content, "carol"))
        opened, _ = await scene.gate.ask(BUILDER, asking(named, content))
        await scene.sign()
        await scene.caught_up()
        view = await scene.gate.request(BUILDER, opened.id)
        return view.state, view.reason, view.sentence

    return built


async def test_a_database_that_grows_is_signed(databases):
    assert (await databases(1, FIRST))[0] == "signed"
    assert (await databases(2, FIRST | {"bash": "5.3-1", "zlib": "1.3-1"}))[0] == "signed"


@pytest.mark.parametrize(
    ("packages", "named"),
    [
        pytest.param(FIRST | {"bash": "5.2.14-1"}, "went back in version: bash 5.2.15-1 -> 5.2.14-1", id="an old bash"),
        pytest.param({"filesystem": "2025.10.12-1"}, "vanished: bash", id="no bash"),
    ],
)
async def test_what_went_back_or_vanished_is_named_and_not_signed(databases, scene, packages, named):
    await databases(1, FIRST)
    calls = scene.running.operations(Algorithm.P384)
    state, reason, sentence = await databases(2, packages)
    assert (state, reason) == ("refused", "packages-went-back")
    assert named in sentence
    assert scene.running.operations(Algorithm.P384) == calls


async def test_three_databases_do_not_lead_back_round_the_circle_that_vercmp_has(databases):
    assert (await databases(1, FIRST | {"bash": "5.2.1-1"}))[0] == "signed"
    assert (await databases(2, FIRST | {"bash": "5.2..a-1"}))[0] == "signed"
    state, reason, sentence = await databases(3, FIRST | {"bash": "5.2.-1"})
    assert (state, reason) == ("refused", "packages-went-back")
    assert "bash 5.2..a-1 -> 5.2.-1" in sentence


async def test_a_database_for_another_machine_has_a_line_of_its_own(databases):
    await databases(1, FIRST)
    assert (await databases(1, {"filesystem": "1-1"}, "aarch64"))[0] == "signed"


async def test_a_list_that_the_database_hides_or_changes_is_no_predecessor_to_pass(databases, scene):
    await databases(1, FIRST)
    await scene.ground.sql("DELETE FROM log_documents WHERE convert_from(body, 'UTF8') LIKE '{\"bash\"%'")
    state, reason, _ = await databases(2, FIRST)
    assert (state, reason) == ("waiting", "predecessor-missing")
