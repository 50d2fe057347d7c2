"""Acceptance simulations of the statistics: generators with a known truth, and the numbers each method must reach.

A module per method with `run(scale, seed) -> list[Check]`. Generators live here, never in the method under test.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One acceptance target and what was reached.

    Attributes:
        measure: what was measured.
        reached: the simulated figure.
        target: the figure to reach.
        direction: '<=' or '>='.
        standard_error: Monte-Carlo standard error of `reached`.
    """

    measure: str
    reached: float
    target: float
    direction: str
    standard_error: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the target is reached within two standard errors."""
        slack = 2 * self.standard_error
        if self.direction == "<=":
            return self.reached <= self.target + slack
        return self.reached >= self.target - slack
