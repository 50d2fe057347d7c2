"""What stands on a page: sections of words, a figure and the table behind it, from published tables alone. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipeline.optimizations.record import IN_EFFECT, Record, Status
from pipeline.reports import charts
from pipeline.reports.morning import Tables
from pipeline.reports.pages.figures import drawn, funnel_figure

WINDOW = "28d"
MOST_ROWS = 60


@dataclass(frozen=True)
class Cell:
    """A value as people read it, and as the mart holds it."""

    text: str
    raw: Any = None


@dataclass(frozen=True)
class Section:
    """A heading, what it says in words, a figure, and the table behind it."""

    anchor: str
    title: str
    words: str
    header: Sequence[str] = ()
    rows: Sequence[Sequence[Cell]] = ()
    figure: str | None = None
    source: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class Tile:
    """A headline number with its interval and denominator."""

    name: str
    value: Cell
    detail: str
    source: str


@dataclass(frozen=True)
class Page:
    """One page."""

    title: str
    subtitle: str
    file: str
    tiles: Sequence[Tile] = ()
    sections: Sequence[Section] = field(default_factory=tuple)


RATES = (
    ("clicked by people", "human_click_rate", "unique_human_clicks", "delivered"),
    ("converted", "conversion_rate", "conversions", "delivered"),
    ("unsubscribed", "unsubscribe_rate", "unsubscribes", "delivered"),
    ("complained", "complaint_rate", "complaints", "delivered"),
    ("bounced hard", "hard_bounce_rate", "hard_bounces", "sent"),
)
"""Name, rate, numerator and denominator of the tiles, as `workflow_metrics` has them."""


def tiles(tables: Tables, workflow_id: str) -> Iterator[Tile]:
    """Headline numbers of a workflow over 28 days."""
    found = tables["workflow_metrics"].filter((pl.col("workflow_id") == workflow_id) & (pl.col("window") == WINDOW))
    if found.is_empty():
        return
    row = found.row(0, named=True)
    place = "workflow_metrics, window 28d"
    yield Tile("messages sent", _number(row["sent"]), f"{row['delivered']:,} delivered, 28 days", place)
    for name, rate, numerator, denominator in RATES:
        if row.get(rate) is None:
            continue
        detail = (
            f"{share(row[f'{rate}_low'])} to {share(row[f'{rate}_high'])}; {row[numerator]:,} of {row[denominator]:,}"
        )
        yield Tile(name, Cell(share(row[rate]), row[rate]), detail, place)


def waiting(records: Sequence[Record], workflow_id: str | None) -> Section:
    """Proposals that wait for a decision."""
    mine = [
        record
        for record in records
        if record.status is Status.PENDING and (workflow_id is None or record.proposal.workflow_id == workflow_id)
    ]
    mine.sort(key=lambda one: (-(one.proposal.expected_value or 0), -(one.proposal.expected_lift or 0)))
    rows = [
        [
            Cell(record.proposal.title),
            Cell(str(record.proposal.risk)),
            _lift(record.proposal.expected_lift, record.proposal.expected_lift_low, record.proposal.expected_lift_high),
            Cell(str(record.proposal.evidence.get("summary", ""))),
            Cell(f"driptune show {record.optimization_id}"),
        ]
        for record in mine
    ]
    words = f"{len(mine)} proposals wait; nothing changes before a person approves." if mine else "Nothing waits."
    header = ("proposal", "risk", "promised", "because", "evidence and decision")
    return Section("waiting", "Waiting for your decision", words, header, rows, source="the ledger", is_open=True)


def decided(records: Sequence[Record], workflow_id: str | None) -> Section:
    """What was decided, with what it promised."""
    mine = [
        record
        for record in records
        if record.status is not Status.PENDING and (workflow_id is None or record.proposal.workflow_id == workflow_id)
    ]
    rows = [
        [
            Cell(record.proposal.title),
            Cell(record.status.replace("_", " ")),
            Cell(record.decided_by or ""),
            _lift(record.proposal.expected_lift, record.proposal.expected_lift_low, record.proposal.expected_lift_high),
            Cell(record.reason or ""),
        ]
        for record in mine
    ]
    in_effect = sum(record.status in IN_EFFECT for record in mine)
    words = f"{len(mine)} decided, {in_effect} in effect." if mine else "Nothing has been decided yet."
    return Section("decided", "Decisions taken", words, ("proposal", "status", "by", "promised", "reason"), rows)


def funnel(tables: Tables, workflow_id: str) -> Section:
    """Drop-off between the steps, the biggest avoidable loss in the title."""
    names = _step_names(tables, workflow_id)
    rows = tables["funnel"].filter(pl.col("workflow_id") == workflow_id)
    position = dict(
        tables["steps"].filter(pl.col("workflow_id") == workflow_id).select("step_id", "position").iter_rows()
    )
    transition = pl.struct("from_step_id", "to_step_id").map_elements(
        lambda pair: f"{names(pair['from_step_id'])} → {names(pair['to_step_id'])}", return_dtype=pl.String
    )
    ordered = rows.with_columns(
        transition=transition,
        _place=pl.col("from_step_id").replace_strict(position, default=None, return_dtype=pl.Int64),
    ).sort("_place", "to_step_id")
    worst = (
        tables["bottlenecks"].filter((pl.col("workflow_id") == workflow_id) & (pl.col("status") == "ok")).sort("rank")
    )
    title = "Where people drop off"
    if not worst.is_empty() and (worst.item(0, "avoidable_loss") or 0) > 0:
        first = worst.row(0, named=True)
        title = (
            f"Biggest avoidable loss: {names(first['from_step_id'])} → {names(first['to_step_id'])}, "
            f"{share(first['drop_off_rate'])} lost"
        )
    words = "Who still waits inside the planned delay is not counted as lost, who reached the goal neither."
    table = [
        [
            Cell(row["transition"]),
            *(_number(row[name]) for name in ("entrants", "advanced", "goal_exits", "waiting", "lost")),
            _rate(row, "drop_off_rate"),
            Cell("" if row["median_hours"] is None else f"{row['median_hours']:.0f} h", row["median_hours"]),
        ]
        for row in ordered.iter_rows(named=True)
    ]
    header = ("transition", "entered", "went on", "goal", "waiting", "lost", "drop-off (95%)", "median time")
    figure = drawn(funnel_figure(ordered), f"{title}. {words}")
    return Section("funnel", title, words, header, table, figure, "funnel, bottlenecks")


def step_comparison(tables: Tables, workflow_id: str) -> Section:
    """Steps side by side over 28 days."""
    names = _step_names(tables, workflow_id)
    rows = tables["step_metrics"].filter((pl.col("workflow_id") == workflow_id) & (pl.col("window") == WINDOW))
    table = [
        [
            Cell(names(row["step_id"])),
            _number(row["delivered"]),
            _between(row["human_open_rate_low"], row["human_open_rate_high"]),
            *(
                _rate(row, name)
                for name in ("human_click_rate", "conversion_rate", "unsubscribe_rate", "complaint_rate")
            ),
        ]
        for row in rows.filter(pl.col("delivered") > 0).iter_rows(named=True)
    ]
    header = (
        "step",
        "delivered",
        "human opens (bounds)",
        "clicked by people",
        "converted",
        "unsubscribed",
        "complained",
    )
    words = "28 days. Opens by machines cannot all be told from those of people, so opens are two bounds."
    return Section("steps", "Step by step", words, header, table, source="step_metrics, window 28d", is_open=True)


def _charted(
    anchor: str, title: str, words: str, table: str, draw: Callable[[pl.DataFrame], Any], columns: Sequence[str]
) -> Callable[[Tables, str], Section | None]:
    def make(tables: Tables, workflow_id: str) -> Section | None:
        rows = tables[table].filter(pl.col("workflow_id") == workflow_id)
        chart = draw(rows)
        if chart is None:
            return None
        told = chart.to_dict()["title"]
        shown = rows.select(columns).tail(MOST_ROWS)
        cells = [[_any(value) for value in row] for row in shown.iter_rows()]
        return Section(anchor, title, f"{told}. {words}", columns, cells, drawn(chart, f"{told}. {words}"), table)

    return make


trend = _charted(
    "trend",
    "Is anything out of line?",
    "The band holds a normal day in 95 of 100; marked days did not fit, and the band never knows the day it judges.",
    "metric_trends",
    charts.trend_chart,
    ("day", "step_id", "metric", "value", "expected_value_low", "expected_value_high", "change_marker"),
)
delay = _charted(
    "delays",
    "How long to wait",
    "Only delays that were used are compared; bars are 95% intervals.",
    "delay_curves",
    lambda curves: charts.delay_chart(_most_telling(curves)),
    ("from_step_id", "to_step_id", "delay_hours", "is_current", "entrants", "conversion_rate", "conversion_rate_low",
     "conversion_rate_high", "identification"),
)  # fmt: skip
cohorts = _charted(
    "cohorts",
    "Do newer cohorts do better?",
    "Cumulative conversion by week since entry, as far as each cohort is followed.",
    "cohort_triangles",
    charts.cohort_chart,
    ("cohort_type", "cohort", "age_weeks", "followed", "incidence_rate", "is_projected"),
)


def tests(tables: Tables, workflow_id: str) -> Section | None:
    """Tests of the workflow's steps and what they say."""
    verdicts = tables["experiment_verdicts"].filter(pl.col("workflow_id") == workflow_id)
    if verdicts.is_empty():
        return None
    chart = charts.experiment_chart(
        tables["experiment_results"].filter(pl.col("experiment_id").is_in(verdicts["experiment_id"].implode()))
    )
    rows = [
        [
            Cell(row["experiment_id"]),
            Cell(row["verdict"]),
            _lift(row["lift"], row["lift_low"], row["lift_high"]),
            _lift(row["shrunk_lift"], row["shrunk_lift_low"], row["shrunk_lift_high"]),
            Cell(row["recommended_action"]),
        ]
        for row in verdicts.iter_rows(named=True)
    ]
    words = "Looked at every night; the intervals stay true however often one looks. Winners are shown shrunk."
    header = ("test", "verdict", "measured", "to be expected", "what to do")
    figure = drawn(chart, words)
    return Section("tests", "Tests", words, header, rows, figure, "experiment_verdicts", is_open=True)


def stuck(tables: Tables, workflow_id: str | None) -> Section:
    """Who is stuck, by cause."""
    rows = tables["stuck_subscribers"]
    if workflow_id is not None:
        rows = rows.filter(pl.col("workflow_id") == workflow_id)
    grouped = rows.group_by("workflow_id", "step_id", "cause").agg(
        people=pl.len(), longest_hours=pl.col("stuck_hours").max()
    )
    table = [
        [Cell(_step_names(tables, flow)(step)), Cell(cause), _number(people), Cell(f"{hours / 24:.0f} days", hours)]
        for flow, step, cause, people, hours in grouped.sort(
            "people", "step_id", "cause", descending=[True, False, False]
        ).rows()
    ]
    words = f"{rows.height} people are in a step beyond its planned wait and grace." if rows.height else "Nobody."
    header = ("step", "cause", "people", "longest")
    return Section("stuck", "Stuck subscribers", words, header, table, source="stuck_subscribers", is_open=True)


def conflicts(tables: Tables, workflow_id: str | None) -> Section:
    """Workflows that collided in the past month."""
    rows = tables["conflict_replay"]
    names = dict(tables["workflows"].select("workflow_id", "name").iter_rows())
    if workflow_id is not None:
        rows = rows.filter((pl.col("workflow_id") == workflow_id) | (pl.col("prevailing_workflow_id") == workflow_id))
    table = [
        [
            Cell(f"{names[row['workflow_id']]} yields to {names[row['prevailing_workflow_id']]}"),
            Cell(row["description"]),
            _number(row["subscribers"]),
            Cell(row["resolution"]),
        ]
        for row in rows.iter_rows(named=True)
    ]
    words = "What collided in the past 30 days." if table else "No collisions in the past 30 days."
    return Section(
        "conflicts", "Conflicts", words, ("pair", "why", "subscribers", "resolution"), table,
        source="conflict_replay", is_open=True,
    )  # fmt: skip


def _most_telling(curves: pl.DataFrame) -> pl.DataFrame:
    """The transition whose delays differ most surely; all of them, where none can be compared."""
    compared = curves.filter(pl.col("better_probability").is_not_null()).sort("better_probability", descending=True)
    transition = ["from_step_id", "to_step_id"]
    return curves.join(compared.head(1).select(transition), on=transition, how="semi") if compared.height else curves


def share(value: float | None) -> str:
    """A share as people read it."""
    return "not known" if value is None else f"{value:.1%}" if value >= 0.01 or value == 0 else f"{value:.2%}"


def _step_names(tables: Tables, workflow_id: str) -> Callable[[str], str]:
    steps = tables["steps"].filter(pl.col("workflow_id") == workflow_id)
    names = dict(steps.select("step_id", "name").iter_rows())
    return lambda step_id: str(names.get(step_id) or step_id)


def _number(value: int | None) -> Cell:
    return Cell("" if value is None else f"{value:,}", value)


def _rate(row: dict[str, Any], name: str) -> Cell:
    rate = row[name]
    if rate is None:
        return Cell("not known")
    return Cell(f"{share(rate)} ({share(row[f'{name}_low'])} to {share(row[f'{name}_high'])})", rate)


def _between(low: float | None, high: float | None) -> Cell:
    return Cell("not known" if low is None or high is None else f"{share(low)} to {share(high)}", low)


def _lift(value: float | None, low: float | None, high: float | None) -> Cell:
    if value is None:
        return Cell("not known")
    interval = "" if low is None or high is None else f" ({low:+.0%} to {high:+.0%})"
    return Cell(f"{value:+.0%}{interval}", value)


def _any(value: Any) -> Cell:
    if value is None:
        return Cell("")
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), value)
