"""The charts, one function each: rows of a published table in, a `Figure` out, or none where there is nothing to see.

Of a table that holds several series, transitions, tests or changes a chart shows one (see `choices`).
"""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from pipeline.charts import vega
from pipeline.charts.choices import largest_change, largest_test, marked_delays, telling_series, telling_transition
from pipeline.charts.vega import CHANGE, PERCENT, Figure, Specification, colour, day, figure, known, quantity
from pipeline.common.words import lift as lift_in_words
from pipeline.common.words import share

TREND_DAYS = 90
FEWEST_FOLLOWED = 50
"""Cohorts of fewer people are left out: their rates jump about and hide the others."""
MOST_SHOWN = 8
"""Lines that can be told apart by colour, and bars that are worth a look."""
WIDEST_LIFT = 1.5
"""A wider interval gets no room: the first nights of a test know so little that they would hide all others."""
LEAST_LIFT = 0.01
"""The axis of lifts reaches at least so far up and down."""
PER_NAME = {"step": 24}
"""Height in pixels of the row that a name takes."""


def funnel_chart(funnel: pl.DataFrame) -> Figure | None:
    """What became of the people who entered each step: they went on, reached the goal, still wait, or are lost.

    Args:
        funnel: rows of `funnel` of one workflow, in the order of its steps, with `transition` (String).
    """
    kinds = {"advanced": "went on", "goal_exits": "reached the goal", "waiting": "waiting", "lost": "lost"}
    rows = funnel.with_columns(vega.short("transition")).rename(kinds)
    became = list(kinds.values())
    people = known(rows.unpivot(became, index="transition", variable_name="became", value_name="people"), "people")
    people = vega.with_words(people, lambda row: f"{row['transition']}: {row['people']:,} {row['became']}")
    colours = {"domain": became, "range": [vega.BLUE, vega.GREEN, vega.GREY, vega.RED]}
    encoding = {
        "x": quantity("people", "people who entered the step"),
        "y": vega.names("transition"),
        "color": colour("became", scale=colours, sort=None),
        **vega.TOLD,
    }
    return _bars("What became of the people who entered each step", people, encoding)


def trend_chart(trends: pl.DataFrame) -> Figure | None:
    """The last days of a series of `metric_trends`, its expected band, and the days on which something changed."""
    rows = telling_series(trends).drop_nulls("day").sort("day").tail(TREND_DAYS)
    seen = known(rows, "value")
    if seen.is_empty():
        return None
    first = rows.row(0, named=True)
    form = PERCENT if first["metric_kind"] == "rate" else vega.COUNT
    x = {"x": day("day")}
    low, value = ({**x, "y": quantity(column, form=form)} for column in ("expected_value_low", "value"))
    layers = [vega.band(rows, low, "expected_value_high"), vega.line(rows, value, strokeWidth=2)]
    if seen["change_marker"].count():
        change = colour("change_marker", scale={"range": [vega.RED, vega.AMBER, vega.GREEN]})
        points = vega.mark("point", {**value, "color": change, **vega.TOLD}, filled=True, size=70, opacity=1)
        layers.append(vega.where_told("change_marker", points))
    layers.append(vega.to_point_at(value))
    number = share if form == PERCENT else "{:,.0f}".format
    rows = vega.with_words(rows, lambda row: _of_day(row, number))
    columns = ["day", "value", "expected_value_low", "expected_value_high", "change_marker", "told"]
    label = f"{first['workflow_id']}, {first['step_id']}: {first['metric']} and its expected band"
    return figure(label, rows.select(columns), *layers)


def delay_chart(curves: pl.DataFrame) -> Figure | None:
    """Conversion by delay of a transition of `delay_curves`; today's delay and a surely better one are marked."""
    curve = known(telling_transition(curves), "conversion_rate", "delay_hours")
    if curve.is_empty():
        return None
    columns = ["delay_hours", "conversion_rate", "conversion_rate_low", "conversion_rate_high", "mark"]
    x = {"x": quantity("delay_hours", "delay, hours", scale={"zero": False, "padding": 16})}
    rate, low = ({**x, "y": quantity(column, "converted", PERCENT)} for column in columns[1:3])
    first = curve.row(0, named=True)
    told = vega.with_words(marked_delays(curve).select(columns), _of_delay)
    return figure(
        f"{first['workflow_id']}, {first['from_step_id']} to {first['to_step_id']}: conversion by delay",
        told,
        vega.mark("rule", {**low, "y2": {"field": "conversion_rate_high"}}),
        vega.mark("line", rate),
        vega.mark("point", {**rate, **vega.TOLD}, filled=True, size=60, opacity=1),
        vega.words(rate, "mark", dx=8, dy=-10, align="left"),
    )


def experiment_chart(results: pl.DataFrame) -> Figure | None:
    """Lift of a test of `experiment_results` night by night, with the interval that is valid on all nights at once."""
    looks = known(largest_test(results), "lift", "lift_low", "lift_high")
    if looks.is_empty():
        return None
    rows = looks.sort("as_of_day").select("as_of_day", vega.short("arm"), "lift", "lift_low", "lift_high")
    settled = rows.filter(pl.col("lift_high") - pl.col("lift_low") <= WIDEST_LIFT)
    ends = (rows if settled.is_empty() else settled).select(pl.col("lift_low").min(), pl.col("lift_high").max()).row(0)
    scale = {"domain": [min(-LEAST_LIFT, ends[0]), max(LEAST_LIFT, ends[1])], "nice": True}
    arm = colour("arm", "arm", **({} if rows["arm"].n_unique() > 1 else {"legend": None}))
    lift, low = (
        {"x": day("as_of_day"), "color": arm, "y": quantity(column, "change against the control", CHANGE, scale=scale)}
        for column in ("lift", "lift_low")
    )
    first = looks.row(0, named=True)
    label = f"{first['experiment_id']}: {first['metric']} night by night, with the interval valid on all nights at once"
    layers = (
        vega.band(rows, low, "lift_high"),
        vega.line(rows, lift, clip=True),
        vega.zero_line(),
        vega.to_point_at(lift),
    )
    rows = vega.with_words(rows, _of_arm)
    return figure(label, rows, *layers)


def realised_chart(nights: pl.DataFrame) -> Figure | None:
    """What a change of `realised_lift` brought night by night, with its interval, and what it promised."""
    found = known(largest_change(nights), "realised_lift", "realised_lift_low", "realised_lift_high")
    if found.is_empty():
        return None
    lines = {"promised_lift": "promised", "realised_lift": "realised"}
    is_last = pl.col("as_of_day") == pl.col("as_of_day").max()
    ends = [pl.when(is_last).then(pl.lit(name)).alias(f"name_of_{column}") for column, name in lines.items()]
    columns = ["as_of_day", "realised_lift", "realised_lift_low", "realised_lift_high", "promised_lift"]
    rows = found.sort("as_of_day").select(*columns, *ends)
    promised, realised, low = (
        {"x": day("as_of_day"), "y": quantity(column, "change against those kept out", CHANGE)}
        for column in (*lines, "realised_lift_low")
    )
    first = found.row(0, named=True)
    return figure(
        f"{first['optimization_id']}: {first['metric']} night by night, and what was promised",
        rows,
        vega.band(rows, low, "realised_lift_high"),
        vega.line(rows, realised),
        vega.line(rows, promised, color=vega.RED),
        vega.words(promised, "name_of_promised_lift", dy=-8, align="right"),
        vega.words(realised, "name_of_realised_lift", dy=-8, align="right"),
        vega.zero_line(),
    )


def cohort_chart(triangles: pl.DataFrame) -> Figure | None:
    """Conversion by week since entry of the largest workflow's latest cohorts by signup, from `cohort_triangles`."""
    is_shown = (pl.col("cohort_type") == "signup_date") & (pl.col("followed") >= FEWEST_FOLLOWED)
    followed = known(triangles.filter(is_shown), "incidence_rate")
    sizes = followed.filter(pl.col("age_weeks") == 0).group_by("workflow_id").agg(pl.col("entrants").sum())
    largest = sizes.sort("entrants", "workflow_id", descending=[True, False]).head(1)
    if largest.is_empty():
        return None
    rows = followed.join(largest, on="workflow_id", how="semi")
    rows = rows.filter(pl.col("cohort").is_in(rows["cohort"].unique().sort().tail(MOST_SHOWN).implode()))
    weeks, converted = quantity("age_weeks", "weeks since entry"), quantity("incidence_rate", "converted", PERCENT)
    label = f"Conversion by cohort: {largest.item(0, 'workflow_id')}"
    return _lines(label, rows, weeks, converted, colour("cohort", "signup"))


def send_time_chart(profiles: pl.DataFrame) -> Figure | None:
    """How active each cluster of subscribers is by local hour, from `send_time_profiles`."""
    rows = known(profiles, "activity_share")
    hour = quantity("local_hour", "local hour")
    share = quantity("activity_share", "share of the cluster's activity", PERCENT)
    return _lines("Activity of each cluster by local hour", rows, hour, share, colour("cluster_id", "cluster"))


def opportunity_chart(opportunities: pl.DataFrame) -> Figure | None:
    """Expected gain of the first of `opportunities` with their intervals, by how each was identified."""
    conversions = opportunities.filter(pl.col("gain_unit") == "conversions")
    rows = known(conversions, "expected_gain").sort("rank").head(MOST_SHOWN)
    if rows.is_empty():
        return None
    y = {"y": vega.names("opportunity_id")}
    title = "more conversions in four weeks, with the 95% interval"
    gain, low = (quantity(column, title) for column in ("expected_gain", "expected_gain_low"))
    bars = vega.mark("bar", {**y, "x": gain, "color": colour("identification", "identification")}, opacity=0.6)
    ends = vega.mark("rule", {**y, "x": low, "x2": {"field": "expected_gain_high"}})
    columns = ["opportunity_id", "expected_gain", "expected_gain_low", "expected_gain_high", "identification"]
    return figure("What could be won", rows.select(columns), bars, ends, height=PER_NAME)


def conflict_chart(replay: pl.DataFrame) -> Figure | None:
    """Subscribers whose workflows collided, by pair of workflows and severity, from `conflict_replay`."""
    pair = pl.format("{} yields to {}", "workflow_id", "prevailing_workflow_id").alias("pair")
    encoding = {
        "x": quantity("people", "subscribers who collided in 30 days"),
        "y": vega.names("pair", sort="-x"),
        "color": colour("severity", "severity"),
    }
    return _bars("Colliding workflows", replay.select(pair, "severity", people="subscribers"), encoding)


def decision_chart(decisions: pl.DataFrame) -> Figure | None:
    """Share of subscribers by arm at each decision point, defaults apart, from either table of decisions."""
    arm = pl.when("is_default").then(pl.format("{} (default)", "arm")).otherwise("arm").alias("arm")
    counts = decisions.group_by("decision_point_id", arm).len("people").sort("decision_point_id", "arm")
    encoding = {
        "x": quantity("people", "share of subscribers", PERCENT, stack="normalize"),
        "y": vega.names("decision_point_id"),
        "color": colour("arm", "arm"),
    }
    return _bars("Share of subscribers by arm", counts, encoding)


def _of_day(row: Mapping[str, Any], number: Callable[[float], str]) -> str:
    """A day of a series: its value, what was expected, and what is marked."""
    if row["value"] is None:
        return f"{row['day']}: nothing known"
    told = f"{row['day']}: {number(row['value'])}"
    if row["expected_value_low"] is not None:
        told += f", expected {number(row['expected_value_low'])} to {number(row['expected_value_high'])}"
    return f"{told}, {row['change_marker']}" if row["change_marker"] else told


def _of_delay(row: Mapping[str, Any]) -> str:
    """A delay with what it converts."""
    ends = (row["conversion_rate_low"], row["conversion_rate_high"])
    return f"{row['delay_hours']:.0f} h: {share(row['conversion_rate'], *ends)} converted"


def _of_arm(row: Mapping[str, Any]) -> str:
    """A night of an arm with its difference against the control."""
    return f"{row['as_of_day']}, arm {row['arm']}: {lift_in_words(row['lift'], row['lift_low'], row['lift_high'])}"


def _lines(label: str, rows: pl.DataFrame, x: Specification, y: Specification, color: Specification) -> Figure | None:
    if rows.is_empty():
        return None
    told = rows.select(x["field"], y["field"], color["field"])
    return figure(label, told, vega.line(told, {"x": x, "y": y, "color": color}))


def _bars(label: str, rows: pl.DataFrame, encoding: Specification) -> Figure | None:
    return figure(label, rows, vega.mark("bar", encoding), height=PER_NAME) if rows["people"].sum() else None
