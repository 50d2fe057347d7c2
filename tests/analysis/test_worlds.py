"""Odd input in a small version of `make simulate worlds`: nothing is said that is not so, and what is so is said."""

from tests.acceptance.worlds import played


def test_no_odd_world_makes_a_wrong_claim_or_hides_a_right_one() -> None:
    assert [check for check in played.run(scale=1 / played.SEEDS) if not check.holds] == []
