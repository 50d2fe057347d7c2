"""Nightlies that Dagster takes for running although their process is gone: a power cut and kill -9 tell nobody."""

from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg

from pipeline.common.lock import WarehouseBusyError, exclusive
from pipeline.orchestration.jobs import nightly

# Between its start and taking the lock a run imports and connects, which was measured to take seconds.
YOUNG = timedelta(seconds=60)
ACTIVE = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


def end_dead_nightlies(instance: dg.DagsterInstance, working_file: Path, now: datetime) -> list[str]:
    """Mark as failed every started nightly that does not hold the working file's lock; returns their ids.

    The lock dies with its holder, so a free one means that none of them is alive. Those that have just started have
    not taken it yet and are left alone.
    """
    filters = dg.RunsFilter(job_name=nightly.name, statuses=ACTIVE)
    if not instance.get_run_records(filters, limit=1):
        return []
    try:
        with exclusive(working_file.with_suffix(".lock"), wait_seconds=0):
            # Read under the lock: a run that ended while we looked is no longer among them.
            records = instance.get_run_records(filters)
            dead = [
                one for one in records if one.start_time and now.timestamp() - one.start_time > YOUNG.total_seconds()
            ]
            for record in dead:
                instance.report_run_failed(
                    record.dagster_run, "The process of this run is gone (power cut or kill). The next one starts anew."
                )
    except WarehouseBusyError:
        return []
    return [record.dagster_run.run_id for record in dead]
