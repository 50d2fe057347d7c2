"""Which nights ran, when, and what they read: rows of `marts.runs` from Dagster's own records."""

from collections.abc import Sequence
from datetime import UTC, datetime

import dagster as dg
import polars as pl

from pipeline.common.time import to_date
from pipeline.lake.store import Lake
from pipeline.orchestration.partitions import tonight
from pipeline.schemas.base import polars_schema, tables_of
from pipeline.schemas.lake import Quarantine
from pipeline.schemas.performance import Runs
from pipeline.settings import Settings

# People look for trends in the history, and a year of nights shows them.
RUNS_KEPT = 400
STATUS = {dg.DagsterRunStatus.SUCCESS: "success", dg.DagsterRunStatus.FAILURE: "failure"}


def run_history(
    records: Sequence[dg.RunRecord], current_run_id: str, lake: Lake, settings: Settings, version: str, now: datetime
) -> pl.DataFrame:
    """One row per recorded nightly that has ended, and one for the current nightly.

    The current nightly counts as a success: its row is published only if it is one.

    Args:
        records: Dagster's records of the nightly job.
        current_run_id: the run that publishes.
        lake: is asked how many rows each night read and set aside.
        settings: tell the night of a run without a partition.
        version: the version of the code that runs.
        now: the end of the current run.
    """
    rows = []
    for record in records[:RUNS_KEPT]:
        run = record.dagster_run
        is_current = run.run_id == current_run_id
        if not is_current and run.status not in STATUS:
            continue
        rows.append(
            {
                "run_id": run.run_id,
                "as_of_day": tonight(run.tags, settings),
                "version": version,
                "started_at": _instant(record.start_time) or now.replace(tzinfo=None),
                "finished_at": now.replace(tzinfo=None) if is_current else _instant(record.end_time),
                "status": "success" if is_current else STATUS[run.status],
            }
        )
    columns = {name: dtype for name, dtype in polars_schema(Runs).items() if not name.startswith("rows_")}
    runs = pl.DataFrame(rows, schema=columns)
    return runs.join(rows_by_night(lake), on="as_of_day", how="left")


def rows_by_night(lake: Lake) -> pl.DataFrame:
    """The columns `as_of_day`, `rows_read` and `rows_quarantined` for every night that wrote to the lake."""
    counted = [
        lake.scan(model)
        .group_by("as_of_day")
        .agg(
            rows_read=pl.len().cast(pl.Int64) * int(model is not Quarantine),
            rows_quarantined=pl.len().cast(pl.Int64) * int(model is Quarantine),
        )
        for model in tables_of("lake")
        if "as_of_day" in polars_schema(model)
    ]
    return pl.concat(counted).group_by(as_of_day=to_date("as_of_day")).sum().collect()


def _instant(timestamp: float | None) -> datetime | None:
    return datetime.fromtimestamp(timestamp, UTC).replace(tzinfo=None) if timestamp is not None else None
