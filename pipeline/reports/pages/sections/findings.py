"""What a reader is to look at first, the worst first, each as one sentence that needs no table to be understood."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from pipeline.analysis.anomalies.incidents import severity_rank
from pipeline.common.time import WINDOW_DAYS
from pipeline.common.words import counted, lift, metric_noun, share
from pipeline.optimizations.proposals.anomalies import GRAVE, course
from pipeline.optimizations.realised import brought_in_words, in_a_word
from pipeline.optimizations.record import IN_EFFECT
from pipeline.reports import WINDOW
from pipeline.reports.pages import INBOX_PATH
from pipeline.reports.pages.flow import names_of_tests
from pipeline.reports.pages.model import Cell, Note, Section, Tone
from pipeline.reports.pages.sections.performance import worst_loss
from pipeline.schemas.vocabulary import ProposalKind, RealisedOutcome, Verdict, Window

SILENCE = {"sent": "{} has sent nothing since {}", "entries": "Nobody has entered {} since {}"}
TOLD_AFTERWARDS = timedelta(days=7)
"""For so long it is told that a step which had stopped sends again."""
MOST_CHANGES = 5
STUCK = "#stuck"
"""Where a page lists those who are stuck."""
CALM = (
    "No step is out of line, no rate is surely over its bound, nobody is stuck, and no test waits "
    "for its winner to be sent."
)
_ORDER: Mapping[Tone, int] = {"bad": 0, "doubtful": 1}
_TONES: Mapping[str, Tone] = {
    RealisedOutcome.HARM: "bad",
    RealisedOutcome.LESS: "doubtful",
    RealisedOutcome.WORKS: "good",
}
Rows = Callable[[str], pl.DataFrame]
# The name of a workflow, or of a step of one.
Place = Callable[..., str]
Link = Callable[[str | None], str | None]


def findings(
    rows: Rows, place: Place, link: Link, rates: Sequence[Note], window: Window = WINDOW, page: str = ""
) -> Section:
    """Outages, decays, the biggest avoidable loss, people who are stuck, verdicts of tests, and what changes brought.

    Args:
        rows: the rows of a published table, of one workflow or of the whole account.
        place: the name of a step, given its workflow and its id; without an id, of the workflow.
        link: the page of a workflow, if it has one of its own.
        rates: what is wrong with the headline numbers of the same page.
        window: the days of these numbers. All else is as of tonight.
        page: the page that lists those who are stuck, where it is another one.
    """
    notes = [
        *_incidents(rows("anomalies"), rows("opportunities"), place, link),
        *_harm(rows("experiment_verdicts"), rows("experiments"), place, link),
        *rates,
        *_loss(rows("bottlenecks"), place, link),
        *_stuck(rows("stuck_subscribers"), f"{page}{STUCK}"),
        *_winners(rows("experiment_verdicts"), rows("optimizations"), place, link),
        *_resumed(rows("anomalies"), rows("step_metrics_daily"), place, link),
        *_changes(rows("realised_lift"), rows("optimizations")),
    ]
    notes.sort(key=lambda note: _ORDER.get(note.tone, len(_ORDER)))
    worst = notes[0] if notes else _calm(rows("workflows"), rows("workflow_metrics"), window)
    words = "" if len(notes) == 1 else "The worst first." if notes else CALM
    source = (
        "anomalies, opportunities, bottlenecks, experiment_verdicts, realised_lift, step_metrics_daily, "
        "stuck_subscribers, workflow_metrics, metric_changes"
    )
    return Section("findings", worst.cell.text, words, notes=notes[1:], source=source, tone=worst.tone)


def standing(anomalies: pl.DataFrame) -> pl.DataFrame:
    """The alarms that still go on, do harm and are not muted, one for each cause: the gravest first.

    Args:
        anomalies: rows of `anomalies`.
    """
    latest = anomalies.filter(pl.col("is_latest") & pl.col("is_adverse") & ~pl.col("is_muted"))
    order = ["_rank", "_is_sent", "affected", "anomaly_id"]
    ranked = latest.with_columns(_rank=severity_rank(), _is_sent=pl.col("metric") == "sent")
    ranked = ranked.sort(order, descending=[True, True, True, False])
    return ranked.unique("cause_id", keep="first", maintain_order=True)


def incident(row: Mapping[str, Any], decay: Mapping[str, Any] | None, place: str) -> str:
    """An alarm in one sentence.

    Args:
        row: a row of `anomalies`.
        decay: the row of `opportunities` that tells the decay of the same series, if there is one.
        place: the name of what it is about.
    """
    since = day(row["cause_first_day"], row["as_of_day"])
    if not row["value"] and row["metric"] in SILENCE:
        return SILENCE[row["metric"]].format(place, since)
    noun = metric_noun(row["metric"])
    if decay:
        former, present = (share(decay[f"{time}_rate"]) for time in ("former", "present"))
        since = day(decay["since_day"], row["as_of_day"])
        return f"{place}: {noun} fell from {former} to {present}, out of line since {since}"
    if row["anomaly_kind"] == "drift":
        way = "fallen" if row["direction"] == "down" else "risen"
        return f"{place}: {noun} have slowly {way}, out of line since {since}"
    if row["direction"] == "down":
        return f"{place}: {1 - row['value'] / row['expected_value']:.0%} fewer {noun} than expected since {since}"
    times = row["value"] / row["expected_value"] if row["expected_value"] else 0.0
    return (
        f"{place}: {times:.1f} times the {noun} expected since {since}" if times else f"{place}: {noun} since {since}"
    )


def loss(row: Mapping[str, Any], place: Place) -> str:
    """A transition, as a row of `bottlenecks`, in one sentence: how many it loses, and how many others do."""
    workflow, start, end = row["workflow_id"], row["from_step_id"], row["to_step_id"]
    lost = share(row["drop_off_rate"], row["drop_off_rate_low"], row["drop_off_rate_high"])
    way = f"{place(workflow, start)} to {place(workflow, end, is_whole=False)}"
    return f"{way}: {lost} are lost on the way; elsewhere it is {share(row['benchmark_rate'])}"


def day(one: date, tonight: date) -> str:
    """A day as people write it; with its year where that is not tonight's."""
    return f"{one.day} {one:%B}" if one.year == tonight.year else f"{one.day} {one:%B %Y}"


def _incidents(anomalies: pl.DataFrame, opportunities: pl.DataFrame, place: Place, link: Link) -> Iterator[Note]:
    known = {row["opportunity_id"]: row for row in opportunities.iter_rows(named=True)}
    for row in standing(anomalies).iter_rows(named=True):
        where = place(row["workflow_id"], row["step_id"] if row["scope"] == "step" else None)
        is_grave = row["severity"] in GRAVE
        yield Note(
            Cell(incident(row, course(row, known), where), link=link(row["workflow_id"])),
            "bad" if is_grave else "doubtful",
        )


def _resumed(anomalies: pl.DataFrame, daily: pl.DataFrame, place: Place, link: Link) -> Iterator[Note]:
    """What had stopped and sends again, for a week: those who had waited may have got it at once."""
    steps = ("workflow_id", "step_id")
    silent = anomalies.filter((pl.col("anomaly_kind") == "silence") & (pl.col("metric") == "sent"))
    for _, cause in silent.sort("day", *steps).group_by("cause_id", maintain_order=True):
        scope, tonight, first, last = cause.select("cause_scope", "as_of_day", "cause_first_day", "day").row(-1)
        if cause["is_latest"].any() or tonight - last > TOLD_AFTERWARDS:
            continue
        since = daily.filter((pl.col("day") > last) & (pl.col("sent") > 0)).join(cause, on=steps, how="semi")
        if since.is_empty():
            continue
        workflow, step = cause.select(steps).row(0)
        where = place(None if scope == "account" else workflow, step if scope == "step" else None)
        again = f"It sends again since {day(since.sort('day').item(0, 'day'), tonight)}, {since['sent'].sum():,} so far"
        told = f"{where} sent nothing from {day(first, tonight)} to {day(last, tonight)}. {again}"
        yield Note(Cell(told, link=link(workflow)))


def _calm(workflows: pl.DataFrame, metrics: pl.DataFrame, window: Window) -> Note:
    """What is said where nothing is wrong: that all is well only where anything was sent."""
    if metrics.filter(pl.col("window") == window)["sent"].sum():
        return Note(Cell("Nothing is out of line"), "good")
    told = f"Nothing was sent in {WINDOW_DAYS[window]} days"
    if workflows.height == 1 and (status := workflows.item(0, "status")) != "active":
        told += f": the flow is {status}"
    return Note(Cell(told))


def _harm(verdicts: pl.DataFrame, plans: pl.DataFrame, place: Place, link: Link) -> Iterator[Note]:
    called = names_of_tests(plans)
    for row in verdicts.filter(pl.col("verdict") == Verdict.HARM).iter_rows(named=True):
        told = f"{place(row['workflow_id'], row['step_id'])}: the test '{called[row['experiment_id']]}' does harm"
        yield Note(Cell(told, link=link(row["workflow_id"])), "bad")


def _loss(bottlenecks: pl.DataFrame, place: Place, link: Link) -> Iterator[Note]:
    if row := worst_loss(bottlenecks):
        yield Note(Cell(loss(row, place), link=link(row["workflow_id"])), "doubtful")


def _stuck(stuck: pl.DataFrame, listed: str) -> Iterator[Note]:
    if stuck.height:
        [most] = stuck["cause"].value_counts(sort=True).sort("count", "cause", descending=[True, False]).head(1).rows()
        told = (
            f"{counted(stuck.height, 'person is', 'people are')} stuck; the most frequent cause: {most[0]} ({most[1]})"
        )
        yield Note(Cell(told, link=listed), "doubtful")


def _winners(verdicts: pl.DataFrame, records: pl.DataFrame, place: Place, link: Link) -> Iterator[Note]:
    """The tests whose winner is not sent to everybody yet."""
    sent = records.filter(pl.col("kind") == ProposalKind.EXPERIMENT_WINNER, pl.col("status").is_in(IN_EFFECT))
    open_ones = verdicts.join(sent, left_on="experiment_id", right_on="target", how="anti")
    for row in open_ones.filter(pl.col("verdict") == Verdict.WINNER).iter_rows(named=True):
        expected = f"expect {lift(row['shrunk_lift'], row['shrunk_lift_low'], row['shrunk_lift_high'])}"
        said = "the control brought nothing" if row["shrunk_lift"] is None else expected
        told = f"{place(row['workflow_id'], row['step_id'])}: arm {row['winner_arm']} won its test; {said}"
        yield Note(Cell(told, link=link(row["workflow_id"])), "good")


def _changes(realised: pl.DataFrame, records: pl.DataFrame) -> Iterator[Note]:
    """What came of the changes in effect, the newest first, and harm before all others."""
    in_effect = records.filter(pl.col("status").is_in(IN_EFFECT)).select("optimization_id", "title")
    found = in_a_word(realised).join(in_effect, on="optimization_id")
    newest = found.sort(pl.col("outcome") == RealisedOutcome.HARM, "first_day", "title", descending=[True, True, False])
    for row in newest.head(MOST_CHANGES).iter_rows(named=True):
        since = f"In effect since {day(row['first_day'], row['as_of_day'])}: {row['title']}"
        if row["realised_lift"] is None:
            told = f"{since}. So far {row['status']}"
        else:
            told = f"{since}. So far {brought_in_words(row)}: {row['outcome']}"
        link = f"{INBOX_PATH}/{row['optimization_id']}"
        yield Note(Cell(told, link=link), _TONES.get(row["outcome"], ""))
