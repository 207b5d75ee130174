"""Histories, drawn choice by choice: *pick* takes one of several, as hypothesis or a random generator does."""

from dataclasses import replace
from datetime import timedelta

from tests.reference import evaluator as plain
from tests.reference.policies import APPROVER_KEYS, RELEASES, REQUESTERS, changed, some_key, some_policy
from tests.reference.tongues import ACTIONS, content
from tests.reference.world import World

LIFTS = {
    "disputed": "dispute",
    "version-not-newer": "downgrade",
    "quota-used": "quota",
    "other-digest-signed": "re-sign",
    "approval-needed": "release",
}
CLOCK = tuple(
    timedelta(hours=hours)
    for hours in (1, 5, 9, 9, 30, 30, 24 * 6, 24 * 32, 24 * 32, 24 * 320, -1, -9, -30, -24 * 8, -24 * 40)
)

STEPS = {
    # Agreement comes and goes.
    "votes": ["agree"] * 6
    + ["vote"] * 3
    + ["dissent"] * 4
    + ["withdraw"] * 3
    + ["bring"] * 5
    + ["race"] * 2
    + ["clock"]
    + ["policy"] * 3
    + ["forget", "stolen", "stolen", "interrupted"]
    + ["approve"] * 2,
    # Agreement is quickly had, and what other releases did before stands in the way.
    "past": ["agree"] * 8
    + ["bring"] * 6
    + ["race"] * 4
    + ["clock"] * 3
    + ["policy"]
    + ["approve"] * 3
    + ["exception"] * 2
    + ["manifest", "revoke"],
    # People let things through.
    "people": ["agree"] * 5
    + ["dissent"] * 4
    + ["vote", "withdraw"]
    + ["bring"] * 6
    + ["race"] * 2
    + ["clock"]
    + ["policy"]
    + ["approve"] * 4
    + ["exception"] * 6
    + ["manifest", "revoke"],
    # A release is wanted with other bytes than were signed.
    "anew": ["agree"] * 4
    + ["vote"]
    + ["turn"] * 3
    + ["bring"] * 6
    + ["race"]
    + ["clock", "policy"]
    + ["approve"] * 4
    + ["exception"] * 2
    + ["revoke"],
    # Signers stop anywhere.
    "steps": ["agree"] * 5
    + ["judge"] * 5
    + ["append"] * 4
    + ["call"] * 4
    + ["race"] * 2
    + ["interrupted"] * 6
    + ["dissent"] * 3
    + ["withdraw", "withdraw", "vote", "clock", "policy", "revoke"]
    + ["approve"] * 5,
}


MEANWHILE = ("withdraw", "withdraw", "dissent", "vote", "clock", "policy", "revoke", "turn", "bring", "approve")


class History:
    """A world and what is done in it; *looked* is told of every look of a signer."""

    def __init__(self, pick, looked):
        self.pick = pick
        self.looked = looked
        self.focus = pick(tuple(STEPS))
        self.world = World(some_policy(pick, self.focus), shows_all=pick((False, False, True)))
        families = sorted({tier.name.partition("-")[0] for tier in self.world.policy.tiers})
        pool = [release for family in families for release in RELEASES[family]]
        few = (2, 3, 4) if self.focus != "past" else (4, 5, 6)
        self.releases = [pick(pool) for _ in range(pick(few))]
        self.reasons = {}
        self.told = []

    def go(self, steps):
        for _ in range(steps):
            self.step(self.pick(STEPS[self.focus]))

    def step(self, name):
        getattr(self, f"_{name}")()

    # -------------------------------------------------------------- operators

    def _keys_of(self, operator):
        keys = [key for key in self.world.policy.keys if key.owner == operator]
        return keys or [some_key(operator, operator)]

    def _voice(self, operator):
        """The key that an operator votes with: mostly one that counts now."""
        keys = self._keys_of(operator)
        valid = [key for key in keys if plain.key_counts(key, self.world.now)] or keys
        return self.pick((valid[0],) * 5 + (valid[-1], keys[0]))

    def _agree(self, release=None):
        """As many operators as it takes state the same bytes, and these are asked for."""
        release = release or self.pick(self.releases)
        said = [vote.sha256 for vote in self.world.votes if vote.release.id == release.id]
        label = "B" if self.pick((False,) * 9 + (True,)) or (said and said[-1] == content("B")[0].hexdigest()) else "A"
        tier = self._tier(release)
        if tier is None:
            return
        operators = sorted(tier.operators)
        self._tell("agree", release.file_name, label)
        first = self.pick((0, 0, 1))
        for operator in (operators[first:] + operators[:first])[: self.pick((tier.n, tier.n, len(operators)))]:
            self.world.vote(self._voice(operator), release, label)
        if self.focus == "people" and self.pick((True, False, False)):
            self._dissent(release)
        if self.pick((True, True, False)):
            self._told_ask(release, label, self.pick(REQUESTERS))

    def _vote(self):
        release, label = self.pick(self.releases), self.pick(("A", "B", "B", None))
        key = self.pick(self.world.policy.keys)
        lie, number = self.pick((None, None, None, "sha512", "size")), self.pick((0, 0, 1))
        self._tell("vote", key.name, release.file_name, label, lie)
        self.world.vote(key, release, label, number, lie)

    def _dissent(self, release=None):
        """Somebody who said nothing yet states other bytes than the others do."""
        release = release or self.pick(self.releases)
        votes = [vote for vote in self.world.votes if vote.release.id == release.id]
        tier = self._tier(release)
        silent = sorted((tier.operators if tier else set()) - {vote.operator for vote in votes})
        if votes and silent:
            label = "B" if votes[0].sha256 == content("A")[0].hexdigest() else "A"
            operator = self.pick(silent)
            self._tell("dissent", operator, release.file_name, label)
            self.world.vote(self._voice(operator), release, label)

    def _turn(self, release=None):
        """All who voted for one digest of a release take that back and state the other one."""
        release = release or self.pick(self.releases)
        votes = [vote for vote in self.world.votes if vote.release.id == release.id]
        if not votes or self._tier(release) is None:
            return
        said = votes[-1].sha256
        label = "B" if said == content("A")[0].hexdigest() else "A"
        self._tell("turn", release.file_name, label)
        for vote in votes:
            if vote.sha256 == said:
                keys = [key for key in self._keys_of(vote.operator) if plain.key_counts(key, self.world.now)]
                if keys:
                    self.world.withdraw(vote, release, keys[0])
                    self.world.vote(keys[0], release, label, self.pick((0, 1)))
        self._told_ask(release, label, "builder")

    def _withdraw(self):
        if not self.world.votes:
            return
        vote = self.pick(self.world.votes)
        names = [key.name for key in self._keys_of(vote.operator)]
        self._take_back(vote, self.pick((names[-1], self.pick(names))))

    def _take_back(self, vote, name):
        found = [key for key in self.world.policy.keys if key.name == name and plain.key_counts(key, self.world.now)]
        if found:
            release = next(each for each in self.releases if each.id == vote.release.id)
            self._tell("withdraw", vote.operator, vote.payload[:8], "by", name)
            self.world.withdraw(vote, release, found[0])

    # -------------------------------------------------------------- requests

    def _ask(self):
        voted = [
            release for release in self.releases if any(vote.release.id == release.id for vote in self.world.votes)
        ]
        release, label = self.pick(voted or self.releases), self.pick(("A", "A", "A", "B"))
        requester = self.pick(REQUESTERS)
        self._told_ask(release, label, requester)

    def _told_ask(self, release, label, requester):
        self._tell("ask", len(self.world.asked), release.file_name, label, requester)
        return self.world.ask(release, label, requester, anew=self.pick((False, False, False, True)))

    def _asked(self):
        if not self.world.asked:
            self._agree()
        if not self.world.asked:
            self._ask()
        # Mostly what nobody looked at yet.
        live = [asked for asked in self.world.asked if not asked.gone]
        left = [asked for asked in live if not asked.signed]
        fresh = [asked for asked in left if asked.plain.id not in self.reasons]
        if not fresh and self.pick((True, False)):
            self._agree()
            fresh = self.world.asked[-1:]
        return self.pick(
            (fresh or left or live)[-1:] * 3 + (left or live)[-1:] + [self.pick(left or live), self.pick(live)]
        )

    def _bring(self, asked=None):
        asked = asked or self._asked()
        if asked.signed:
            return
        self._judge(asked)
        self._append(asked)
        self._call(asked)

    def _interrupted(self, asked=None):
        """Something happens between the decision entry and the call; then it is looked at again."""
        asked = asked or self._asked()
        if asked.signed:
            return
        self._judge(asked)
        if self.pick((True, False, False)):
            self.step(self.pick(MEANWHILE))
        self._append(asked)
        for _ in range(self.pick((1, 1, 2))):
            self.step(self.pick(MEANWHILE))
        self._call(asked)
        self._bring(asked)

    def _race(self):
        """Two signers: both judge, both append, in either order; each then looks once more."""
        one, other = self._rivals()
        self._judge(one)
        self._judge(other)
        self._append(one)
        self._append(other)
        self._call(self.pick((one, other)))
        self._call(one)
        self._call(other)

    def _rivals(self):
        """Two requests, often for two releases of one line."""
        one = self._asked()
        line = [each for each in self.releases if each.name == one.real.release.name and each != one.real.release]
        tier = self._tier(one.real.release)
        if line and tier is not None and self.pick((True, True, False)):
            return self.pick(((one, self._agreed(self.pick(line), tier)), (self._agreed(self.pick(line), tier), one)))
        return one, self._asked()

    def _judge(self, asked=None):
        asked = asked or self._asked()
        if asked.logged is None and not asked.gone:
            look = self.world.judge(asked)
            self.reasons[asked.plain.id] = look.reason
            self._look(asked, look)

    def _append(self, asked=None):
        self.world.append(asked or self._asked())

    def _call(self, asked=None):
        asked = asked or self._asked()
        look = self.world.call(asked)
        if look is None:
            return
        self._look(asked, look)
        if look.allowed:
            self.world.keep_signature(asked)
        else:
            asked.logged = None

    def _look(self, asked, look):
        self._tell(look.step, int(asked.plain.id[-2:], 16) - 1, look.allowed, look.reason)
        self.looked(self, asked, look)

    # -------------------------------------------------------------- people

    def _approve(self, asked=None, action=None):
        """What blocks a request, enough people approve; or all but one, or one of them not quite that."""
        held = [each for each in self.world.asked if not each.gone and self.reasons.get(each.plain.id) in LIFTS]
        asked = asked or (self.pick(held) if held and self.pick((True, True, True, False)) else self._asked())
        tier = self._tier(asked.plain.release)
        if tier is None:
            return
        action = LIFTS.get(self.reasons.get(asked.plain.id, "")) or action or self.pick(ACTIONS)
        needed = tier.approvals.get(action, 1)
        keys = list(self.world.policy.approver_keys)
        first = self.pick(range(len(keys))) if keys else 0
        keys = keys[first:] + keys[:first]
        wrong = self.pick((False, False, False, True))
        if needed > 1 and self.pick((False, False, False, True)):
            # One person with two keys.
            keys = sorted(keys, key=lambda key: key.owner != "anna")
        for number, key in enumerate(keys[: self.pick((needed, needed, needed, needed, needed - 1, 4))]):
            one = self._wrong(asked, action) if wrong and number == 0 else ("right", {})
            self._tell("approve", int(asked.plain.id[-2:], 16) - 1, action, key.name, one[0])
            self.world.approve(asked, one[1].pop("action", action), key, hours=self.pick((6, 12, 24, 48)), **one[1])
        if self.pick((False,) * 5 + (True,)):
            self._revoke(-1)

    def _exception(self):
        """Something that only people let through comes to be wanted; they are asked, and it is looked at again."""
        voted = {vote.release.id for vote in self.world.votes}
        fresh = [release for release in self.releases if release.id not in voted]
        release = self.pick(fresh or self.releases)
        tier = self._tier(release)
        if tier is None:
            return
        possible = {
            "release": True,
            "re-sign": True,
            "downgrade": tier.order != "none" and sum(each.name == release.name for each in self.releases) > 1,
            "quota": tier.quota is not None,
            "dispute": tier.n + tier.dissent_limit < len(tier.operators),
        }
        wanted = [each for each in ACTIONS if each in tier.approvals and possible[each]]
        rare = [each for each in wanted if each in {"dispute", "downgrade"}]
        action = self.pick((wanted or ["release"]) + rare * 2)
        asked = getattr(self, "_wanting_" + action.replace("-", "_"))(release, tier)
        for _ in range(3):
            if asked is None or asked.signed or asked.gone:
                return
            self.pick((self._bring, self._bring, self._bring, self._interrupted, self._void))(asked)
            if LIFTS.get(self.reasons.get(asked.plain.id)) in tier.approvals:
                self._approve(asked)
                self.step(self.pick(("nothing",) * 6 + ("policy", "suspend", "clock", "dissent")))
        self._bring(asked)

    def _nothing(self):
        pass

    def _void(self, asked):
        """A decision that another policy makes void before the call has spent its approvals all the same."""
        if asked.signed:
            return
        self._judge(asked)
        self._append(asked)
        self._change(replace(self.world.policy, serial=self.world.policy.serial + 1))
        self._call(asked)
        self._bring(asked)

    def _wanting_release(self, release, tier):
        return self._agreed(release, tier)

    def _wanting_quota(self, release, tier):
        others = [each for each in self.releases if each != release]
        for other in others[: tier.quota[0] if tier.quota else 0]:
            self._bring(self._agreed(other, tier))
        return self._agreed(release, tier)

    def _wanting_downgrade(self, release, tier):
        line = [each for each in self.releases if each.name == release.name]
        line.sort(key=lambda each: plain.parts(each.version))
        self._bring(self._agreed(line[-1], tier))
        return self._agreed(line[0], tier)

    def _wanting_dispute(self, release, tier):
        asked = self._agreed(release, tier)
        for _ in range(tier.dissent_limit + 1):
            self._dissent(release)
        return asked

    def _wanting_re_sign(self, release, tier):
        self._bring(self._agreed(release, tier))
        self._turn(release)
        return self.world.asked[-1]

    def _agreed(self, release, tier):
        """The request for bytes that as many operators as it takes state."""
        said = [vote.sha256 for vote in self.world.votes if vote.release.id == release.id]
        label = "B" if said and said[-1] == content("B")[0].hexdigest() else "A"
        for operator in self._first_operators(tier):
            self.world.vote(self._voice(operator), release, label)
        return self._told_ask(release, label, self.pick(("builder", self.pick(REQUESTERS))))

    def _first_operators(self, tier):
        return sorted(tier.operators - self.world.policy.suspended, key=lambda each: (each not in tier.required, each))[
            : tier.n
        ]

    def _wrong(self, asked, action):
        """Exactly one binding is another."""
        other = content("B" if asked.plain.sha256 == content("A")[0].hexdigest() else "A")[0].hexdigest()
        tier = self._tier(asked.plain.release)
        strange = next((each.id for each in self.releases if each.id != asked.plain.release.id), "55" * 32)
        return self.pick(
            (
                ("origin", {"origin": "there"}),
                ("action", {"action": self.pick([each for each in ACTIONS if each != action])}),
                ("tier", {"tier": replace(tier, name="elsewhere")}),
                ("rules", {"rules": True}),
                ("digest", {"sha256": other}),
                ("release", {"release": strange}),
                ("request", {"request": f"00000000-0000-0000-0000-0000000000{len(self.world.asked) + 1:02x}"}),
                ("over", {"begin": timedelta(hours=-100)}),
                ("not begun", {"begin": timedelta(hours=3)}),
                ("too long", {"longer": timedelta(hours=49)}),
                *[("signature", {"signature": True})] * 2,
                ("manifest without it", {"others": [("66" * 32, "77" * 32)], "left_out": True}),
            )
        )

    def _manifest(self):
        """One approval of all that was asked."""
        asked = self._asked()
        if self._tier(asked.plain.release) is None or not self.world.policy.approver_keys:
            return
        pairs = [(each.plain.release.id, each.plain.sha256) for each in self.world.asked]
        action = self.pick(ACTIONS)
        for key in self.pick((APPROVER_KEYS[:2], APPROVER_KEYS[2:])):
            found = [each for each in self.world.policy.approver_keys if each.name == key]
            if found:
                self._tell("manifest", action, key)
                self.world.approve(asked, action, found[0], others=pairs)

    def _revoke(self, which=None):
        if self.world.approvals:
            given, _ = self.pick(self.world.approvals) if which is None else self.world.approvals[which]
            self._tell("revoke", given.digest.hex()[:8])
            self.world.revoke(given)

    # -------------------------------------------------------------- time and rules

    def _stolen(self):
        """An operator's two statements, one of them taken back by another key, which is found to be a thief's, mostly."""
        release = self.pick(self.releases)
        tier = self._tier(release)
        now = [key for key in self.world.policy.keys if plain.key_counts(key, self.world.now)]
        pairs = sorted({key.owner for key in now if key.name.endswith("-2")} & tier.operators) if tier else []
        if not pairs:
            return
        asked, operator = self._agreed(release, tier), self.pick(pairs)
        label = self.pick(("A", "B"))
        self._tell("vote", operator, release.file_name, label)
        self.world.vote(self._keys_of(operator)[0], release, label)
        mine = [vote for vote in self.world.votes if (vote.operator, vote.release.id) == (operator, release.id)]
        self._take_back(self.pick((mine[-1], self.pick(mine))), f"{operator}-2")
        if self.pick((True, True, True, False)):
            self._forget(f"{operator}-2")
        self._bring(asked)

    def _forget(self, name=None):
        """A key that took something back leaves the policy, or is found to be stolen."""
        policy = self.world.policy
        taken = [event.key for event in self.world.events if isinstance(event, plain.Withdrawn)]
        keys = [key for key in policy.keys if key.name in taken and name in (None, key.name)]
        if keys:
            key = self.pick(keys)
            kept = tuple(each for each in policy.keys if each != key)
            left = self.pick(((), (replace(key, revoked=True),)))
            self._tell("forget", key.name, "revoked" if left else "removed")
            self.world.change_policy(replace(policy, serial=policy.serial + 1, keys=(*kept, *left)))

    def _clock(self):
        step = self.pick(CLOCK)
        self._tell("clock", step)
        self.world.now += step

    def _policy(self):
        policy = changed(self.pick, self.world.policy)
        if policy.keys:
            self._change(policy)

    def _suspend(self):
        """Somebody who said nothing, as far as there is one."""
        policy = self.world.policy
        operators = {key.owner for key in policy.keys}
        silent = operators - {vote.operator for vote in self.world.votes}
        operator = self.pick(sorted(silent or operators))
        self._change(replace(policy, serial=policy.serial + 1, suspended=policy.suspended ^ {operator}))

    def _change(self, policy):
        self._tell("policy", policy.serial)
        self.world.change_policy(policy)

    def _tier(self, release):
        return next(
            (
                tier
                for tier in self.world.policy.tiers
                if (tier.kind, tier.type) == (str(getattr(release.kind, "value", release.kind)), release.type)
                and tier.arch in (None, release.arch)
            ),
            None,
        )

    def _tell(self, *words):
        self.told.append(" ".join(map(str, words)))
