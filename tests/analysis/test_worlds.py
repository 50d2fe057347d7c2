"""Odd input in a small version of `make simulate worlds`: nothing is said that is not so, and what is so is said."""

from tests.acceptance.simulations import worlds


def test_no_odd_world_makes_a_wrong_claim_or_hides_a_right_one() -> None:
    assert [check for check in worlds.run(scale=1 / worlds.SEEDS) if not check.holds] == []
