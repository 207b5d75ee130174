"""Each obstacle, approved or not, needed or not: what it is called, who may lift it, and which approvals are spent for it."""

import dataclasses
from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.approvals import granted
from attestor.core.authorisation import Judgement, Seen, Weighed, at_first_sight, judge, next_state, standing
from attestor.core.lifecycle import State
from attestor.core.naming import parse_release
from attestor.core.obstacles import HELD, Block, Never, NotNow, blocks_of_past, first_obstacle
from attestor.core.past import NO_PAST, RulesPast
from attestor.core.predecessor import encode_packages
from attestor.core.quorum import Reached, evaluate
from attestor.core.quota import Period, Quota, window_of
from attestor.core.requests import SigningRequest
from attestor.core.tierrules import Action, ApprovalRules
from attestor.core.versions import VersionOrder
from attestor.core.wire import HashState, Upload
from tests.approvers import REQUEST
from tests.core.approvalground import ASKING, AT, PEOPLE, approved, policy_of
from tests.core.asked import GOOD, OTHER, claim_at, request_at, sha256, sha512
from tests.service.makers import package

claim = partial(claim_at, AT - timedelta(days=1))
request = partial(request_at, AT, id=REQUEST)

EXCEPTIONS = ApprovalRules(hours=48, downgrade=2, re_sign=2, dispute=2, quota=2)
NEEDS_RELEASE = dataclasses.replace(EXCEPTIONS, release=2)
QUOTA = Quota(2, Period.MONTH)
WINDOW = window_of(Period.MONTH, AT)
USED_UP = RulesPast(newest=None, used=2, window=WINDOW, unspendable=frozenset())
NEWER = dataclasses.replace(NO_PAST, newest="2-1")
LISTED = {"bash": "5.3-1", "zlib": "1.3-1"}


def policy(rules=EXCEPTIONS, **tier):
    return policy_of({"approvals": rules} | tier)


AGREED = (claim("alice"), claim("bob"))
DISPUTED = (*AGREED, claim("carol", OTHER))


def approvals_of(actions, under, digest, release=None):
    """Of everybody, for each of these."""
    release = release or package()
    pair = (release.id, digest.hex())
    return [
        approved(action, by=name, policy=under, pairs={pair}, nonce=f"{number:032x}", tier="packages")
        for number, name in enumerate(PEOPLE)
        for action in actions
    ]


SEEN = Seen(len(GOOD), sha256(GOOD), sha512(GOOD))


@dataclasses.dataclass(frozen=True)
class Situation:
    """All that is judged, and nothing of it in the way unless *changed*."""

    request: SigningRequest = dataclasses.field(default_factory=request)
    claims: tuple = AGREED
    tier: dict = dataclasses.field(default_factory=dict)
    rules: ApprovalRules | None = EXCEPTIONS
    signed: frozenset = frozenset()
    repeated: bool = False
    past: RulesPast = NO_PAST
    predecessor: dict | None = None
    seen: Seen = SEEN

    @property
    def policy(self):
        return policy(self.rules, **self.tier)

    def let_through(self, actions):
        """As a signer counts it: approvals by four people for each of *actions*."""
        under = self.policy
        asking = dataclasses.replace(ASKING, pair=(self.request.release.id, self.request.sha256.hex()))
        given_ = approvals_of(actions, under, self.request.sha256, self.request.release)
        return granted(given_, asking, tier=under.tiers[0], policy=under, at=AT, spent=())

    def judged(self, actions=()):
        under = self.policy
        tier = under.tiers[0]
        return judge(
            self.request,
            policy=under,
            tier=tier,
            key_fingerprint="A" * 40,
            decision=evaluate(tier, under, self.claims, frozenset(), AT),
            weighed=self.weighed(actions),
            seen=self.seen,
        )

    def weighed(self, actions=()):
        return Weighed(
            signed=self.signed,
            repeated=self.repeated,
            past=self.past,
            granted=self.let_through(actions),
            moment=AT,
            predecessor=self.predecessor,
        )

    def but(self, **changes):
        return dataclasses.replace(self, **changes)


FREE = Situation()
UNORDERED = parse_release("package", "pkg:alpm/arch/filesystem@1.-1?arch=any", "filesystem-1.-1-any.pkg.tar.zst")
ORDERED = {"version_order": VersionOrder.ALPM}
COMPARED = {"compare_predecessor": True}
LISTED_BEFORE = dataclasses.replace(NO_PAST, packages=sha256(encode_packages(LISTED)))


def lists(packages):
    return Seen(len(GOOD), sha256(GOOD), sha512(GOOD), packages)


ALONE = {"threshold": 1, "operators": frozenset({"alice"})}
# What lifts it, whether nothing else ever will, and a situation with this block and no other.
LIFTED = {
    "other-digest-signed": (Action.RE_SIGN, True, FREE.but(signed=frozenset({sha256(OTHER)}))),
    "disputed": (Action.DISPUTE, False, FREE.but(claims=DISPUTED)),
    "version-not-newer": (Action.DOWNGRADE, True, FREE.but(tier=ORDERED, past=NEWER)),
    "quota-used": (Action.QUOTA, False, FREE.but(tier={"quota": QUOTA}, past=USED_UP)),
    "packages-went-back": (
        Action.DOWNGRADE,
        True,
        FREE.but(tier=COMPARED, past=LISTED_BEFORE, predecessor=LISTED, seen=lists({"bash": "5.3-1"})),
    ),
    "predecessor-missing": (
        Action.DOWNGRADE,
        False,
        FREE.but(tier=COMPARED, past=LISTED_BEFORE, seen=lists(LISTED)),
    ),
}
NEVER_LIFTED = {
    "requester-not-allowed": (NotNow, FREE.but(request=request(requester="stranger"))),
    "hash-state-not-allowed": (
        Never,
        FREE.but(tier=ALONE, claims=(claim("alice"),), request=request(content=HashState(""))),
    ),
    "no-claims": (NotNow, FREE.but(claims=())),
    "not-reached": (NotNow, FREE.but(claims=AGREED[:1])),
    "other-digest-reached": (NotNow, FREE.but(claims=(claim("alice", OTHER), claim("bob", OTHER)))),
    "sha512-not-agreed": (
        NotNow,
        FREE.but(claims=(claim("alice", sha512=None), claim("bob")), request=request(content=HashState(""))),
    ),
    "content-missing": (NotNow, FREE.but(request=request(content=Upload(), content_present=False))),
    "content-differs": (Never, FREE.but(seen=Seen(len(GOOD), sha256(OTHER), sha512(GOOD)))),
    "version-unordered": (Never, FREE.but(tier=ORDERED, request=request(release=UNORDERED))),
}
NOT_BY_APPROVAL = NEVER_LIFTED | {
    "disputed, and too few agree on what was asked": (NotNow, FREE.but(claims=(AGREED[0], claim("carol", OTHER)))),
    "disputed, and the others have n votes": (
        NotNow,
        FREE.but(claims=DISPUTED, request=request(sha256=sha256(OTHER))),
    ),
    "disputed, and one of the n equivocates": (NotNow, FREE.but(claims=(*AGREED, claim("bob", OTHER)))),
}
EVERY = frozenset(Action)


def others(action):
    return EVERY - {action}


def test_nothing_is_in_the_way_of_what_is_free():
    answer = FREE.judged()
    assert isinstance(answer, Judgement)
    assert (answer.approvals, answer.spent, answer.period, answer.requester) == ((), (), None, None)


@pytest.mark.parametrize("code", LIFTED)
def test_without_approval_in_a_tier_that_knows_the_exception_it_waits_and_says_for_whom(code):
    action, _, situation = LIFTED[code]
    answer = situation.judged()
    assert (type(answer), answer.reason) == (NotNow, code)
    assert answer.sentence.endswith(f" 2 people may approve it: {action}.")
    assert next_state(answer) is State.WAITING


@pytest.mark.parametrize("code", LIFTED)
def test_one_person_is_said_as_one(code):
    action, _, situation = LIFTED[code]
    rules = dataclasses.replace(EXCEPTIONS, **{action.value.replace("-", "_"): 1})
    assert situation.but(rules=rules).judged().sentence.endswith(f" 1 person may approve it: {action}.")


@pytest.mark.parametrize("rules", [None, "no such exception"])
@pytest.mark.parametrize("code", LIFTED)
def test_in_a_tier_that_does_not_know_the_exception_nobody_lifts_it(code, rules):
    action, final, situation = LIFTED[code]
    rules = rules and dataclasses.replace(EXCEPTIONS, **{action.value.replace("-", "_"): 0})
    answer = situation.but(rules=rules).judged(EVERY)
    assert (type(answer), answer.reason) == (Never if final else NotNow, code)
    assert "may approve" not in answer.sentence


@pytest.mark.parametrize("code", LIFTED)
def test_approvals_of_every_other_exception_do_not_lift_it(code):
    action, _, situation = LIFTED[code]
    answer = situation.judged(others(action))
    assert (type(answer), answer.reason) == (NotNow, code)


@pytest.mark.parametrize("code", LIFTED)
def test_once_approved_it_is_signed_and_those_approvals_alone_are_spent(code):
    action, _, situation = LIFTED[code]
    answer = situation.judged(EVERY)
    assert isinstance(answer, Judgement)
    assert {spent.action for spent in answer.spent} == {action.value}
    assert len({spent.approver for spent in answer.spent}) == len(answer.spent) == 2
    assert answer.approvals == situation.let_through(EVERY)[action]
    assert answer.requester == "build-service"
    assert answer.counted == {"alice", "bob"}


@pytest.mark.parametrize("code", NOT_BY_APPROVAL)
def test_what_no_approval_lifts(code):
    kind, situation = NOT_BY_APPROVAL[code]
    for actions in (frozenset(), EVERY):
        for rules in (EXCEPTIONS, NEEDS_RELEASE):
            answer = situation.but(rules=rules).judged(actions)
            if rules is NEEDS_RELEASE and not actions:
                assert isinstance(answer, NotNow | Never)
                continue
            assert (type(answer), answer.reason) == (kind, code.partition(",")[0])
            assert "may approve" not in answer.sentence


def test_approvals_that_are_not_needed_stay_unspent():
    for situation in (
        FREE,
        FREE.but(tier=ORDERED | {"quota": QUOTA} | COMPARED, past=dataclasses.replace(USED_UP, used=1)),
    ):
        answer = situation.judged(EVERY)
        assert isinstance(answer, Judgement)
        assert answer.spent == ()


# ------------------------------------------------------------------------------------------------ tiers that always need one


def test_a_tier_where_every_release_needs_one_signs_nothing_without():
    situation = FREE.but(rules=NEEDS_RELEASE)
    answer = situation.judged(others(Action.RELEASE))
    assert (type(answer), answer.reason) == (NotNow, "approval-needed")
    assert answer.sentence.endswith("2 people may approve it: release.")
    allowed = situation.judged(EVERY)
    assert {spent.action for spent in allowed.spent} == {"release"}


@pytest.mark.parametrize("code", LIFTED)
def test_there_each_exception_is_approved_beside_the_release(code):
    action, _, situation = LIFTED[code]
    situation = situation.but(rules=NEEDS_RELEASE)
    assert situation.judged({Action.RELEASE}).reason == code
    assert situation.judged({action}).reason == "approval-needed"
    both = situation.judged(EVERY)
    assert {spent.action for spent in both.spent} == {"release", action.value}
    assert len(both.spent) == 4


def test_all_exceptions_at_once_take_all_their_approvals():
    everything = FREE.but(
        rules=NEEDS_RELEASE,
        claims=DISPUTED,
        signed=frozenset({sha256(OTHER)}),
        tier=ORDERED | {"quota": QUOTA},
        past=dataclasses.replace(USED_UP, newest="2-1"),
    )
    assert {spent.action for spent in everything.judged(EVERY).spent} == {action.value for action in Action}
    for action in Action:
        assert isinstance(everything.judged(others(action)), NotNow)


# ------------------------------------------------------------------------------------------------ what is said first


def test_what_can_never_change_is_said_before_what_may():
    everything = FREE.but(
        rules=None,
        claims=(),
        signed=frozenset({sha256(OTHER)}),
        request=request(requester="stranger", content=Upload(), content_present=False),
        tier=ORDERED | {"quota": QUOTA},
        past=dataclasses.replace(USED_UP, newest="2-1"),
    )
    said = []
    for changes in (
        {},
        {"signed": frozenset()},
        {"request": request(content=Upload(), content_present=False)},
        {"claims": AGREED},
        {"request": request()},
        {"past": USED_UP},
        {"past": dataclasses.replace(USED_UP, used=1)},
    ):
        everything = everything.but(**changes)
        answer = everything.judged()
        said.append(None if isinstance(answer, Judgement) else answer.reason)
    assert said == [
        "other-digest-signed", "requester-not-allowed", "no-claims", "content-missing", "version-not-newer", "quota-used", None,
    ]  # fmt: skip


def test_a_block_that_was_lifted_gives_way_to_the_next():
    blocks = [Block("one", "One.", Action.QUOTA), Block("two", "Two.", Action.DISPUTE), Block("three", "Three.")]
    tier = policy().tiers[0]
    assert first_obstacle(blocks, tier, {}).reason == "one"
    assert first_obstacle(blocks, tier, {Action.QUOTA: ()}).reason == "two"
    assert first_obstacle(blocks, tier, {Action.QUOTA: (), Action.DISPUTE: ()}).reason == "three"
    assert first_obstacle(blocks[:2], tier, {Action.QUOTA: (), Action.DISPUTE: ()}) is None


def test_the_api_says_nothing_of_the_past_and_the_signer_says_it_at_first_sight():
    """At first sight is before the bytes were looked at; what they list is only known after."""
    for code, (_, _, situation) in LIFTED.items():
        under = situation.policy
        tier = under.tiers[0]
        decision = evaluate(tier, under, situation.claims, frozenset(), AT)
        api = standing(situation.request, tier, decision, signed=situation.signed)
        signer = at_first_sight(situation.request, tier, decision, situation.weighed())
        assert (api.reason if api else None) == (code if code in ("other-digest-signed", "disputed") else None)
        of_bytes = code in ("packages-went-back", "predecessor-missing")
        assert (signer.reason if signer else None) == (None if of_bytes else code)


# ------------------------------------------------------------------------------------------------ quota and order


@pytest.mark.parametrize(
    ("used", "blocked"), [(0, False), (1, False), (2, True), (3, True)], ids="{} of 2 are used".format
)
def test_the_last_place_is_the_limit(used, blocked):
    answer = FREE.but(tier={"quota": QUOTA}, past=dataclasses.replace(USED_UP, used=used)).judged()
    assert isinstance(answer, NotNow if blocked else Judgement)
    if blocked:
        assert (answer.reason, answer.opens) == ("quota-used", WINDOW.end)
        assert "2026-04-01T00:00:00Z" in answer.sentence
    else:
        assert answer.period == "2026-03"


def test_an_approval_beyond_the_quota_names_the_period_all_the_same():
    answer = FREE.but(tier={"quota": QUOTA}, past=USED_UP).judged({Action.QUOTA})
    assert (answer.period, {spent.action for spent in answer.spent}) == ("2026-03", {"quota"})


@pytest.mark.parametrize(
    ("order", "newest", "code"),
    [
        (VersionOrder.ALPM, None, None),
        (VersionOrder.ALPM, "0.9-1", None),
        (VersionOrder.ALPM, "1-1", "version-not-newer"),
        (VersionOrder.ALPM, "1:0-1", "version-not-newer"),
        (VersionOrder.NONE, "2-1", None),
    ],
    ids=["the first", "a newer one", "the same once more", "one of an older epoch", "no order"],
)
def test_a_version_is_newer_than_the_newest(order, newest, code):
    answer = FREE.but(tier={"version_order": order}, past=dataclasses.replace(NO_PAST, newest=newest)).judged()
    assert (answer.reason if code else isinstance(answer, Judgement)) == (code or True)


def test_a_version_without_place_in_the_order_is_signed_where_none_is_asked_for():
    past = dataclasses.replace(NO_PAST, newest="9-1")
    tier = policy(version_order=VersionOrder.NONE).tiers[0]
    assert list(blocks_of_past(UNORDERED, tier, past)) == []


def test_what_was_signed_before_by_this_key_asks_nothing_of_the_past():
    """The signature that there is, once more: nothing new is let through, and nothing is spent for it."""
    situation = FREE.but(
        repeated=True,
        signed=frozenset({sha256(GOOD)}),
        tier=ORDERED | {"quota": QUOTA} | COMPARED,
        past=dataclasses.replace(USED_UP, newest="2-1", packages=LISTED_BEFORE.packages),
        seen=lists({}),
    )
    assert situation.but(repeated=False).judged().reason == "version-not-newer"
    assert situation.judged(EVERY).spent == ()
    assert situation.but(claims=DISPUTED).judged().reason == "disputed"


def test_what_only_a_signer_knows_is_held():
    assert {"quota-used", "version-not-newer"} <= HELD
    assert not HELD & {"disputed", "not-reached", "other-digest-signed"}


# ------------------------------------------------------------------------------------------------ laws

CLAIMS = st.lists(
    st.tuples(
        st.sampled_from(("alice", "bob", "carol")),
        st.sampled_from((GOOD, OTHER)),
        st.sampled_from(({}, {"sha512": None}, {"size": None})),
    ),
    max_size=6,
).map(lambda said: tuple(claim(operator, content, **changes) for operator, content, changes in said))
SITUATIONS = st.builds(
    Situation,
    claims=CLAIMS,
    tier=st.sampled_from(({}, ORDERED, {"quota": QUOTA}, ORDERED | {"quota": QUOTA}, {"dissent_limit": 1})),
    rules=st.sampled_from((EXCEPTIONS, NEEDS_RELEASE, None)),
    signed=st.sampled_from((frozenset(), frozenset({sha256(GOOD)}), frozenset({sha256(OTHER)}))),
    past=st.sampled_from((NO_PAST, NEWER, USED_UP, dataclasses.replace(USED_UP, newest="2-1"))),
)
ACTIONS = st.frozensets(st.sampled_from(Action))


@given(SITUATIONS, ACTIONS)
def test_law_no_approval_lowers_n(situation, actions):
    answer = situation.judged(actions)
    stating = {one.operator for one in situation.claims if one.sha256 == sha256(GOOD)}
    if isinstance(answer, Judgement):
        assert answer.counted <= stating
        assert len(answer.counted) >= situation.policy.tiers[0].threshold
    if len(stating) < situation.policy.tiers[0].threshold:
        assert isinstance(answer, NotNow | Never)


@given(SITUATIONS, ACTIONS, ACTIONS)
def test_law_more_approvals_never_hold_back_and_only_the_needed_are_spent(situation, some, more):
    few, many = situation.judged(some), situation.judged(some | more)
    if isinstance(few, Judgement):
        assert isinstance(many, Judgement)
        assert many.spent == few.spent
    elif isinstance(few, Never):
        assert isinstance(many, Never)


@given(SITUATIONS, ACTIONS)
def test_law_each_approval_that_is_spent_was_needed(situation, actions):
    answer = situation.judged(actions)
    if isinstance(answer, Judgement):
        spent = {Action(each.action) for each in answer.spent}
        assert spent <= actions
        for action in spent:
            assert isinstance(situation.judged(actions - {action}), NotNow | Never)
        assert isinstance(situation.judged(spent), Judgement)


@given(SITUATIONS)
def test_law_without_approvals_it_takes_an_agreement_that_is_not_disputed(situation):
    if isinstance(situation.judged(), Judgement):
        tier = situation.policy.tiers[0]
        assert isinstance(evaluate(tier, situation.policy, situation.claims, frozenset(), AT), Reached)


def test_these_laws_are_of_both_kinds_of_answers():
    """The situations that they draw from hold some of each."""
    answers = [
        FREE.judged(),
        FREE.but(claims=DISPUTED).judged(EVERY),
        FREE.but(claims=DISPUTED).judged(),
        FREE.but(rules=None, signed=frozenset({sha256(OTHER)})).judged(EVERY),
    ]
    assert [type(answer) for answer in answers] == [Judgement, Judgement, NotNow, Never]
