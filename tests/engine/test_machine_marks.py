"""Marks of machines by the models of `sql/`, against scanners and people whose truth is known."""

from tests.acceptance.simulations import machine_marks as simulation


def test_acceptance_in_small():
    missed = [check for check in simulation.run(scale=0.1) if not check.holds]
    assert not missed
