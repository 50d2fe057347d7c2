"""`Figure`, and the parts of Vega-Lite that several figures share. What a figure shows is in `figures`.

An account has thousands of figures. altair checks every part against the schema, and so takes as long to build a figure
as vl-convert takes to draw it. Figures are therefore plain dictionaries, which the tests check against the schema.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

Specification = dict[str, Any]
BLUE, GREEN, GREY, RED, AMBER = "#3b82f6", "#10b981", "#94a3b8", "#ef4444", "#f59e0b"
COUNT, PERCENT, CHANGE = ",d", "%", "+%"
"""Number formats of an axis (d3-format): a count, a share, and a share with its sign."""
TOLD: Specification = {"description": {"field": "told", "type": "nominal"}}
"""Where a mark has the words of its row (see `with_words`). `drawing` makes a title of them, which browsers show."""
LONGEST_NAME = 44
LARGEST, DECIMALS = 1e12, 9
"""Larger numbers and finer differences are not drawn: Vega cannot lay out an axis up to 1e308, or one of 1e-308."""


@dataclass(frozen=True)
class Figure:
    """A chart as data.

    Attributes:
        specification: a Vega-Lite specification with its data, as JSON without NaN or infinity.
        label: what the chart says to a reader who cannot see it.
    """

    specification: Mapping[str, Any]
    label: str


def figure(label: str, rows: pl.DataFrame, *layers: Specification, **more: Any) -> Figure:
    """Layers over the same rows as one figure; `more` are further entries of the specification, such as `height`.

    Numbers that cannot be drawn become null. Days become midnights, because JavaScript takes a bare day for UTC.
    """
    numbers = pl.col(pl.Float64)
    drawable = pl.when(_is_drawable(numbers)).then(numbers.round(DECIMALS))
    told = rows.with_columns(drawable, pl.col(pl.Date).dt.strftime("%Y-%m-%dT00:00:00"))
    return Figure({"data": {"values": told.to_dicts()}, "layer": list(layers), **more}, label)


def known(rows: pl.DataFrame, *columns: str) -> pl.DataFrame:
    """The rows in which all these columns hold a number that can be drawn: not null, NaN, infinite or too large."""
    return rows.filter(*(_is_drawable(pl.col(column)) for column in columns))


def _is_drawable(numbers: pl.Expr) -> pl.Expr:
    return numbers.is_between(-LARGEST, LARGEST)


def mark(kind: str, encoding: Specification, **options: Any) -> Specification:
    """A layer of one kind of mark."""
    return {"mark": {"type": kind, **options}, "encoding": encoding}


def line(rows: pl.DataFrame, encoding: Specification, **options: Any) -> Specification:
    """A layer that joins the rows by a line. A single row is a point, because a line through it has no length."""
    return mark("line", encoding, point=rows.height == 1, strokeCap="round", **options)


def band(rows: pl.DataFrame, encoding: Specification, high: str) -> Specification:
    """A layer from the encoding's `y` up to the column `high`. A single row is a bar, because a band has no width."""
    ends = {**encoding, "y2": {"field": high}}
    return mark("rule", ends, clip=True) if rows.height == 1 else mark("area", ends, opacity=0.18, clip=True)


def where_told(column: str, layer: Specification) -> Specification:
    """The layer without the rows in which the column is null."""
    return {"transform": [{"filter": f"datum.{column} != null"}], **layer}


def words(encoding: Specification, column: str, **options: Any) -> Specification:
    """A layer that writes beside a mark what the column holds."""
    written = {**encoding, "text": {"field": column, "type": "nominal"}}
    return where_told(column, mark("text", written, fontWeight="bold", **options))


def with_words(rows: pl.DataFrame, words: Callable[[Mapping[str, Any]], str]) -> pl.DataFrame:
    """The rows with what each says to somebody who points at it, for `TOLD`."""
    said = [words(row) for row in rows.iter_rows(named=True)]
    return rows.with_columns(pl.Series(TOLD["description"]["field"], said, pl.String))


def to_point_at(encoding: Specification) -> Specification:
    """A layer that shows nothing, with a place for each row at which a pointer finds the row's words."""
    place = {channel: encoding[channel] for channel in ("x", "y")}
    return mark("point", {**place, **TOLD}, filled=True, size=160, opacity=0, clip=True)


def zero_line() -> Specification:
    """A layer with a dashed line where nothing has changed."""
    return mark("rule", {"y": {"datum": 0}}, strokeDash=[4, 4])


def quantity(column: str, title: str | None = None, form: str = COUNT, **more: Any) -> Specification:
    """A number on an axis. Layers share an axis, and it keeps its title only if all of them give the same."""
    axis = {"title": title, "format": form, "tickCount": 6}
    return {"field": column, "type": "quantitative", "axis": axis, **more}


def names(column: str, sort: str | None = None) -> Specification:
    """Names on an axis, in the order of the rows if not told otherwise.

    They are never listed in the specification: Vega makes code of such a list, which some characters break.
    """
    return {"field": column, "type": "nominal", "sort": sort, "axis": {"title": None}}


def day(column: str) -> Specification:
    """Days on an axis."""
    axis = {"title": None, "format": "%-d %b", "tickCount": 8, "grid": False}
    return {"field": column, "type": "temporal", "axis": axis}


def colour(column: str, title: str | None = None, **more: Any) -> Specification:
    """A colour for each name in the column. It must hold one, because Vega draws an empty legend infinitely wide."""
    return {"field": column, "type": "nominal", "legend": {"title": title}, **more}


def short(column: str) -> pl.Expr:
    """A column of names, cut where a chart would have no room for them."""
    name = pl.col(column)
    cut = name.str.head(LONGEST_NAME - 1) + "…"
    return pl.when(name.str.len_chars() > LONGEST_NAME).then(cut).otherwise(name).alias(column)
