"""Chance that belongs to a slot or an order whether it comes about or not: what changes one leaves all others alone.

`Frames` are what is drawn with it.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.sample.account.world import Array


@dataclass(frozen=True)
class Frames:
    """Frames as in the account, or rows that are added to them."""

    journeys: pl.DataFrame
    entries: pl.DataFrame
    messages: pl.DataFrame
    activity: pl.DataFrame
    orders: pl.DataFrame


class Draws:
    """Draws for places numbered from 0, of which any part can be asked for.

    Args:
        generator: source of chance; each call draws for all places.
        places: how many there are.
    """

    def __init__(self, generator: np.random.Generator, places: int) -> None:
        self._generator = generator
        self._places = places

    def random(self, of: pl.Series | Array) -> Array:
        """A number in [0, 1) for each of the places."""
        return self._generator.random(self._places)[of]

    def integers(self, low: int, high: int, of: pl.Series | Array) -> Array:
        """A whole number from `low` to below `high` for each of the places."""
        return self._generator.integers(low, high, self._places)[of]

    def lognormal(self, mean: float, deviation: float, of: pl.Series | Array) -> Array:
        """A log-normal number for each of the places."""
        return self._generator.lognormal(mean, deviation, self._places)[of]

    def choice(self, values: list[float] | list[int], shares: list[float], of: pl.Series | Array) -> Array:
        """One of the values for each of the places."""
        return self._generator.choice(values, self._places, p=shares)[of]
