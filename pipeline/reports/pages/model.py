"""What a page is made of, before it is drawn or written."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipeline.charts.vega import Figure
from pipeline.common.rates import Bound

Tone = Literal["good", "doubtful", "bad", ""]
"""How good a piece of news is; empty where it is neither good nor bad."""


@dataclass(frozen=True)
class Cell:
    """A value as people read it, the same value as the mart holds it, and the page that it links to, if any."""

    text: str
    raw: Any = None
    link: str | None = None


@dataclass(frozen=True)
class Shade:
    """A cell of a grid: its value, the depth of its colour (0 to 6; none means no colour), and its CSS class."""

    cell: Cell
    depth: int | None = None
    mark: str = ""


@dataclass(frozen=True)
class Grid:
    """A table whose cells are coloured by their value, and the key to its colours."""

    corner: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Shade]]]
    key: str


@dataclass(frozen=True)
class Note:
    """A line of news: below a headline number, or in a list."""

    cell: Cell
    tone: Tone = ""


@dataclass(frozen=True)
class Edge:
    """A way into a step of a drawing: where it starts, how long it takes, who is on it, and who is lost on it."""

    start: str
    took: Cell | None
    waiting: Cell
    lost: Cell
    interval: str


@dataclass(frozen=True)
class Node:
    """A step of a drawing: its name, its mail as people see it, its status, the ways into it, and what its mail did.

    Attributes:
        facts: for each the name, the value, and how sure it is.
    """

    name: str
    subject: str
    status: str
    edges: Sequence[Edge]
    facts: Sequence[tuple[str, Cell, str]]
    tone: Tone = ""


@dataclass(frozen=True)
class Small:
    """A small chart as SVG, of what it is, and its latest value in words."""

    name: str
    words: str
    svg: str
    tone: Tone = ""


@dataclass(frozen=True)
class Section:
    """A heading, what it says in words, a figure, a drawing or a grid, and the table behind it.

    Attributes:
        tone: how good the news in the heading is.
        notes: more news, the worst first.
        smalls: small charts, side by side.
        layers: the steps of a drawing, those of each layer below those of the layer before.
        source: the published tables that the numbers come from.
        is_open: whether the table is shown at once, and not only on a click.
        most_shown: how many rows of an open table are shown at once; none means all of them.
    """

    anchor: str
    title: str
    words: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    figure: Figure | None = None
    source: str = ""
    is_open: bool = False
    most_shown: int | None = None
    grid: Grid | None = None
    tone: Tone = ""
    notes: Sequence[Note] = ()
    smalls: Sequence[Small] = ()
    layers: Sequence[Sequence[Node]] = ()


@dataclass(frozen=True)
class Tile:
    """A headline number with its interval and denominator, how it changed, and whether it keeps its bound.

    Attributes:
        told: the value with its interval and its name, where it stands in a sentence.
        bound: the bound, with who has set it and why.
    """

    name: str
    value: Cell
    detail: str
    source: str
    change: Note | None = None
    guardrail: Note | None = None
    bound: Bound | None = None
    told: str = ""


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes:
        news: what a reader is to know before any number.
        windows: says which days its headline numbers are of.
        choice: the same page over other days: in words, and the file of each.
    """

    title: str
    subtitle: str
    file: str
    news: Sequence[Section] = ()
    tiles: Sequence[Tile] = ()
    windows: str = ""
    sections: Sequence[Section] = ()
    choice: Sequence[tuple[str, str]] = ()

    @property
    def figures(self) -> list[Figure]:
        """Its figures in their order."""
        return [section.figure for section in self.sections if section.figure is not None]
