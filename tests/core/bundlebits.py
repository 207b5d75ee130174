"""One real bundle, with a witness; every changed bit has to fail at the place where it is."""

import os
import re
from collections import Counter
from dataclasses import replace
from functools import cache

from attestor.core.bundle import encode_bundle, read_bundle
from attestor.core.bundlecheck import check_bundle
from attestor.core.errors import Rejected
from attestor.core.policyfile import parse_policy
from attestor.openpgp.approvers import Approvers
from tests.bundles import CONTENT, ORIGIN, Making, flips, measured, policy_file, reader
from tests.logkeys import log_signer

POLICY = policy_file(witnesses={"w": "https://w.example"}, quorum=1)
PLACES = {
    "artifact": {"bundle-file"},
    "decision": {"bundle-decision", "bundle-checkpoint"},
    "envelopes": {"bundle-envelopes"},
    "evidence": {"bundle-evidence"},
    "policy": {"bundle-policy"},
    "release": {"bundle-release"},
    "signature": {"bundle-signature"},
    "signed": {"bundle-signed", "bundle-checkpoint"},
    "summary": {"bundle-summary"},
    "type": set(),
    "version": set(),
    "withdrawals": set(),
}
"""Each member in canonical order, and where a change in it is said to be, if it is not the form that it breaks."""
BITS = 8 if os.environ.get("CI") else 2
"""Of each byte; all of them take most of a minute, which CI has."""
SAYS_WHERE = re.compile(r"byte \d+|`[^`]+`|^The bundle's \w+|truncated")


@cache
def bundle():
    made = Making(policy=POLICY)
    return encode_bundle(replace(made, log=replace(made.log, witnesses=("w",))).bundle())


@cache
def check():
    given = {
        "file": measured(CONTENT),
        "policy": parse_policy(POLICY, "policy.toml"),
        "log_key": log_signer(ORIGIN).verifier,
        "openpgp": reader(CONTENT),
        "approvals": Approvers().verify,
    }
    return lambda raw, **other: check_bundle(read_bundle(raw), **(given | other))


def members(raw):
    """The member in which each byte stands; the name belongs to its member."""
    starts = [raw.index(f'"{name}":'.encode()) for name in PLACES]
    assert starts == sorted(starts)
    for name, start, end in zip(PLACES, starts, [*starts[1:], len(raw)], strict=True):
        yield from [name] * (end - (0 if name == "artifact" else start))


def every_bit_fails(start, end):
    """From *start* to *end*, in halves of the bundle, ``BITS`` of each byte; says how often each place was named."""
    raw, verify = bundle(), check()
    assert len(verify(raw)) == 11
    named = list(members(raw))
    begin, stop = len(raw) * start // 2, len(raw) * end // 2
    codes = Counter()
    for at, changed in flips(raw, begin, stop, BITS):
        error = refusal(verify, changed)
        assert error, (at, named[at], "was not noticed")
        codes[error.code] += 1
        if error.code == "bundle-form":
            assert SAYS_WHERE.search(error.sentence), (at, error.sentence)
        else:
            assert error.code in PLACES[named[at]], (at, named[at], str(error))
    assert codes.total() == (stop - begin) * BITS > BITS * 6_000
    return codes


def refusal(verify, changed):
    # pytest.raises takes as long as all that it looks at here.
    try:
        verify(changed)
    except Rejected as error:
        return error
    return None
