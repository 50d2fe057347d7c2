"""Odd worlds: bad or unusual input, told by a generator that knows the truth, and run through the product's functions.

A claim is what reaches people: a grave incident (it stands in the digest and the inbox), an opportunity, an insight, a
verdict, a recommendation, or a published count. It is wrong if the truth of the world denies it. Chance alone must make
none, so the tests of these worlds err with one in 2,000, and only grave incidents count; how often the methods err at
their usual levels is measured by the other simulations.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Told:
    """What was said in one run: wrong claims, and of the right ones how many were to be made and were made."""

    wrong: int
    due: int
    right: int

    def __add__(self, other: "Told") -> "Told":
        """Both together."""
        return Told(self.wrong + other.wrong, self.due + other.due, self.right + other.right)


@dataclass(frozen=True)
class World:
    """A world, with a line of what must be said in it and one of what must not."""

    name: str
    must_say: str
    must_not_say: str
    play: Callable[[np.random.Generator], Told]
