"""`constraints.yaml`: quiet hours, allowed days and caps. Without the file the defaults below apply.

Only shape and sense are checked here. Schedules that keep the constraints are made in
`pipeline/analysis/send_time/schedule.py`.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import polars as pl
from pydantic import BeforeValidator, Field

from pipeline.config.reader import Definition, Mistake, Name, load_definition, repeated_ids

CONSTRAINTS_FILE = "constraints.yaml"
Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)
# Messages at night wake people, and several countries forbid advertising at night.
DEFAULT_QUIET_HOURS = (21, 7)
_QUIET_HOURS = re.compile(r"(\d{1,2})\s*-\s*(\d{1,2})", re.ASCII)


def parse_quiet_hours(text: Any) -> tuple[int, int] | None:
    """The two local hours of a span such as '21-07', which is quiet from 21:00 until 07:00. None for 'none'.

    Raises:
        ValueError: if the text is neither.
    """
    if text is None or text == "none":
        return None
    match = _QUIET_HOURS.fullmatch(text) if isinstance(text, str) else None
    hours = (int(match[1]), int(match[2])) if match else (-1, -1)
    if not all(0 <= hour <= 23 for hour in hours) or hours[0] == hours[1]:
        shown = f"'{text}'" if isinstance(text, str) else "this"
        raise ValueError(f"{shown} is not a span of hours. Write two hours from 0 to 23, such as '21-07', or 'none'.")
    return hours


QuietHours = Annotated[tuple[int, int] | None, BeforeValidator(parse_quiet_hours)]


class Limits(Definition):
    """Limits for the messages of a step, in local time. `hourly_cap` is the most recipients in one local hour.

    `send_hours_from` is the first day on which the mail goes out at the hours that driptune writes; none = not yet.
    """

    quiet_hours: QuietHours = DEFAULT_QUIET_HOURS
    allowed_days: list[Weekday] = Field(default=list(WEEKDAYS), min_length=1)
    hourly_cap: int | None = Field(default=None, ge=1)
    send_hours_from: date | None = None


class StepLimits(Limits):
    """Limits that differ for one step."""

    id: Name


class WorkflowLimits(Limits):
    """Limits that differ for the steps of one workflow, and for some of them again."""

    id: Name
    steps: list[StepLimits] = Field(default_factory=list)


class FrequencyCap(Definition):
    """At most `messages` messages to one subscriber within `days` days, over all workflows."""

    messages: int = Field(ge=1)
    days: int = Field(ge=1)


class Constraints(Limits):
    """The whole file.

    `late_releases` says what becomes of those who are too late to be let into a flow: `propose` takes another approval,
    `spread` lets them in over the next 24 hours under the approval that stands.
    """

    late_releases: Literal["propose", "spread"] = "propose"
    frequency_cap: FrequencyCap | None = None
    workflows: list[WorkflowLimits] = Field(default_factory=list)

    def mistakes(self, known: Any) -> Iterator[Mistake]:
        """Workflows, and steps of a workflow, that are written twice."""
        yield from repeated_ids(self.workflows, "workflows")
        for number, workflow in enumerate(self.workflows):
            yield from repeated_ids(workflow.steps, "workflows", number, "steps")

    def of_steps(self, steps: pl.DataFrame) -> pl.DataFrame:
        """The limits of every step, as `schedule_sends` reads them.

        Args:
            steps: rows with `workflow_id` and `step_id`.

        Returns:
            One row per step: `quiet_from_hour` and `quiet_until_hour` (null = no quiet hours), `hourly_cap` (null = no
            cap) and `allowed_weekdays` (list of 0-6, Monday = 0).
        """
        rows = []
        for workflow_id, step_id in steps.select("workflow_id", "step_id").iter_rows():
            limits = self._of(workflow_id, step_id)
            quiet_from, quiet_until = limits.quiet_hours or (None, None)
            days = [WEEKDAYS.index(day) for day in limits.allowed_days]
            rows.append((workflow_id, step_id, quiet_from, quiet_until, days, limits.hourly_cap))
        schema: dict[str, pl.DataType | type[pl.DataType]] = {
            "workflow_id": pl.String,
            "step_id": pl.String,
            "quiet_from_hour": pl.Int64,
            "quiet_until_hour": pl.Int64,
            "allowed_weekdays": pl.List(pl.Int64),
            "hourly_cap": pl.Int64,
        }
        return pl.DataFrame(rows, schema=schema, orient="row")

    def following_hours(self, steps: pl.DataFrame) -> pl.DataFrame:
        """The steps whose mail goes out at the hours that driptune writes, as `sent_as_assigned` reads them.

        Args:
            steps: rows of `core.steps`.

        Returns:
            `step_key` and `followed_from`, the first day on which it does.
        """
        places = steps.select("step_key", "workflow_id", "step_id").rows()
        days = [(key, self._of(workflow_id, step_id).send_hours_from) for key, workflow_id, step_id in places]
        schema = {"step_key": pl.Int64, "followed_from": pl.Date}
        return pl.DataFrame(days, schema=schema, orient="row").drop_nulls()

    def _of(self, workflow_id: str, step_id: str) -> Limits:
        """The limits of a step: its own, else those of its workflow, else those of all."""
        limits: dict[str, Any] = {}
        for workflow in self.workflows:
            if workflow.id == workflow_id:
                limits |= workflow.model_dump(exclude_unset=True, exclude={"id", "steps"})
                for step in workflow.steps:
                    if step.id == step_id:
                        limits |= step.model_dump(exclude_unset=True, exclude={"id"})
        return self.model_copy(update=limits)


def load_constraints(folder: Path) -> Constraints:
    """The constraints of a definitions folder.

    Raises:
        DefinitionsError: names every mistake with file, line and field.
    """
    return load_definition(folder / CONSTRAINTS_FILE, Constraints)
