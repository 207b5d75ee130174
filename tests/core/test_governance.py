import re
from datetime import UTC, datetime, timedelta

import pytest

from attestor.cli.examples import POLICY_EXAMPLE, render
from attestor.core.governance import Stopper, govern
from attestor.core.policyfile import parse_policy

NOW = datetime(2026, 6, 1, tzinfo=UTC)
PACKAGES = 'operators = ["alice", "bob", "carol"]\nthreshold = 2\ndissent_limit = 0'


def governed(*spoilings, now=NOW):
    text = render("policy.toml", POLICY_EXAMPLE)
    for old, new in spoilings:
        assert old in text
        text = text.replace(old, new, 1)
    governance = govern(parse_policy(text.encode(), "policy.toml"), now)
    return governance, next(tier for tier in governance.tiers if tier.name == "packages")


def stoppers(*names, how):
    return tuple(Stopper(name, how) for name in names)


@pytest.mark.parametrize(
    ("spoilings", "expected"),
    [
        pytest.param(
            [], stoppers("alice", "bob", "carol", how=("dissent",)), id="no dissent is tolerated, so one dissent stops"
        ),
        pytest.param([(PACKAGES, PACKAGES.replace("= 0", "= 1"))], (), id="2 of 3 with one dissent tolerated: nobody"),
        pytest.param(
            [(PACKAGES, PACKAGES.replace("= 2", "= 3"))],
            stoppers("alice", "bob", "carol", how=("silence", "dissent")),
            id="n = m: each by silence too",
        ),
        pytest.param(
            [(PACKAGES, PACKAGES.replace("= 0", "= 1") + '\nrequired = ["bob"]')],
            stoppers("bob", how=("silence",)),
            id="a required operator by silence",
        ),
        pytest.param(
            [(PACKAGES, PACKAGES.replace("= 0", "= 1")), ("[operators.carol]", "[operators.carol]\nsuspended = true")],
            stoppers("alice", "bob", how=("silence",)),
            id="with one suspended the other two are all that is left; the suspended one cannot",
        ),
    ],
)
def test_who_alone_could_stop_a_tier(spoilings, expected):
    assert governed(*spoilings)[1].stoppers == expected


def test_a_tier_is_described_as_the_file_states_it():
    governance, tier = governed()
    assert (governance.origin, governance.serial) == ("attestor.example.org", 1)
    assert (tier.kind, tier.purl, tier.threshold) == ("package", "pkg:alpm/arch/*", 2)
    assert tier.operators == tier.able == ("alice", "bob", "carol")
    assert (tier.requesters, tier.networks) == (("build-service",), ("127.0.0.0/8", "::1/128"))
    assert tier.warnings == ()
    assert (governance.log.origin, governance.log.quorum, governance.log.witnesses) == (
        "attestor.example.org/log",
        0,
        (),
    )
    [seal] = governance.log.signers
    assert re.fullmatch("[0-9a-f]{64}", seal)


def test_an_architecture_is_spelled_as_in_the_file():
    _, tier = governed(('purl = "pkg:alpm/arch/*"', 'purl = "pkg:alpm/*/linux?arch=x86_64"'))
    assert tier.purl == "pkg:alpm/*/linux?arch=x86_64"


@pytest.mark.parametrize(
    ("spoilings", "warning"),
    [
        pytest.param([(PACKAGES, PACKAGES.replace("= 2", "= 3"))], "all 3 operators must agree", id="n = m"),
        pytest.param(
            [("[operators.bob]", "[operators.bob]\nsuspended = true")], "bob is suspended", id="a suspended operator"
        ),
        pytest.param(
            [('\nstatements = ["rebuild"]', '\nrevoked = 2026-02-01T00:00:00Z\nstatements = ["rebuild"]')],
            "alice cannot vote",
            id="the only key is revoked",
        ),
    ],
)
def test_a_tier_that_is_weaker_than_it_looks_is_warned_about(spoilings, warning):
    assert any(said.startswith(warning) for said in governed(*spoilings)[1].warnings)


@pytest.mark.parametrize(
    ("purl", "open_to"),
    [
        ("pkg:generic/arch/*", True),
        ("pkg:generic/arch/extra.db", True),
        ("pkg:generic/arch/*?arch=x86_64", True),
        ("pkg:generic/arch/extra.db?arch=x86_64", False),
    ],
)
def test_a_comparison_that_its_builder_could_begin_anew_is_warned_about(purl, open_to):
    tier = '[tiers.databases]\nkind = "database"\npurl = '
    spoiling = (f'{tier}"pkg:generic/arch/*"', f'{tier}"{purl}"\ncompare_predecessor = true')
    [databases] = [each for each in governed(spoiling)[0].tiers if each.name == "databases"]
    assert any(said.startswith("compare_predecessor") for said in databases.warnings) is open_to


def test_a_tier_that_too_few_can_vote_in_says_that_nothing_can_be_signed():
    _, tier = governed(now=datetime(2030, 1, 1, tzinfo=UTC))
    assert tier.able == ()
    assert tier.warnings[0] == "nothing can be signed now: 0 of 3 operators can vote, and 2 must agree"


@pytest.mark.parametrize(("days_before", "warned"), [(31, False), (30, True), (1, True), (0, False)], ids=str)
def test_a_key_is_warned_about_in_its_last_thirty_days(days_before, warned):
    governance, _ = governed(now=datetime(2028, 1, 1, tzinfo=UTC) - timedelta(days=days_before))
    assert sum(said.startswith("operator ") and "expires on 2028-01-01" in said for said in governance.warnings) == (
        4 if warned else 0
    )


def test_an_operator_in_no_tier_is_warned_about():
    governance, _ = governed(('operators = ["alice", "bob", "carol"]', 'operators = ["alice", "bob"]'))
    assert governance.warnings == ("operator carol votes in no tier",)
