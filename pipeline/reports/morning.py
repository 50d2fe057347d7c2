"""The morning in at most ten lines, from the published marts alone."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from pipeline.resources.publish import Manifest

Tables = Mapping[str, pl.DataFrame]
WINDOW = "28d"


def read_publication(published_dir: Path) -> Tables:
    """Every table of the standing publication by name, and its manifest's line as `manifest`."""
    manifest = Manifest.read(published_dir)
    if manifest is None:
        return {}
    tables = {
        table.name: pl.read_parquet(published_dir / "parquet" / f"{table.name}.parquet") for table in manifest.tables
    }
    line = {"as_of": manifest.as_of, "version": manifest.version, "tables": len(manifest.tables)}
    return {**tables, "manifest": pl.DataFrame([line])}


def summary(tables: Tables) -> list[str]:
    """What the night found: volume, engagement, the biggest avoidable loss, who is stuck, how far counts agree."""
    manifest = tables["manifest"].row(0, named=True)
    lines = [f"\nThe morning after {manifest['as_of']} ({manifest['tables']} tables, version {manifest['version']})"]
    lines += _volume(tables["workflow_metrics"])
    lines += _bottleneck(tables["bottlenecks"])
    lines += _stuck(tables["stuck_subscribers"])
    lines += _reconciliation(tables["reconciliation"])
    lines += _quarantine(tables["quarantine"])
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
