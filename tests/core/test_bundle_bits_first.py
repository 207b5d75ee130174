"""The first half of a bundle, bit by bit (in CI, else some of each byte); the second is in a file of its own, so that both run side by side."""

from tests.core.bundlebits import every_bit_fails


def test_every_changed_bit_of_the_first_half_is_refused_where_it_is():
    assert every_bit_fails(0, 1).keys() == {
        "bundle-form", "bundle-file", "bundle-decision", "bundle-checkpoint", "bundle-envelopes",
        "bundle-evidence", "bundle-policy",
    }  # fmt: skip
