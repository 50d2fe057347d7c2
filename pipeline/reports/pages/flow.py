"""The published tables as one workflow sees them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cache, cached_property, partial
from typing import Any

import polars as pl

from pipeline.published.reader import Tables
from pipeline.reports.pages.connected import Connected

IS_CAMPAIGN = pl.col("kind") == "campaign"
"""Whether a row of `workflows` is mail that was sent once, and no flow."""


@dataclass(frozen=True)
class Flow:
    """A workflow, and its rows of any published table that has a `workflow_id`."""

    workflow_id: str
    name: str
    rows: Callable[[str], pl.DataFrame]
    connected: Connected
    tonight: date

    @cached_property
    def _step_names(self) -> Mapping[str, str | None]:
        return dict(self.rows("steps").select("step_id", "name").iter_rows())

    def step_name(self, step_id: str) -> str:
        """The name that people gave the step, or its id."""
        return str(self._step_names.get(step_id) or step_id)

    def place(self, workflow_id: str | None, step_id: str | None = None, *, is_whole: bool = True) -> str:
        """A step by its name alone, because everything here is of this workflow; without a step the workflow."""
        return self.step_name(step_id) if step_id else self.name

    def transition(self, row: Mapping[str, Any]) -> str:
        """The names of the two steps that a row leads from and to."""
        return f"{self.step_name(row['from_step_id'])} → {self.step_name(row['to_step_id'])}"


@dataclass(frozen=True)
class Names:
    """What people call the workflows and steps of the account."""

    workflows: Mapping[str, str | None]
    steps: Mapping[tuple[str, str], str | None]

    @classmethod
    def of(cls, tables: Tables) -> "Names":
        """The names in the published tables."""
        steps = tables["steps"].select("workflow_id", "step_id", "name").rows()
        return cls(
            dict(tables["workflows"].select("workflow_id", "name").iter_rows()),
            {(workflow, step): name for workflow, step, name in steps},
        )

    def place(self, workflow_id: str | None, step_id: str | None = None, *, is_whole: bool = True) -> str:
        """A workflow, or a step of one, by name; without a workflow the account.

        Args:
            workflow_id: the workflow.
            step_id: the step.
            is_whole: whether the name of a step begins with that of its workflow.
        """
        if workflow_id is None:
            return "The whole account"
        workflow = self.workflows.get(workflow_id) or workflow_id
        step = step_id and (self.steps.get((workflow_id, step_id)) or step_id)
        return f"{workflow}, {step}" if step and is_whole else step or workflow


def names_of_tests(plans: pl.DataFrame) -> dict[str, str]:
    """What people call each test, by its id: its name, or the id where it has none.

    Args:
        plans: rows of `experiments`.
    """
    return dict(plans.select("experiment_id", pl.coalesce("name", "experiment_id")).iter_rows())


def as_of(tables: Tables) -> date:
    """The night of the published tables."""
    return date.fromisoformat(str(tables["manifest"].item(0, "as_of")))


def flows(tables: Tables) -> Iterator[Flow]:
    """Every workflow that is no campaign, by name. Each table is divided once, for all of them."""

    @cache
    def parts(table: str) -> dict[tuple[Any, ...], pl.DataFrame]:
        return tables[table].partition_by("workflow_id", as_dict=True)

    def rows(workflow_id: str, table: str) -> pl.DataFrame:
        return parts(table).get((workflow_id,), tables[table].clear())

    connected, tonight = Connected.of(tables), as_of(tables)
    kept = tables["workflows"].filter(~IS_CAMPAIGN).sort("name", "workflow_id")
    for workflow_id, name in kept.select("workflow_id", "name").iter_rows():
        yield Flow(workflow_id, name or workflow_id, partial(rows, workflow_id), connected, tonight)
