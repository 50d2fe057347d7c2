"""Cohorts by week since entry."""

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from pipeline.charts.figures import FEWEST_FOLLOWED
from pipeline.reports.pages import cells
from pipeline.reports.pages.flow import Flow
from pipeline.reports.pages.model import Cell, Grid, Section, Shade
from pipeline.schemas.vocabulary import CohortType

KINDS: Mapping[CohortType, str] = {
    "signup_date": "month of signup",
    "first_purchase": "month of first purchase",
    "subscription_plan": "subscription plan",
    "member_field": "member field",
}
MOST_STATEMENTS = 5
MOST_COHORTS, MOST_WEEKS = 12, 13
CLOSED_SHARE = 0.9
"""A week counts as closed when it has ended for this share of the entrants, because somebody always enters late."""


def differences(insights: pl.DataFrame, place: Callable[[str], str] = lambda _: "") -> Section | None:
    """What is said of cohorts that differ clearly, the largest difference first.

    Args:
        insights: rows of `cohort_insights`, of one workflow or of the whole account.
        place: words for a workflow that begin a statement; none on the workflow's own page.
    """
    rows = insights.sort(pl.col("effect").abs(), "insight_id", descending=[True, False])
    if rows.is_empty():
        return None
    table = [
        [
            Cell(place(row["workflow_id"]) + _statement(row)),
            cells.lift(row, "effect"),
            cells.number(row["conversions"]),
            cells.number(row["followed"]),
            cells.chance(row["insight_probability"]),
        ]
        for row in rows.iter_rows(named=True)
    ]
    header = ("what is said", "against the others (95%)", "converted", "followed", "probability")
    words = (
        "Cohorts whose conversion differs clearly from that of the others of their kind at the same age. Why it "
        "differs is not told: look at what was different for these people."
    )
    title, source = table[0][0].text, "cohort_insights"
    return Section("differences", title, words, header, table, source=source, is_open=True, most_shown=MOST_STATEMENTS)


def _statement(row: dict[str, Any]) -> str:
    """The statement without its count, and by what the cohort is formed."""
    said: str = row["message"].removesuffix(".")
    if row["cohort"] is None:
        return f"{said} ({KINDS[row['cohort_type']]})"
    # The name of a cohort may hold anything, the count stands at the end.
    return said.rpartition(";")[0].replace(row["cohort"], f"{row['cohort']} ({KINDS[row['cohort_type']]})", 1)


def triangle(flow: Flow) -> Section | None:
    """Conversion by month of signup and week since entry: closed weeks as observed, open weeks as projected."""
    triangles = flow.rows("cohort_triangles").filter(pl.col("cohort_type") == "signup_date")
    rows = triangles.filter(pl.col("entrants") >= FEWEST_FOLLOWED, pl.col("age_weeks") < MOST_WEEKS)
    if rows.is_empty():
        return None
    latest = rows["cohort"].unique().sort().tail(MOST_COHORTS)
    rows = rows.filter(pl.col("cohort").is_in(latest.implode())).sort("cohort", "age_weeks")
    closed = rows.filter(pl.col("followed") >= CLOSED_SHARE * pl.col("entrants"))
    depth = cells.depth_of(closed["conversion_rate"])
    weeks = rows["age_weeks"].unique().sort().to_list()
    found = {(row["cohort"], row["age_weeks"]): row for row in rows.iter_rows(named=True)}
    entrants = dict(rows.select("cohort", "entrants").iter_rows())
    lines = [
        (f"{cohort} ({entrants[cohort]:,})", [_shade(found.get((cohort, week)), depth) for week in weeks])
        for cohort in latest
    ]
    grid = Grid(
        "signup (entrants)",
        [f"week {week}" for week in weeks],
        lines,
        "Shaded: the week has ended for nine of ten entrants or more, and the share is of these. In italics: the week "
        "is still open, and the share is projected for all entrants. Hatched: not known yet.",
    )
    words = (
        "Share of each month's signups that converted by the end of each week since entry, cumulative. "
        f"Cohorts of fewer than {FEWEST_FOLLOWED} entrants are left out."
    )
    table = [[Cell(row["cohort"]), cells.number(row["age_weeks"]), *_counted(row)] for row in found.values()]
    header = ("signup", "week", "converted", "followed", "observed (95%)", "projected (95%)")
    source = "cohort_triangles"
    return Section("cohorts", "Do newer cohorts do better?", words, header, table, grid=grid, source=source)


def _shade(row: dict[str, Any] | None, depth: Callable[[float | None], int | None]) -> Shade:
    if row is not None and _is_closed(row):
        rate = row["conversion_rate"]
        return Shade(Cell(cells.brief_share(rate), rate), depth(rate))
    if row is not None and row["is_projected"] and row["projected_rate"] is not None:
        return Shade(Cell(f"~{cells.brief_share(row['projected_rate'])}", row["projected_rate"]), mark="projected")
    return Shade(Cell(""), mark="masked")


def _is_closed(row: dict[str, Any]) -> bool:
    return row["conversion_rate"] is not None and row["followed"] >= CLOSED_SHARE * row["entrants"]


def _counted(row: dict[str, Any]) -> list[Cell]:
    projected = cells.rate(row, "projected_rate") if row["is_projected"] else Cell("")
    observed = cells.rate(row, "conversion_rate")
    return [cells.number(row["conversions"]), cells.number(row["followed"]), observed, projected]
