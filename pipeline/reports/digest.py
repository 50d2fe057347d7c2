"""The morning in about ten lines, from the published tables alone; more only where something asks for it."""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import polars as pl

from pipeline.analysis.anomalies.incidents import notifications
from pipeline.analysis.performance.announced import METRIC, OF_GUESTS, RENAMED, UNANNOUNCED, WITHOUT_ADDRESS
from pipeline.common.words import counted, share
from pipeline.optimizations.proposals.anomalies import GRAVE, course
from pipeline.optimizations.realised import brought_in_words, in_a_word
from pipeline.published.reader import Tables
from pipeline.reports import WINDOW
from pipeline.reports.pages.flow import Names
from pipeline.reports.pages.sections.findings import incident, loss, standing
from pipeline.reports.pages.sections.performance import worst_loss
from pipeline.schemas.vocabulary import RealisedOutcome as Kept
from pipeline.schemas.vocabulary import ReleaseOutcome

MOST_CAUSES = 3
"""Grave causes that are named. More at once are rarely independent, and the page lists them all."""
# What went away is news for a week; reconciliation keeps it for good.
NEWS = timedelta(days=7)
# The list of journeys and the steps of each: a line of its own tells what could not be read of them.
PROBED = ("journeys", "steps")
KIND = {metric: kind for kind, metric in METRIC.items()}
PEOPLE = {
    RENAMED: ("renamed", "member changed their address", "members changed their address", "each is still one person"),
    WITHOUT_ADDRESS: (
        "no address",
        "member has no e-mail address",
        "members have no e-mail address",
        "kept, and reached by no e-mail",
    ),
    OF_GUESTS: ("guests", "order names no customer", "orders name no customer", "kept, and credited to nobody"),
}


def summary(tables: Tables, waiting: int, events: str | None = None) -> list[str]:
    """A heading and a line for each subject on what the night found.

    Args:
        tables: the published tables.
        waiting: how many proposals wait for a decision.
        events: what is wrong with the names in the event files.
    """
    manifest = tables["manifest"].row(0, named=True)
    lines = [f"\nThe morning after {manifest['as_of']}"]
    lines += _failed(tables["analysis_failures"]) if "analysis_failures" in tables else []
    lines += _feeds(tables["reconciliation"])
    lines += _volume(tables["workflow_metrics"])
    names = Names.of(tables)
    lines += _bottleneck(tables["bottlenecks"], names)
    lines += _alarms(tables["anomalies"], tables["opportunities"], names)
    lines += _tests(tables["experiment_verdicts"])
    lines += _changes(tables["realised_lift"], tables["optimizations"]) if "realised_lift" in tables else []
    lines += _releases(tables["releases"]) if "releases" in tables else []
    lines += _stuck(tables["stuck_subscribers"])
    if "journeys" in tables:
        lines += _journeys(tables["journeys"], tables["journey_lint"], tables["reconciliation"])
    lines += _reconciliation(tables["reconciliation"])
    lines += _sources(tables["reconciliation"], date.fromisoformat(str(manifest["as_of"])))
    lines += _quarantine(tables["quarantine"])
    told = f"{counted(waiting, 'proposal waits', 'proposals wait')}: driptune pending" if waiting else "nothing waits"
    lines += [f"  events      {events}"] if events else []
    lines.append(f"  decisions   {told}")
    return lines


def _failed(failures: pl.DataFrame) -> list[str]:
    """The tables that were not computed tonight, by the kind of error and the night of their rows."""
    told = failures.group_by("error", "rows_of_day", maintain_order=True).agg(pl.col("table_name").str.join(", "))
    return [
        f"  failed      {names} ({error}): {f'the rows are those of {day}' if day else 'there are no rows yet'}; "
        "nothing is proposed from them"
        for error, day, names in told.iter_rows()
    ]


def _feeds(reconciliation: pl.DataFrame) -> list[str]:
    """Of how many people the activity feed is not read, if it is anybody's."""
    told = reconciliation.filter((pl.col("metric") == METRIC["feeds"]) & (pl.col("reason") != "equal"))
    return [f"  feeds       {reason}" for reason in told["reason"]]


def _volume(workflow_metrics: pl.DataFrame) -> list[str]:
    window = workflow_metrics.filter((pl.col("window") == WINDOW) & (pl.col("delivered") > 0))
    if window.is_empty():
        return ["  mail        nothing was sent in the last 28 days"]
    total = window.select(pl.col("sent", "delivered", "unique_human_clicks").sum()).row(0, named=True)
    rate = total["unique_human_clicks"] / total["delivered"]
    return [
        f"  mail        {total['sent']:,} sent in 28 days, {share(rate)} clicked by people "
        f"({total['unique_human_clicks']:,} of {total['delivered']:,} delivered)"
    ]


def _bottleneck(bottlenecks: pl.DataFrame, names: Names) -> list[str]:
    if bottlenecks.filter(pl.col("status") == "ok").is_empty():
        return ["  drop-off    no transition has been followed long enough yet"]
    worst = worst_loss(bottlenecks)
    return [f"  drop-off    {loss(worst, names.place) if worst else 'no transition loses more than others do'}"]


def _alarms(anomalies: pl.DataFrame, opportunities: pl.DataFrame, names: Names) -> list[str]:
    """The grave causes that still go on, as the page tells them, and how many there are beside them and are new."""
    causes = standing(anomalies).join(notifications(anomalies).select("cause_id", "is_new"), on="cause_id")
    if causes.is_empty():
        return ["  alarms      nothing is out of line"]
    is_told = pl.col("severity").is_in(GRAVE) | (pl.int_range(pl.len()) == 0)
    told = causes.filter(is_told).head(MOST_CAUSES)
    others = causes.height - told.height
    more = f" {counted(others, 'more goes on', 'more go on')}." if others else ""
    begun = causes.filter("is_new").height
    new = f" {counted(begun, 'is', 'are')} new." if begun else ""
    decays = {row["opportunity_id"]: row for row in opportunities.iter_rows(named=True)}
    lines = [f"  alarms      {_alarm(row, decays, names)}." for row in told.iter_rows(named=True)]
    return [*lines[:-1], f"{lines[-1]}{more}{new}"]


def _alarm(row: Mapping[str, Any], decays: Mapping[str, Mapping[str, Any]], names: Names) -> str:
    place = names.place(row["workflow_id"], row["step_id"] if row["scope"] == "step" else None)
    return incident(row, course(row, decays), place)


def _tests(verdicts: pl.DataFrame) -> list[str]:
    return [] if verdicts.is_empty() else [f"  tests       {_counted(verdicts, 'verdict')}"]


def _changes(realised: pl.DataFrame, records: pl.DataFrame) -> list[str]:
    """What became of applied changes, and the lift of the one that does harm, or else of the one that brought most."""
    tonight = in_a_word(realised)
    if tonight.is_empty():
        return []
    told = _counted(tonight, "outcome")
    known = tonight.filter(pl.col("is_significant") & pl.col("realised_lift_low").is_not_null())
    first = known.sort(pl.col("outcome") == Kept.HARM, "realised_lift", descending=True).head(1)
    for row in first.join(records.select("optimization_id", "title"), on="optimization_id").iter_rows(named=True):
        told += f"; {row['title']}: {brought_in_words(row)}"
    return [f"  changes     {told}"]


def _releases(releases: pl.DataFrame) -> list[str]:
    """How many people were let into flows so far, and what became of the others."""
    counts = dict(releases.group_by("outcome").agg(pl.col("subscribers").sum()).iter_rows())
    told = [f"{counts[word]:,} {word}" for word in ReleaseOutcome if word in counts]
    return [f"  releases    {', '.join(told)}"] if told else []


def _stuck(stuck: pl.DataFrame) -> list[str]:
    if stuck.is_empty():
        return ["  stuck       nobody"]
    return [f"  stuck       {counted(stuck.height, 'person', 'people')}: {_counted(stuck, 'cause')}"]


def _journeys(journeys: pl.DataFrame, lint: pl.DataFrame, reconciliation: pl.DataFrame) -> list[str]:
    """What was read of journeys, what changed tonight, and what is wrong; one line, however much failed."""
    current = journeys.filter("is_current")
    changed = current.filter((pl.col("first_day") == pl.col("as_of_day")) & (pl.col("changes") != ""))
    told = [f"{counted(current.height, 'journey is', 'journeys are')} known from Mailchimp"] if current.height else []
    told += [f"{name} changed ({changes})" for name, changes in changed.select("name", "changes").iter_rows()]
    told += [f"{_counted(lint, 'finding')} (table journey_lint)"] if lint.height else []
    failed = reconciliation.filter(pl.col("metric").is_in(PROBED) & pl.col("reason").str.contains("^(not|never) read"))
    if failed.height:
        first = failed.sort("metric", "campaign_id").row(0, named=True)
        what = "journeys were" if first["metric"] == PROBED[0] else f"{failed.height} of them were"
        told.append(f"{what} {first['reason']} Flows come from flows.yaml and from what earlier nights read.")
    return [f"  journeys    {'; '.join(told)}"] if current.height or failed.height else []


def _reconciliation(reconciliation: pl.DataFrame) -> list[str]:
    reasons = reconciliation["reason"]
    unexplained, unannounced = (int((reasons == reason).sum()) for reason in ("unexplained", UNANNOUNCED))
    explained = reconciliation.height - int((reasons == "equal").sum()) - unexplained - unannounced
    unheld = f"; of {counted(unannounced, 'count', 'counts')} Mailchimp announced no total" if unannounced else ""
    return [
        f"  agreement   {counted(reconciliation.height - unannounced, 'count', 'counts')} held against Mailchimp's "
        f"reports: {counted(explained, 'differs', 'differ')} for a known reason, {unexplained:,} unexplained{unheld}"
    ]


def _sources(reconciliation: pl.DataFrame, tonight: date) -> list[str]:
    """What went away at the source, what could not be read, and who is not quite as others."""
    told = reconciliation.with_columns(
        since=pl.col("reason").str.extract(r"since (\d{4}-\d\d-\d\d)").str.to_date(),
        name=pl.coalesce(pl.col("reason").str.extract(r"\((.*)\)$"), "campaign_id"),
        kind=pl.col("metric").replace_strict(KIND, default="", return_dtype=pl.String),
    ).sort("since", "kind", "campaign_id")
    lines = []
    gone = told.filter(pl.col("reason").str.starts_with("gone since") & (pl.col("since") > tonight - NEWS))
    for (since,), rows in gone.group_by("since", maintain_order=True):
        things = ", ".join(f"{kind} {name}" for kind, name in rows.select("kind", "name").iter_rows())
        lines.append(f"  gone        since {since}: {things}; what was read of them stays")
    is_probed = pl.col("metric").is_in(PROBED)
    failed = told.filter(pl.col("reason").str.contains("^(not|never) read") & ~is_probed)
    for kind, source_id, reason in failed.select("kind", "campaign_id", "reason").iter_rows():
        lines.append(f"  kept        {kind} {source_id} {reason}")
    for metric, (subject, one, many, then) in PEOPLE.items():
        number = int(told.filter(pl.col("metric") == metric)["counted"].sum())
        lines += [f"  {subject:<12}{counted(number, one, many)}; {then}"] if number else []
    return lines


def _quarantine(quarantine: pl.DataFrame) -> list[str]:
    where = "" if quarantine.is_empty() else ", see the table quarantine"
    told = counted(quarantine.height, "row broke its contract", "rows broke their contract")
    return [f"  quarantine  {told}{where}"]


def _counted(rows: pl.DataFrame, column: str) -> str:
    """How many rows hold each value of the column, the most frequent first."""
    counts = rows.group_by(column).len().sort("len", column, descending=[True, False])
    return ", ".join(f"{count} {value}" for value, count in counts.iter_rows())
