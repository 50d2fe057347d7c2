"""Runs the nightly job in this process, on the instance that the UI shares, and says in one sentence why it failed."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

import dagster as dg

from pipeline.common.errors import NightlyError
from pipeline.definitions import build_defs
from pipeline.orchestration.instance import open_instance
from pipeline.orchestration.jobs import nightly
from pipeline.orchestration.partitions import range_tags
from pipeline.settings import Settings

Progress = Callable[[str], None]
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@dataclass(frozen=True)
class Night:
    """A finished nightly."""

    run_id: str
    as_of: date


def run_night(settings: Settings, as_of: date, progress: Progress, first: date | None = None) -> Night:
    """Run the nightly for `as_of`, or as one backfill for the days from `first` to `as_of`.

    Args:
        settings: where everything is.
        as_of: tonight.
        progress: told the name of each step as it ends.
        first: first day whose facts are recomputed although nothing new came in for them.

    Raises:
        NightlyError: naming the step that failed, and why.
    """
    settings.working_file.parent.mkdir(parents=True, exist_ok=True)
    job = build_defs(settings).resolve_job_def(nightly.name).with_hooks({_progress_hook(progress)})
    with open_instance(settings.dagster_home) as instance:
        result = job.execute_in_process(
            instance=instance,
            run_config=QUIET,
            raise_on_error=False,
            partition_key=as_of.isoformat() if first is None else None,
            tags=None if first is None else range_tags(first, as_of),
        )
    if not result.success:
        raise NightlyError("\n".join(_failures(result)))
    return Night(result.run_id, as_of)


def step_count(settings: Settings) -> int:
    """How many steps a nightly has."""
    return len(build_defs(settings).resolve_job_def(nightly.name).nodes)


def _progress_hook(progress: Progress) -> dg.HookDefinition:
    @dg.success_hook
    def tell(context: dg.HookContext) -> None:
        progress(context.op.name)

    return tell


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """A line per failed step; what failed outside of any step only if none did."""
    steps, job = [], []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if data.user_failure_data and data.user_failure_data.description:
                steps.append(f"{event.step_key}: {data.user_failure_data.description}")
            elif data.error:
                steps.append(f"{event.step_key}: {(data.error.cause or data.error).message.strip()}")
        elif event.is_job_failure and event.job_failure_data.error:
            job.append(event.job_failure_data.error.message.strip())
    return list(dict.fromkeys(steps or job))
