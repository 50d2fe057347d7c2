"""The figures of the pages as Vega-Lite specifications, plain data.

An account has thousands of them: building each by altair, which checks every part against its schema, would take as
long as drawing it. The tests check them instead. How a figure is drawn is `drawing`'s.
"""

from typing import Any

import polars as pl

from pipeline.charts.pictures import marked_delays

Specification = dict[str, Any]
BLUE, GREEN, GREY, RED = "#3b82f6", "#10b981", "#94a3b8", "#ef4444"
LONGEST_NAME = 44
TREND_DAYS = 60
WIDEST_LIFT = 1.5


def funnel_figure(funnel: pl.DataFrame) -> Specification | None:
    """Of those who entered each step: went on, reached the goal, still wait, are lost.

    Args:
        funnel: rows of `funnel` of one workflow, in the order of its steps, with `transition` (String).
    """
    if funnel.is_empty():
        return None
    kinds = {"advanced": "went on", "goal_exits": "reached the goal", "waiting": "waiting", "lost": "lost"}
    rows = funnel.with_columns(transition=short("transition")).rename(kinds)
    names = list(kinds.values())
    long = rows.unpivot(names, index="transition", variable_name="became", value_name="people")
    scale = {"domain": names, "range": [BLUE, GREEN, GREY, RED]}
    return {
        "data": _data(long),
        "mark": "bar",
        "encoding": {
            "x": _quantity("people", "people who entered the step"),
            "y": _names("transition", rows["transition"].unique(maintain_order=True).to_list()),
            "color": {"field": "became", "type": "nominal", "scale": scale, "legend": _legend(), "sort": None},
        },
    }


def trend_figure(series: pl.DataFrame) -> Specification | None:
    """The last days of one series with its expected band and the days on which something changed.

    Args:
        series: rows of `metric_trends` of one step and metric.
    """
    if series.is_empty():
        return None
    columns = ["day", "value", "expected_value_low", "expected_value_high", "change_marker"]
    rows = series.sort("day").tail(TREND_DAYS).select(columns)
    form = "%" if series.item(0, "metric_kind") == "rate" else ",d"
    band = {"y": _quantity("expected_value_low", None, form), "y2": {"field": "expected_value_high"}}
    value = {"y": _quantity("value", None, form)}
    colours = {"range": [RED, "#f59e0b", GREEN]}
    change = {"field": "change_marker", "type": "nominal", "scale": colours, "legend": _legend()}
    return {
        "data": _data(rows),
        "encoding": {"x": _day("day")},
        "layer": [
            {"mark": {"type": "area", "opacity": 0.18}, "encoding": band},
            {"mark": {"type": "line", "strokeWidth": 2}, "encoding": value},
            {
                "transform": [{"filter": "datum.change_marker != null"}],
                "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
                "encoding": {**value, "color": change},
            },
        ],
    }


def delay_figure(curves: pl.DataFrame) -> Specification | None:
    """Conversion by delay of one transition with intervals; now and proposed are marked.

    Args:
        curves: rows of `delay_curves` of one transition.
    """
    known = curves.filter(pl.col("conversion_rate").is_not_null())
    if known.is_empty():
        return None
    rate = {"y": _quantity("conversion_rate", None, "%")}
    ends = {"y": _quantity("conversion_rate_low", "converted", "%"), "y2": {"field": "conversion_rate_high"}}
    name = {"type": "text", "dx": 8, "dy": -10, "align": "left", "fontWeight": "bold"}
    return {
        "data": _data(marked_delays(known)),
        "encoding": {"x": {**_quantity("delay_hours", "delay, hours"), "scale": {"zero": False, "padding": 16}}},
        "layer": [
            {"mark": "rule", "encoding": ends},
            {"mark": {"type": "line", "point": True}, "encoding": rate},
            {
                "transform": [{"filter": "datum.mark != null"}],
                "mark": name,
                "encoding": {**rate, "text": {"field": "mark", "type": "nominal"}},
            },
        ],
    }


def lift_figure(looks: pl.DataFrame) -> Specification | None:
    """Lift of a test's primary metric night by night, with the interval valid over all nights.

    Args:
        looks: rows of `experiment_results` of one test and its primary metric.
    """
    known = looks.filter(pl.col("lift_low").is_not_null() & pl.col("lift_high").is_not_null())
    if known.is_empty():
        return None
    rows = known.sort("as_of_day").select("as_of_day", short("arm"), "lift", "lift_low", "lift_high")
    # The first looks know so little that their intervals would hide all others.
    settled = rows.filter(pl.col("lift_high") - pl.col("lift_low") <= WIDEST_LIFT)
    shown = rows if settled.is_empty() else settled
    domain = [min(0.0, float(shown["lift_low"].min())), max(0.0, float(shown["lift_high"].max()))]  # type: ignore[arg-type]

    def change(field: str, title: str | None = None) -> Specification:
        return {"y": {**_quantity(field, title, "+%"), "scale": {"domain": domain, "nice": True}}}

    legend = _legend("arm") if rows["arm"].n_unique() > 1 else None
    shared = {"x": _day("as_of_day"), "color": {"field": "arm", "type": "nominal", "legend": legend}}
    ends = {**change("lift_low", "change against the control"), "y2": {"field": "lift_high"}}
    return {
        "data": _data(rows),
        "layer": [
            {"mark": {"type": "area", "opacity": 0.18, "clip": True}, "encoding": {**shared, **ends}},
            {"mark": {"type": "line", "clip": True}, "encoding": {**shared, **change("lift")}},
            {"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": {"y": {"datum": 0}}},
        ],
    }


def realised_figure(nights: pl.DataFrame) -> Specification | None:
    """What a change brought night by night, with the interval that holds on all nights, and what it promised.

    Args:
        nights: rows of `realised_lift` of one change and one outcome.
    """
    known = nights.filter(pl.col("realised_lift_low").is_not_null() & pl.col("realised_lift_high").is_not_null())
    if known.is_empty():
        return None
    columns = ["as_of_day", "realised_lift", "realised_lift_low", "realised_lift_high", "promised_lift"]
    is_last = pl.col("as_of_day") == pl.col("as_of_day").max()
    names = {"promised_lift": "promised", "realised_lift": "realised"}
    named = [pl.when(is_last).then(pl.lit(name)).alias(f"name_of_{column}") for column, name in names.items()]
    ends = {
        "y": _quantity("realised_lift_low", "change against those kept out", "+%"),
        "y2": {"field": "realised_lift_high"},
    }
    return {
        "data": _data(known.sort("as_of_day").select(*columns, *named)),
        "encoding": {"x": _day("as_of_day")},
        "layer": [
            {"mark": {"type": "area", "opacity": 0.18}, "encoding": ends},
            {"mark": "line", "encoding": {"y": _quantity("realised_lift", None, "+%")}},
            {"mark": {"type": "line", "color": RED}, "encoding": {"y": _quantity("promised_lift", None, "+%")}},
            *(_name_of(column) for column in names),
            {"mark": {"type": "rule", "strokeDash": [4, 4]}, "encoding": {"y": {"datum": 0}}},
        ],
    }


def _name_of(column: str) -> Specification:
    """The name of a line at its end."""
    return {
        "transform": [{"filter": f"datum.name_of_{column} != null"}],
        "mark": {"type": "text", "align": "right", "dy": -8, "fontWeight": "bold"},
        "encoding": {
            "y": _quantity(column, None, "+%"),
            "text": {"field": f"name_of_{column}", "type": "nominal"},
        },
    }


def short(name: str) -> pl.Expr:
    """A column of names, cut where a chart would have no room for them."""
    column = pl.col(name)
    return (
        pl.when(column.str.len_chars() > LONGEST_NAME)
        .then(column.str.head(LONGEST_NAME - 1) + "…")
        .otherwise(column)
        .alias(name)
    )


def _data(rows: pl.DataFrame) -> Specification:
    """Rows as JSON; days at midnight, which JavaScript would else take for UTC."""
    told = rows.with_columns(pl.col(pl.Date).dt.strftime("%Y-%m-%dT00:00:00"))
    return {"values": told.to_dicts()}


def _axis(title: str | None, **more: Any) -> Specification:
    # Without limits, like a legend: to find out whether a label keeps one takes a third of a chart's time.
    return {"title": title, "labelLimit": 0, "titleLimit": 0, **more}


def _legend(title: str | None = None) -> Specification:
    return {"title": title, "labelLimit": 0, "titleLimit": 0}


def _quantity(field: str, title: str | None, form: str = ",d") -> Specification:
    return {"field": field, "type": "quantitative", "axis": _axis(title, format=form, tickCount=6)}


def _names(field: str, order: list[str]) -> Specification:
    return {"field": field, "type": "nominal", "sort": order, "axis": _axis(None)}


def _day(field: str) -> Specification:
    return {"field": field, "type": "temporal", "axis": _axis(None, format="%-d %b", tickCount=8, grid=False)}
