"""Policies, drawn choice by choice: *pick* takes one of several, as hypothesis or a random generator does."""

from dataclasses import replace
from datetime import timedelta

from tests.reference import evaluator as plain
from tests.reference.tongues import ACTIONS, START, alpm, database, deb, image

OPERATORS = ("alice", "bob", "carol", "dave")
APPROVER_KEYS = ("anna", "anna-2", "ben", "carla")
REQUESTERS = ("builder",) * 6 + ("anna-builds",) * 3 + ("nobody",)
LONG_AGO, FAR = START - timedelta(days=300), START + timedelta(days=900)
SCOPES = (
    ("package", "alpm", "arch", None),
    ("package", "deb", "debian", None),
    ("iso", "generic", "arch", None),
    ("database", "generic", "arch", None),
)
RELEASES = {
    "packages": (
        alpm("foo", "1-1", "x86_64"),
        alpm("foo", "2-1", "x86_64"),
        alpm("foo", "2-1", "x86_64", "xz"),
        alpm("foo", "1.5-2", "any"),
        alpm("foo", "1:1-1", "aarch64"),
        alpm("foo", "2-1", "any"),
        alpm("bar", "1-1", "x86_64"),
        alpm("bar", "2-1", "x86_64"),
    ),
    "debs": (
        deb("foo", "1-1", "amd64"),
        deb("foo", "2-1", "amd64"),
        deb("foo", "1:1-1", "arm64"),
        deb("foo", "1.5-1", "all"),
    ),
    "isos": (image("2026.11.1"), image("2026.12.1"), image("2026.2"), image("9")),
    "databases": (database("7"), database("8"), database("10"), database("9", "extra")),
}
ORDERS = {"packages": "alpm", "debs": "debian", "isos": "sequence", "databases": "sequence"}
KINDS = {
    "packages": ("package", "alpm"),
    "debs": ("package", "deb"),
    "isos": ("iso", "generic"),
    "databases": ("database", "generic"),
}
MANY = {
    "votes": (2, 3, 3, 4),
    "past": (1, 1, 1, 2),
    "people": (3, 3, 3, 4),
    "anew": (1, 1, 2, 3),
    "steps": (1, 3, 3, 4),
}
"""How many operators, for what is looked at."""


def some_policy(pick, focus="votes"):
    operators = OPERATORS[: pick(MANY[focus])]
    families = pick(
        (
            ("packages",),
            ("packages",),
            ("isos",),
            ("databases",),
            ("debs",),
            ("packages", "isos"),
            ("debs", "databases"),
        )
    )
    policy = plain.Policy(
        serial=1,
        tiers=(),
        keys=(*(_first_key(pick, each) for each in operators), *(_second_key(pick, each) for each in operators[:2])),
        suspended=frozenset(),
        approver_keys=tuple(some_key(each, each.partition("-")[0]) for each in APPROVER_KEYS),
        person_of_approver={"anna": "anna", "ben": "ben", "carla": "carla"},
        person_of_requester={"builder": "bea", "anna-builds": "anna"},
    )
    tiers = [tier for family in families for tier in _tiers(pick, family, operators)]
    return replace(policy, tiers=tuple(tiers))


def some_key(name, owner, *, first=LONG_AGO, end=FAR, revoked=False, scopes=SCOPES):
    return plain.Key(name, owner, first, end, revoked, scopes)


def _first_key(pick, owner):
    return pick(
        (
            *(some_key(owner, owner) for _ in range(10)),
            some_key(owner, owner, end=START + timedelta(hours=8)),
            some_key(owner, owner, first=START + timedelta(hours=8)),
        )
    )


def _second_key(pick, owner):
    name = f"{owner}-2"
    return pick(
        (
            some_key(name, owner),
            some_key(name, owner),
            some_key(name, owner),
            some_key(name, owner, end=START + timedelta(hours=8)),
            some_key(name, owner, first=START + timedelta(hours=8)),
            some_key(name, owner, revoked=True),
            some_key(name, owner, scopes=(("package", "alpm", "arch", "x86_64"),)),
        )
    )


def _tiers(pick, family, operators):
    if family == "packages" and pick((False, False, True)):
        # Two tiers with one line of versions between them.
        for arch in ("x86_64", "any", "aarch64"):
            yield replace(some_tier(pick, family, operators), name=f"{family}-{arch.replace('_', '-')}", arch=arch)
    else:
        yield some_tier(pick, family, operators)


def some_tier(pick, family, operators):
    m = len(operators)
    n = pick((m // 2 + 1, m // 2 + 1, pick(range(m // 2 + 1, m + 1))))
    quota = pick(
        (None, None, (1, "month"), (1, "day"), (1, "week"), (2, "week"), (1, "year"), (3, "month"), (2, "day"))
    )
    return plain.Tier(
        name=family,
        kind=KINDS[family][0],
        type=KINDS[family][1],
        product="*",
        arch=None,
        operators=frozenset(operators),
        n=n,
        dissent_limit=pick((0, 0, pick(range(m - n + 1)))),
        required=frozenset(pick(((), (), (), (pick(operators),)))),
        signing_key=family,
        requesters=frozenset(pick((("builder", "anna-builds", "nobody"),) * 3 + (("builder",),))),
        order=pick((ORDERS[family], ORDERS[family], "none")),
        quota=quota,
        approvals=some_approvals(pick),
        hours=pick((24, 48)),
    )


def some_approvals(pick):
    return pick(
        (
            {},
            {each: 1 for each in ACTIONS if each != "release"},
            {each: 2 for each in ACTIONS if each != "release"},
            {each: 2 for each in ACTIONS if each != "release"},
            dict.fromkeys(ACTIONS, 1),
            dict.fromkeys(ACTIONS, 2),
            {pick(ACTIONS): 1},
            {pick(ACTIONS): 3, "quota": 2},
        )
    )


def changed(pick, policy):
    """The policy with its next serial and one thing changed."""
    policy = replace(policy, serial=policy.serial + 1)
    number = pick(range(len(policy.tiers)))
    tier = policy.tiers[number]
    family = tier.name.partition("-")[0]
    what = pick(
        (
            *("suspend", "suspend", "revoke", "revoke", "remove", "end", "approver", "approver", "nothing", "nothing"),
            *("quota", "tier", "approvals", "key", "requesters"),
        )
    )
    match what:
        case "nothing":
            return policy
        case "suspend":
            operator = pick(sorted(tier.operators))
            return replace(policy, suspended=policy.suspended ^ {operator})
        case "revoke" | "remove" | "end":
            key = pick(policy.keys)
            kept = tuple(each for each in policy.keys if each != key)
            if what == "remove":
                return replace(policy, keys=kept) if kept else policy
            other = (
                replace(key, revoked=True)
                if what == "revoke"
                else replace(key, end=max(key.first, START) + timedelta(hours=30))
            )
            return replace(policy, keys=(*kept, other))
        case "approver":
            key = pick(policy.approver_keys)
            kept = tuple(each for each in policy.approver_keys if each != key)
            other = pick(((), (replace(key, revoked=True),), (replace(key, end=START + timedelta(hours=20)),)))
            return replace(policy, approver_keys=(*kept, *other))
        case "quota":
            new = replace(tier, quota=pick((None, (1, "month"), (2, "month"), (1, "day"), (1, "week"), (1, "year"))))
        case "approvals":
            new = replace(tier, approvals=some_approvals(pick))
        case "key":
            new = replace(tier, signing_key=f"{tier.signing_key}-new")
        case "requesters":
            new = replace(tier, requesters=frozenset(pick((("builder",), ("anna-builds",)))))
        case _:
            drawn = some_tier(pick, family, sorted(tier.operators))
            new = replace(drawn, name=tier.name, arch=tier.arch, signing_key=tier.signing_key)
    return replace(policy, tiers=(*policy.tiers[:number], new, *policy.tiers[number + 1 :]))
