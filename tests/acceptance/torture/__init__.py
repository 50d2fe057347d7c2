"""What must not break, tried: kills, races, damage, full disks, forgeries, old releases.

A module per suite with `measure(quick: bool) -> Iterable[Row]`; `quick` does a small share of it. A suite works in
folders of its own and ends only processes that it started. What is true of one function alone is tested in its tests.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One promise and what was reached.

    Attributes:
        number: its number in the list of promises, such as 'R1'.
        measure: what was done, how often.
        reached: the figure, as text.
        target: the figure to reach, as text.
        holds: whether it was reached.
    """

    number: str
    measure: str
    reached: str
    target: str
    holds: bool
