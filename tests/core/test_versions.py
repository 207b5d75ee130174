"""Orders of versions are those of the programs that install them: near-equal pairs by the thousand, and their laws."""

import itertools
import random
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attestor.core.errors import Rejected
from attestor.core.versions import MAX_VERSION_BYTES, VersionOrder, compare, is_newer, newest, refuse_unordered

ALPM, DEBIAN, SEQUENCE = VersionOrder.ALPM, VersionOrder.DEBIAN, VersionOrder.SEQUENCE
WORDS = {-1: "lt", 0: "eq", 1: "gt"}

# The first half is pacman's own test/util/vercmptest.sh, by meaning; the second is what only its source tells.
ALPM_PAIRS = [
    ("1.5.0", "1.5.0", 0),
    ("1.5.1", "1.5.0", 1),
    ("1.5.1", "1.5", 1),
    ("1.5.0-1", "1.5.0-2", -1),
    ("1.5.0-2", "1.5.1-1", -1),
    ("1.5", "1.5-1", 0),
    ("1.0-1", "1.1", -1),
    ("1.5b-1", "1.5-1", -1),
    ("1.0a", "1.0alpha", -1),
    ("1.0beta", "1.0p", -1),
    ("1.0rc", "1.0", -1),
    ("1.5.a", "1.5", 1),
    ("1.5.1", "1.5.b", 1),
    ("1.5-1", "1.5.b", -1),
    ("2.0_a", "2_0.a", 0),
    ("2.0a", "2.0.a", -1),
    ("2___a", "2_a", 1),
    ("1:1.0", "0:1.1-1", 1),
    ("0:1.0", "1.0", 0),
    ("1:1.0", "1.1", 1),
    ("1.0.", "1.0", 1),
    ("1.0.", "1.0..", 0),
    ("1.0.", "1.0.1", -1),
    ("1.0.", "1.0..a", 1),
    ("1.0..a", "1.0.1", 1),
    ("1.0a", "1.0.", -1),
    ("1.0~rc1", "1.0", 1),
    ("1.0~rc1", "1.0.rc1", 0),
    ("1.001", "1.1", 0),
    ("1.000", "1.0", 0),
    ("0", "00", 0),
    ("1.0é", "1.0..", 0),
    ("1é1", "1.1", 1),
    ("1é1", "1..1", 0),
    ("01:1", "1:1", 0),
    (":1", "1", 0),
    ("a:1", "1", -1),
    ("1:-1", "1:", 0),
    ("1:", "1:0", -1),
    ("1-", "1-1", -1),
    ("1-1-1", "1-1", 1),
    ("1:2:3", "1:2.3", 0),
    ("A", "a", -1),
    ("1" * 40, "1" * 39 + "0", 1),
    (".1", "1", 1),
    ("..", ".", 0),
    (".", "a", 1),
]
ALPM_REAL = [
    *("1:2.50.1-1", "6.15.9.arch1-1", "2025.10.12-1", "1.3.1+r2+gabc1234-1", "3.5.4-1", "20250808.g3eb1f8e-1"),
    *("5.3.3-2", "2.42+r17+gd7274d718e6f-1", "1:1.4.309-1", "0.9.r3.g1a2b3c4-1", "7.0.0.r6.gc685ae6-1"),
    *("9.9p2-1", "1.2rc3-1", "2:1.0.0beta2-1", "8.0.1.1-1.1", "r1234.deadbee-1", "2025b-1", "10.0.0_alpha-3"),
    *("3.2~1-1", "0.1.0^git-1"),
]
DEBIAN_REAL = [
    *("5.2.15-2", "1:2.50.1-0.1", "2.36-9+deb12u10", "1.0~rc1-1", "1.0~~rc1-1~bpo12+1", "3.0.15-1~deb12u1"),
    *("2:4.13.1-0ubuntu0.16.04.1.1~", "1.2.3+dfsg-4", "7.88.1-10+deb12u12+b1", "20230311+deb12u1"),
    *("0.0~git20230101.abcdef-3", "1.0-1.1", "1.0-0", "1.0", "0:1.0", "4.19.0-1-1", "2.0a-b-3", "9.9p2-1"),
    *("2025b-0+deb12u1", "1.0+really0.9-1", "1.0.", "1.0-~", "001.02-03"),
]


def mutated(chance, version, characters, pieces):
    """One small change, most of them where digits, letters and separators meet."""
    at = chance.randrange(len(version) + 1)
    head, tail = version[:at], version[at:]
    return chance.choice(
        [
            head + chance.choice(characters) + tail,
            head + tail[1:],
            head + chance.choice(characters) + tail[1:],
            head + tail[:1] + tail,
            head + chance.choice(pieces),
            head + "0" + tail,
            version + chance.choice(characters + pieces),
            chance.choice(["0:", "1:", "0", "00:"]) + version,
            version.rpartition("-")[0],
        ]
    )


def near_pairs(versions, characters, pieces, count, is_version):
    chance = random.Random(f"{count} pairs")  # noqa: S311 - the same pairs in every run
    while count:
        one = chance.choice(versions)
        for _ in range(chance.randrange(3)):
            one = mutated(chance, one, characters, pieces)
        other = mutated(chance, one, characters, pieces) if chance.random() < 0.9 else chance.choice(versions)
        if is_version(one) and is_version(other):
            count -= 1
            yield (one, other) if chance.random() < 0.5 else (other, one)


def each_verdict_is_common(verdicts):
    assert min(verdicts.count(verdict) for verdict in (-1, 0, 1)) > len(verdicts) // 12


def answers(arguments, per_call, program):
    given_ = b"".join(argument.encode() + b"\0" for argument in arguments)
    command = ["xargs", "--null", "--no-run-if-empty", f"--max-args={per_call}", *program]
    return subprocess.run(command, input=given_, capture_output=True, timeout=120, check=False)


@pytest.mark.required_in_ci
def test_alpm_is_what_vercmp_says(tool):
    characters = [*"0129abzAZ._+~^:-", "é"]
    pieces = ["..", ".a", "..a", ".1", "rc1", "-1", "-1.1", "a1", ".é", "~~"]
    versions = [*ALPM_REAL, *(version for one, other, _ in ALPM_PAIRS for version in (one, other))]
    pairs = [(one, other) for one, other, _ in ALPM_PAIRS]
    pairs += near_pairs(versions, characters, pieces, 2000, lambda version: version not in ("", "-h", "--help"))

    said = answers(itertools.chain.from_iterable(pairs), 2, [tool("vercmp")])

    verdicts = [int(line) for line in said.stdout.split()]
    assert len(verdicts) == len(pairs)
    each_verdict_is_common(verdicts)
    wrong = [(*pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True) if compare(ALPM, *pair) != verdict]
    assert not wrong


def is_debian(version):
    try:
        return compare(DEBIAN, version, version) == 0
    except Rejected:
        return False


@pytest.mark.required_in_ci
def test_debian_is_what_dpkg_says(tool):
    pieces = ["~", "~~", "~rc1", "-1", "-0", "+b1", ".0", "-~", "a", "--1"]
    pairs = list(near_pairs(DEBIAN_REAL, [*"0129abzAZ.+~-"], pieces, 1000, is_debian))
    verdicts = [compare(DEBIAN, *pair) for pair in pairs]
    each_verdict_is_common(verdicts)
    calls = [
        ("--compare-versions", one, WORDS[verdict], other)
        for (one, other), verdict in zip(pairs, verdicts, strict=True)
    ]
    program = [tool("dpkg")]

    said = answers(itertools.chain.from_iterable(calls), 4, program)

    # dpkg answers by exit code, and xargs sums up: 0 where all agreed.
    assert said.returncode == 0, [call for call in calls if answers(call, 4, program).returncode]
    assert said.stderr == b""
    assert answers(("--compare-versions", "1.0", "gt", "1.0~"), 4, program).returncode == 0
    assert answers(("--compare-versions", "1.0", "lt", "1.0~"), 4, program).returncode == 123


def assert_order(order, one, other, verdict):
    assert compare(order, one, other) == verdict
    assert compare(order, other, one) == -verdict
    assert is_newer(order, one, other) == (verdict == 1)
    assert is_newer(order, other, one) == (verdict == -1)


@pytest.mark.parametrize(("one", "other", "verdict"), ALPM_PAIRS)
def test_alpm_has_pacman_s_corners(one, other, verdict):
    assert_order(ALPM, one, other, verdict)


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("1.0~rc1", "1.0", -1),
        ("1.0", "1.0-0", 0),
        ("0:1.0", "1.0", 0),
        ("1.0-1", "1.0-1+b1", -1),
        ("1:0.1", "9.9", 1),
        ("1.0-1-1", "1.0-2", 1),
        ("1.0+a", "1.0a", 1),
        ("1.01", "1.1", 0),
    ],
)
def test_debian_versions(one, other, verdict):
    assert_order(DEBIAN, one, other, verdict)


@pytest.mark.parametrize(
    ("one", "other", "verdict"),
    [
        ("1764000000", "1764000001", -1),
        ("999", "1000", -1),
        ("2025.10.01", "2025.9.30", 1),
        ("2025.10.01", "2025.10.1", 0),
        ("2025.10.01", "2025.10.01.1", -1),
        ("0", "00", 0),
    ],
)
def test_sequences(one, other, verdict):
    assert_order(SEQUENCE, one, other, verdict)


EVERYWHERE = ["", "1\0", "1\0.2", "\ud800", "1" * (MAX_VERSION_BYTES + 1), "1." + "é" * (MAX_VERSION_BYTES // 2)]
UNORDERED = {
    ALPM: [],
    DEBIAN: [
        *(" 1.0", "1.0 ", "1.0\n", "\t1.0", "a1", "-1", "1.0-", "1.0-1-", ":1", "1:", "a:1", "+1:1", "1:2:3", "1:-1"),
        *("1_0", "1.0-1_1", "1.0é", "1٠", "١:1.0", "1.0/1", "~1", "1234567890:1", "1:a", "None"),
    ],
    SEQUENCE: [
        *(
            " 1",
            "1 ",
            "1\n",
            "1.",
            ".1",
            "1..1",
            "-1",
            "+1",
            "1_000",
            "1e3",
            "0x1",
            "1.0rc1",
            "1-1",
            "٣",
            "²",
            "1:1",
            "1,0",
        ),
    ],
}


@pytest.mark.parametrize(
    ("order", "version"), [(order, version) for order, own in UNORDERED.items() for version in EVERYWHERE + own]
)
def test_what_is_no_version_is_refused_on_either_side(order, version):
    for ask in (
        lambda: compare(order, version, "1"),
        lambda: compare(order, "1", version),
        lambda: compare(order, version, version),
        lambda: is_newer(order, version, "1"),
        lambda: refuse_unordered(order, version),
        lambda: newest(order, None, version),
    ):
        with pytest.raises(Rejected) as refusal:
            ask()
        assert refusal.value.code == "version-unordered"
        assert str(refusal.value).isprintable()


@pytest.mark.parametrize("version", ["1", "1.0", "not a version"])
def test_the_order_none_cannot_be_asked(version):
    for ask in (compare, is_newer, newest):
        with pytest.raises(ValueError, match="none"):
            ask(VersionOrder.NONE, version, version)
    with pytest.raises(ValueError, match="none"):
        refuse_unordered(VersionOrder.NONE, version)


@pytest.mark.parametrize("order", [ALPM, DEBIAN, SEQUENCE])
@pytest.mark.parametrize("unit", ["1", "a", "-", "1-", "-a", ".", "1.", "~", "+1", ":", "0"])
def test_the_longest_versions_are_answered(order, unit):
    version = ("1" + unit * MAX_VERSION_BYTES)[: MAX_VERSION_BYTES - 1]
    for last in ("1", "_"):
        try:
            assert compare(order, version + last, version + last) == 0
        except Rejected as refusal:
            assert refusal.code == "version-unordered"  # noqa: PT017 - either answer will do, if one comes


@pytest.mark.parametrize("version", ["1.0.", "1.0.-1", "1:1.0_-1", "1.0+", ".", "1-1."])
def test_what_pacman_orders_in_a_circle_has_no_place_in_a_maximum(version):
    assert compare(ALPM, version, version) == 0
    with pytest.raises(Rejected, match="circle") as refusal:
        newest(ALPM, None, version)
    assert refusal.value.code == "version-unordered"


def test_the_circle():
    circle = ["1.0.1-1", "1.0..a-1", "1.0.-1"]
    assert [compare(ALPM, one, other) for one, other in zip(circle, circle[1:] + circle[:1], strict=True)] == [-1] * 3


PART = st.text("0012ab..+~_", min_size=1, max_size=6)
INNER = PART.filter(lambda part: part[-1].isalnum())
VERSIONS = {
    ALPM: st.builds(
        "{}{}-{}".format, st.sampled_from(["", "0:", "1:"]), INNER, st.sampled_from(["1", "1.1", "2", "01"])
    ),
    DEBIAN: st.builds(
        "{}{}{}{}".format,
        st.sampled_from(["", "0:", "1:"]),
        st.sampled_from("012"),
        st.text("0012ab.+~", max_size=5),
        st.sampled_from(["", "-0", "-1", "-1~", "-1a", "-a-1"]),
    ),
    SEQUENCE: st.lists(st.sampled_from(["0", "00", "1", "01", "2", "10"]), min_size=1, max_size=3).map(".".join),
}
ORDERED = st.sampled_from(sorted(VERSIONS)).flatmap(
    lambda order: st.tuples(st.just(order), st.lists(VERSIONS[order], min_size=3, max_size=3))
)


@given(ORDERED)
def test_each_order_is_one_order(case):
    """Reflexive, antisymmetric and transitive; for alpm without separators at the end, see the circle above."""
    order, versions = case
    for one, other, third in itertools.permutations(versions):
        assert compare(order, one, one) == 0
        assert compare(order, one, other) == -compare(order, other, one)
        if compare(order, one, other) <= 0 and compare(order, other, third) <= 0:
            assert compare(order, one, third) == min(compare(order, one, other), compare(order, other, third))


@given(st.lists(st.text("01a.-:é", min_size=1, max_size=7), min_size=2, max_size=2))
def test_alpm_is_antisymmetric_for_whatever_comes(versions):
    one, other = versions
    assert compare(ALPM, one, other) == -compare(ALPM, other, one)


@given(ORDERED)
def test_newer_than_the_newest_is_newer_than_all(case):
    order, (*signed, candidate) = case
    for seen in itertools.permutations(signed):
        known = None
        for version in seen:
            known = newest(order, known, version)
        assert is_newer(order, candidate, known) == all(is_newer(order, candidate, version) for version in signed)
