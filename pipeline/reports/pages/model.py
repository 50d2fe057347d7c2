"""What a page is made of, before it is drawn or written."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipeline.charts.vega import Figure


@dataclass(frozen=True)
class Cell:
    """A value as people read it, and as the mart holds it; perhaps with the page it leads to."""

    text: str
    raw: Any = None
    link: str | None = None


@dataclass(frozen=True)
class Shade:
    """A cell of a grid: its value, how deep its colour is (0-6, none = no colour), and what marks it."""

    cell: Cell
    depth: int | None = None
    mark: str = ""


@dataclass(frozen=True)
class Grid:
    """A figure that is a table: rows and columns with names, and cells coloured by their value."""

    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Shade]]]
    key: str


@dataclass(frozen=True)
class Section:
    """A heading, what it says in words, a figure or a grid, and the table behind it."""

    anchor: str
    title: str
    words: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    figure: Figure | None = None
    source: str = ""
    is_open: bool = False
    grid: Grid | None = None


class Tone(StrEnum):
    """How good a piece of news is."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    BAD = "bad"
    NONE = ""


@dataclass(frozen=True)
class Note:
    """A line below a headline number."""

    cell: Cell
    tone: Tone = Tone.NONE


@dataclass(frozen=True)
class Tile:
    """A headline number with its interval and denominator, its change, and whether it keeps its bound."""

    name: str
    value: Cell
    detail: str
    source: str
    change: Note | None = None
    guardrail: Note | None = None


@dataclass(frozen=True)
class Page:
    """One page."""

    title: str
    subtitle: str
    file: str
    tiles: Sequence[Tile] = ()
    windows: str = ""
    sections: Sequence[Section] = ()

    @property
    def figures(self) -> list[Figure]:
        """Its figures in their order."""
        return [section.figure for section in self.sections if section.figure is not None]
