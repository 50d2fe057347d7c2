"""The published tables as one workflow sees them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial

import polars as pl

from pipeline.published.reader import Tables


@dataclass(frozen=True)
class Flow:
    """A workflow with its rows of any published table that has a `workflow_id`."""

    workflow_id: str
    name: str
    rows: Callable[[str], pl.DataFrame]

    @cached_property
    def _step_names(self) -> Mapping[str, str | None]:
        return dict(self.rows("steps").select("step_id", "name").iter_rows())

    def step_name(self, step_id: str) -> str:
        """What people call the step."""
        return str(self._step_names.get(step_id) or step_id)


def flows(tables: Tables) -> Iterator[Flow]:
    """Every workflow but campaigns, by name; each table is taken apart once for all of them."""
    parts: dict[str, dict[tuple[object, ...], pl.DataFrame]] = {}

    def rows(workflow_id: str, table: str) -> pl.DataFrame:
        if table not in parts:
            parts[table] = tables[table].partition_by("workflow_id", as_dict=True)
        found = parts[table].get((workflow_id,))
        return tables[table].clear() if found is None else found

    kept = tables["workflows"].filter(pl.col("kind") != "campaign").sort("name", "workflow_id")
    for workflow_id, name in kept.select("workflow_id", "name").iter_rows():
        yield Flow(workflow_id, name or workflow_id, partial(rows, workflow_id))
