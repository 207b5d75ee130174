"""The second half of a bundle, bit by bit, and its file."""

import pytest

from attestor.core.errors import Rejected
from tests.bundles import CONTENT, flips, measured
from tests.core.bundlebits import bundle, check, every_bit_fails


def test_every_changed_bit_of_the_second_half_is_refused_where_it_is():
    assert every_bit_fails(1, 2).keys() == {
        "bundle-form", "bundle-policy", "bundle-release", "bundle-signature", "bundle-signed",
        "bundle-checkpoint", "bundle-summary",
    }  # fmt: skip


def test_every_changed_bit_of_the_file_is_refused():
    seen = 0
    for _, changed in flips(CONTENT, 0, len(CONTENT)):
        with pytest.raises(Rejected) as caught:
            check()(bundle(), file=measured(changed))
        assert caught.value.code == "bundle-file"
        seen += 1
    assert seen == len(CONTENT) * 8


@pytest.mark.parametrize("content", [CONTENT + b"\n", CONTENT[:-1], b""], ids=["longer", "shorter", "empty"])
def test_another_length_of_the_file_is_refused(content):
    with pytest.raises(Rejected) as caught:
        check()(bundle(), file=measured(content))
    assert caught.value.code == "bundle-file"
