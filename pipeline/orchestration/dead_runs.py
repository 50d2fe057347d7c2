"""Nightlies that Dagster takes for running although a power cut or a kill has ended their process."""

from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from pipeline.common.lock import WarehouseBusyError, exclusive
from pipeline.orchestration.jobs import nightly

# A run imports and connects before it takes the lock, which was measured to take seconds.
YOUNG = timedelta(seconds=60)
ACTIVE = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def end_dead_nightlies(instance: dg.DagsterInstance, working_file: Path, now: datetime) -> list[str]:
    """Mark as failed every started nightly that does not hold the working file's lock, and return their ids.

    The lock is released when its holder ends, so if it is free, none of them is alive. Nightlies that have just started
    may not have taken it yet and are left alone.
    """
    filters = dg.RunsFilter(job_name=nightly.name, statuses=ACTIVE)
    if not instance.get_run_records(filters, limit=1):
        return []
    try:
        with exclusive(working_file.with_suffix(".lock"), wait_seconds=0):
            # The records are read under the lock, so that a run that has just ended is no longer among them.
            records = instance.get_run_records(filters)
            dead = [
                one for one in records if one.start_time and now.timestamp() - one.start_time > YOUNG.total_seconds()
            ]
            for record in dead:
                instance.report_run_failed(
                    record.dagster_run,
                    "The process of this run is gone, after a power cut or a kill. The next run starts anew.",
                )
    except WarehouseBusyError:
        return []
    return [record.dagster_run.run_id for record in dead]
