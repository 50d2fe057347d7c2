"""Charts of a night, as small SVG images that need no network. What they show is decided where they are asked for."""

import base64
import io
from typing import Any, TypeAlias

import altair as alt
import dagster as dg
import polars as pl

from pipeline.analysis.delays.recommendations import ACT_PROBABILITY

Picture: TypeAlias = alt.Chart | alt.LayerChart | alt.FacetChart
WIDTH, HEIGHT = 560, 260
#: A rate of fewer people jumps about and hides the others.
FEWEST_FOLLOWED = 50
#: Lines that can be told apart by colour.
MOST_LINES = 8
TREND_DAYS = 60
PERCENT = alt.Axis(format="%")


def image(chart: Picture | None) -> dict[str, Any]:
    """The chart as metadata of an asset; nothing where there is no chart."""
    if chart is None:
        return {}
    target = io.StringIO()
    chart.properties(width=WIDTH, height=HEIGHT).save(target, format="svg")
    encoded = base64.b64encode(target.getvalue().encode()).decode()
    return {"chart": dg.MetadataValue.md(f"![chart](data:image/svg+xml;base64,{encoded})")}


def cohort_chart(triangles: pl.DataFrame) -> Picture | None:
    """Conversion by week since entry of the largest workflow's cohorts by signup, as far as they are followed.

    Args:
        triangles: rows of `cohort_triangles`.
    """
    followed = triangles.filter((pl.col("cohort_type") == "signup_date") & (pl.col("followed") >= FEWEST_FOLLOWED))
    if followed.is_empty():
        return None
    sizes = followed.filter(pl.col("age_weeks") == 0).group_by("workflow_id").agg(pl.col("entrants").sum())
    workflow = sizes.sort("entrants", "workflow_id", descending=[True, False]).item(0, "workflow_id")
    rows = followed.filter(pl.col("workflow_id") == workflow)
    latest = rows["cohort"].unique().sort().tail(MOST_LINES)
    return (
        alt.Chart(rows.filter(pl.col("cohort").is_in(latest.implode())).select("cohort", "age_weeks", "incidence_rate"))
        .mark_line()
        .encode(
            x=alt.X("age_weeks:Q", title="weeks since entry"),
            y=alt.Y("incidence_rate:Q", title="converted", axis=PERCENT),
            color=alt.Color("cohort:N", title="signup"),
        )
        .properties(title=f"Conversion by cohort: {workflow}")
    )


def trend_chart(trends: pl.DataFrame) -> Picture | None:
    """The series that changed last, with its expected band and the days that did not fit.

    Args:
        trends: rows of `metric_trends`.
    """
    changed = trends.filter(pl.col("change_marker").is_not_null() & (pl.col("change_marker") != "holiday"))
    if changed.is_empty():
        return None
    series = changed.sort("day", "workflow_id", "step_id", "metric").row(-1, named=True)
    one = pl.all_horizontal(pl.col(name) == series[name] for name in ("workflow_id", "step_id", "metric"))
    columns = ["day", "value", "expected_value_low", "expected_value_high", "change_marker"]
    base = alt.Chart(trends.filter(one).sort("day").tail(TREND_DAYS).select(columns)).encode(
        x=alt.X("day:T", title=None)
    )
    band = base.mark_area(opacity=0.2).encode(
        y=alt.Y("expected_value_low:Q", title=series["metric"]), y2="expected_value_high:Q"
    )
    marks = base.transform_filter("datum.change_marker != null").mark_point(color="firebrick", filled=True, size=60)
    return alt.layer(band, base.mark_line().encode(y="value:Q"), marks.encode(y="value:Q")).properties(
        title=f"{series['workflow_id']}, {series['step_id']}: {series['metric']} and its expected band"
    )


def send_time_chart(profiles: pl.DataFrame) -> Picture | None:
    """How active each cluster is by local hour.

    Args:
        profiles: rows of `send_time_profiles`.
    """
    if profiles.is_empty():
        return None
    return (
        alt.Chart(profiles.select("cluster_id", "local_hour", "activity_share"))
        .mark_line()
        .encode(
            x=alt.X("local_hour:Q", title="local hour"),
            y=alt.Y("activity_share:Q", title="share of the cluster's activity", axis=PERCENT),
            color=alt.Color("cluster_id:N", title="cluster"),
        )
        .properties(title="Kinds of day")
    )


def delay_chart(curves: pl.DataFrame) -> Picture | None:
    """Conversion by delay of the transition with the most entrants of those whose delays can be compared.

    Today's delay is marked as now, and the best one as proposed where it is surely better.

    Args:
        curves: rows of `delay_curves`.
    """
    known = curves.filter(pl.col("conversion_rate").is_not_null())
    if known.is_empty():
        return None
    transition = ["workflow_id", "from_step_id", "to_step_id"]
    sizes = known.group_by(transition).agg(pl.col("entrants").sum())
    largest = sizes.sort("entrants", *transition, descending=[True, False, False, False]).head(1)
    rows = marked_delays(known.join(largest.select(transition), on=transition, how="semi"))
    base = alt.Chart(rows).encode(x=alt.X("delay_hours:Q", title="delay, hours"))
    bars = base.mark_rule().encode(
        y=alt.Y("conversion_rate_low:Q", title="converted", axis=PERCENT), y2="conversion_rate_high:Q"
    )
    workflow, start, end = largest.select(transition).row(0)
    names = base.mark_text(dx=8, dy=-10, align="left", fontWeight="bold").encode(y="conversion_rate:Q", text="mark:N")
    curve = base.mark_line(point=True).encode(y="conversion_rate:Q")
    return alt.layer(bars, curve, names.transform_filter("datum.mark != null")).properties(
        title=f"{workflow}, {start} to {end}: conversion by delay"
    )


def marked_delays(curve: pl.DataFrame) -> pl.DataFrame:
    """One transition's delays in their order, with `mark`: 'now', 'proposed' where surely better, or null.

    Args:
        curve: rows of `delay_curves` of one transition, with known rates.
    """
    is_best = pl.col("best_probability") == pl.col("best_probability").max()
    mark = (
        pl.when("is_current")
        .then(pl.lit("now"))
        .when(is_best & (pl.col("better_probability") > ACT_PROBABILITY))
        .then(pl.lit("proposed"))
        .alias("mark")
    )
    columns = ["delay_hours", "conversion_rate", "conversion_rate_low", "conversion_rate_high", mark]
    return curve.sort("delay_hours").select(columns)


def opportunity_chart(opportunities: pl.DataFrame) -> Picture | None:
    """Expected gain of the first opportunities with their intervals, by how each was identified.

    Args:
        opportunities: rows of `opportunities`.
    """
    known = opportunities.filter((pl.col("gain_unit") == "conversions") & pl.col("expected_gain").is_not_null())
    known = known.sort("rank").head(MOST_LINES)
    if known.is_empty():
        return None
    columns = ["opportunity_id", "expected_gain", "expected_gain_low", "expected_gain_high", "identification"]
    base = alt.Chart(known.select(columns)).encode(y=alt.Y("opportunity_id:N", sort=None, title=None))
    gain = alt.X("expected_gain:Q", title="more conversions in four weeks, with the 95% interval")
    bars = base.mark_bar(opacity=0.6).encode(x=gain, color=alt.Color("identification:N", title="identification"))
    ends = base.mark_rule().encode(x="expected_gain_low:Q", x2="expected_gain_high:Q")
    return alt.layer(bars, ends).properties(title="What could be won")


def conflict_chart(replay: pl.DataFrame) -> Picture | None:
    """Subscribers whose workflows collided in the past month, by pair of workflows and severity.

    Args:
        replay: rows of `conflict_replay`.
    """
    if replay.is_empty():
        return None
    pair = pl.format("{} yields to {}", "workflow_id", "prevailing_workflow_id").alias("pair")
    return (
        alt.Chart(replay.select(pair, "subscribers", "severity", "conflict_type"))
        .mark_bar()
        .encode(
            x=alt.X("subscribers:Q", title="subscribers who collided in 30 days"),
            y=alt.Y("pair:N", sort="-x", title=None),
            color=alt.Color("severity:N", title="severity"),
        )
        .properties(title="Colliding workflows")
    )


def experiment_chart(results: pl.DataFrame) -> Picture | None:
    """Lift of the primary metric night by night, with the interval valid over all nights, of the largest test.

    Args:
        results: rows of `experiment_results`.
    """
    known = results.filter((pl.col("role") == "primary") & pl.col("lift_low").is_not_null())
    known = known.filter(pl.col("lift_high").is_not_null())
    if known.is_empty():
        return None
    largest = known.sort("exposures", "experiment_id", descending=[True, False]).item(0, "experiment_id")
    rows = known.filter(pl.col("experiment_id") == largest).sort("as_of_day")
    base = alt.Chart(rows.select("as_of_day", "arm", "lift", "lift_low", "lift_high")).encode(
        x=alt.X("as_of_day:T", title=None), color=alt.Color("arm:N", title="arm")
    )
    change = alt.Axis(format="+%")
    band = base.mark_area(opacity=0.2).encode(
        y=alt.Y("lift_low:Q", title="change against the control", axis=change), y2="lift_high:Q"
    )
    none = alt.Chart(pl.DataFrame({"lift": [0.0]})).mark_rule(strokeDash=[4, 4]).encode(y="lift:Q")
    title = f"{largest}: {rows.item(0, 'metric')}, with the interval valid over all nights"
    return alt.layer(band, base.mark_line().encode(y="lift:Q"), none).properties(title=title)


def decision_chart(decisions: pl.DataFrame) -> Picture | None:
    """Share of subscribers by arm at each decision point; defaults apart.

    Args:
        decisions: rows of `path_decisions` or `content_decisions`.
    """
    if decisions.is_empty():
        return None
    arm = pl.when("is_default").then(pl.format("{} (default)", "arm")).otherwise("arm").alias("arm")
    counts = decisions.group_by("decision_point_id", arm).len("subscribers").sort("decision_point_id", "arm")
    return (
        alt.Chart(counts)
        .mark_bar()
        .encode(
            x=alt.X("subscribers:Q", stack="normalize", title="share of subscribers", axis=PERCENT),
            y=alt.Y("decision_point_id:N", title=None),
            color=alt.Color("arm:N", title="arm"),
        )
        .properties(title="Who gets what")
    )


def realised_chart(nights: pl.DataFrame) -> Picture | None:
    """What each change in effect was promised to bring, beside what it brought with its interval.

    Args:
        nights: rows of `realised_lift`, one for each change.
    """
    known = nights.filter(pl.col("realised_lift_low").is_not_null())
    if known.is_empty():
        return None
    columns = ["optimization_id", "promised_lift", "realised_lift", "realised_lift_low", "realised_lift_high"]
    base = alt.Chart(known.select(columns)).encode(y=alt.Y("optimization_id:N", title=None))
    lift = alt.X("realised_lift:Q", title="lift: measured with its interval, promised as a bar", axis=PERCENT)
    interval = base.mark_rule().encode(x=alt.X("realised_lift_low:Q"), x2="realised_lift_high:Q")
    promise = base.mark_tick(thickness=3, color="firebrick").encode(x="promised_lift:Q")
    return alt.layer(interval, base.mark_point(filled=True, size=60).encode(x=lift), promise).properties(
        title="Promised and realised"
    )
