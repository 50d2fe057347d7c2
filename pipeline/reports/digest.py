"""The morning in at most ten lines, from the published marts; one more where the event files ask for it."""

import polars as pl

from pipeline.optimizations.realised import Kept, in_a_word
from pipeline.published.reader import Tables

WINDOW = "28d"


def summary(tables: Tables, waiting: int, events: str | None = None) -> list[str]:
    """What the night found, what is wrong with the `events`, and how many proposals are `waiting` for a decision."""
    manifest = tables["manifest"].row(0, named=True)
    lines = [f"\nThe morning after {manifest['as_of']} ({manifest['tables']} tables, version {manifest['version']})"]
    lines += _volume(tables["workflow_metrics"])
    lines += _bottleneck(tables["bottlenecks"])
    lines += _alarms(tables["anomalies"])
    lines += _tests(tables["experiment_verdicts"])
    lines += _changes(tables["realised_lift"]) if "realised_lift" in tables else []
    lines += _stuck(tables["stuck_subscribers"])
    lines += _reconciliation(tables["reconciliation"])
    lines += _quarantine(tables["quarantine"])
    lines += [f"  events      {events}"] if events else []
    lines.append(
        f"  decisions   {waiting:,} proposals wait: driptune pending" if waiting else "  decisions   nothing waits"
    )
    return lines


def _volume(workflow_metrics: pl.DataFrame) -> list[str]:
    window = workflow_metrics.filter((pl.col("window") == WINDOW) & (pl.col("delivered") > 0))
    if window.is_empty():
        return ["  mail        nothing was sent in the last 28 days"]
    total = window.select(pl.col("sent", "delivered", "unique_human_clicks").sum()).row(0, named=True)
    rate = total["unique_human_clicks"] / total["delivered"]
    return [
        f"  mail        {total['sent']:,} sent in 28 days, {rate:.1%} clicked by people "
        f"({total['unique_human_clicks']:,} of {total['delivered']:,} delivered)"
    ]


def _bottleneck(bottlenecks: pl.DataFrame) -> list[str]:
    known = bottlenecks.filter(pl.col("status") == "ok").sort("rank")
    if known.is_empty():
        return ["  drop-off    no transition has been followed long enough yet"]
    worst = known.row(0, named=True)
    return [
        f"  drop-off    biggest avoidable loss: {worst['workflow_id']}, {worst['from_step_id']} -> "
        f"{worst['to_step_id']}: {worst['drop_off_rate']:.1%} lost "
        f"({worst['drop_off_rate_low']:.1%} to {worst['drop_off_rate_high']:.1%}), "
        f"first with probability {worst['first_rank_probability']:.2f}"
    ]


def _alarms(anomalies: pl.DataFrame) -> list[str]:
    standing = anomalies.filter(pl.col("is_latest") & pl.col("is_adverse") & ~pl.col("is_muted"))
    causes = standing.unique("cause_id", keep="first", maintain_order=True)
    if causes.is_empty():
        return ["  alarms      nothing is out of line"]
    first = causes.row(0, named=True)
    place = f"{first['workflow_id']}, {first['step_id']}" if first["scope"] == "step" else "the whole account"
    more = f", and {causes.height - 1} more" if causes.height > 1 else ""
    return [f"  alarms      {place}: {first['metric']} out of line since {first['cause_first_day']}{more}"]


def _tests(verdicts: pl.DataFrame) -> list[str]:
    counts = verdicts.group_by("verdict").len().sort("len", "verdict", descending=[True, False])
    told = ", ".join(f"{count} {verdict}" for verdict, count in counts.iter_rows())
    return [f"  tests       {told}"] if told else []


def _changes(realised: pl.DataFrame) -> list[str]:
    """What became of applied changes; the one that does harm, or else brought most, with its lift."""
    tonight = in_a_word(realised)
    if tonight.is_empty():
        return []
    counts = tonight.group_by("outcome").len().sort("len", "outcome", descending=[True, False])
    told = ", ".join(f"{count} {outcome}" for outcome, count in counts.iter_rows())
    known = tonight.filter(pl.col("is_significant") & pl.col("realised_lift_low").is_not_null())
    first = known.sort(pl.col("outcome") == Kept.HARM, "realised_lift", descending=True).head(1)
    for row in first.iter_rows(named=True):
        ends = f"{row['realised_lift_low']:+.0%} to {row['realised_lift_high']:+.0%}"
        promise = "" if row["promised_lift"] is None else f", promised {row['promised_lift']:+.0%}"
        told += f"; {row['optimization_id']}: {row['metric']} {row['realised_lift']:+.0%} ({ends}){promise}"
    return [f"  changes     {told}"]


def _stuck(stuck: pl.DataFrame) -> list[str]:
    if stuck.is_empty():
        return ["  stuck       nobody"]
    causes = stuck.group_by("cause").len().sort("len", "cause", descending=[True, False])
    return [f"  stuck       {stuck.height:,} people: " + ", ".join(f"{n} {cause}" for cause, n in causes.iter_rows())]


def _reconciliation(reconciliation: pl.DataFrame) -> list[str]:
    explained = reconciliation.filter(~pl.col("reason").is_in(["equal", "unexplained"])).height
    unexplained = reconciliation.filter(pl.col("reason") == "unexplained").height
    return [
        f"  agreement   {reconciliation.height:,} counts held against Mailchimp's reports: "
        f"{explained} differ for a known reason, {unexplained} unexplained"
    ]


def _quarantine(quarantine: pl.DataFrame) -> list[str]:
    return [
        f"  quarantine  {quarantine.height:,} rows broke their contract"
        + (", see quarantine" if len(quarantine) else "")
    ]
