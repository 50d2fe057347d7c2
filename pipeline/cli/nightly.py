"""Runs the nightly job in this process, on the instance that the UI shares, and says in one sentence why it failed."""

import gc
import io
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr
from datetime import date
from typing import TextIO
from uuid import uuid4

import dagster as dg
from dagster_shared.error import SerializableErrorInfo

from pipeline.common.errors import NightlyError, disk_words
from pipeline.definitions import build_defs
from pipeline.engine.reading import WORKING_FILE_DAMAGED, tells_damage
from pipeline.operations.soundness import damage_found
from pipeline.orchestration.instance import open_instance
from pipeline.orchestration.jobs import nightly
from pipeline.orchestration.partitions import range_tags
from pipeline.settings import Settings

# Is told the name of each step when it ends, and how many steps there are.
Progress = Callable[[str, int], None]
OBJECTS_BETWEEN_COLLECTIONS = 50_000
NOT_RECORDED = (
    "Exception while writing logger call to event log",
    "Exception while storing event batch",
    "Falling back to storing multiple single-event",
)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def run_night(settings: Settings, as_of: date, progress: Progress, first: date | None = None) -> None:
    """Run the nightly for `as_of`, or as one backfill for the days from `first` to `as_of`.

    Args:
        settings: say where everything is.
        as_of: tonight.
        progress: is told of each step that ends.
        first: the first day whose facts are recomputed although nothing new came in for them.

    Raises:
        NightlyError: names each step that failed, and says why.
    """
    settings.working_file.parent.mkdir(parents=True, exist_ok=True)
    job = build_defs(settings, first or as_of).resolve_job_def(nightly.name)
    with open_instance(settings.dagster_home) as instance, _collected_seldom(), redirect_stderr(_Clear(sys.stderr)):
        run_id = str(uuid4())
        instance.add_event_listener(run_id, lambda entry: _tell(entry, progress, len(job.nodes)))
        result = job.execute_in_process(
            instance=instance,
            run_id=run_id,
            run_config=QUIET,
            raise_on_error=False,
            partition_key=as_of.isoformat() if first is None else None,
            tags=None if first is None else range_tags(first, as_of),
        )
    if not result.success:
        lines = _failures(result)
        if any(event.is_step_failure and not _told(event) for event in result.all_events):
            # A night looks at names and sizes only, so that what it met may be damage.
            lines += damage_found(settings)
        raise NightlyError("\n".join(dict.fromkeys(lines)))


class _Clear(io.TextIOBase):
    """The standard error without what Dagster writes there of a record that it could not keep.

    It raises the same error too, which is then told in a sentence.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return len(text) if text.startswith(NOT_RECORDED) else self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()


@contextmanager
def _collected_seldom() -> Iterator[None]:
    """Spare Python's garbage collector most of its work: what was imported, and what Dagster keeps of a run, stays."""
    often = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *often[1:])
    try:
        yield
    finally:
        gc.set_threshold(*often)
        gc.unfreeze()


def _tell(entry: dg.EventLogEntry, progress: Progress, steps: int) -> None:
    if entry.step_key and entry.dagster_event and entry.dagster_event.is_step_success:
        progress(entry.step_key, steps)


def _failures(result: dg.ExecuteInProcessResult) -> list[str]:
    """A line for each failed step. What failed outside of any step is told only if no step failed."""
    steps, job = [], []
    for event in result.all_events:
        if event.is_step_failure:
            data = event.step_failure_data
            if told := _told(event):
                steps.append(f"{event.step_key}: {told}")
            elif data.error:
                steps.append(f"{event.step_key}: {_in_words(data.error)}")
        elif event.is_job_failure and event.job_failure_data.error:
            job.append(_in_words(event.job_failure_data.error))
    return list(dict.fromkeys(steps or job))


def _told(event: dg.DagsterEvent) -> str | None:
    """What the step itself said of why it failed."""
    told = event.step_failure_data.user_failure_data
    return told.description if told else None


def _in_words(error: SerializableErrorInfo) -> str:
    """What an error says, without what Dagster wraps it in."""
    told = error.cause or error
    chain: SerializableErrorInfo | None = told
    while chain is not None:
        if words := disk_words(chain.message):
            return words
        if tells_damage(chain.message):
            return WORKING_FILE_DAMAGED
        chain = chain.cause or chain.context
    return told.message.strip().partition(f"{told.cls_name}: ")[2] or told.message.strip()
