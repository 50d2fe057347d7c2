"""Rows of any table with only the columns that matter to a test spelled out; the rest is filled in."""

from typing import Any

import polars as pl

from pipeline.schemas.base import Table, conform, polars_schema
from pipeline.schemas.core import CoreSteps, CoreWorkflows

BLANKS: dict[Any, Any] = {pl.Int64: 0, pl.Float64: 0.0, pl.String: "", pl.Boolean: False}


def rows(model: type[Table], *known: dict[str, Any], **more: Any) -> pl.DataFrame:
    """A valid frame of `model`: each dict is a row, keyword values go to all; nullable columns are null by default."""
    nullable = {name for name, spec in model.to_schema().columns.items() if spec.nullable}
    schema = polars_schema(model)
    blank = {name: None if name in nullable else BLANKS[dtype.base_type()] for name, dtype in schema.items()}
    return conform(pl.DataFrame([{**blank, **more, **row} for row in known], schema=schema), model)


def linear_flow(*step_ids: str, goal: str | None = "purchase", **more: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`core.workflows` and `core.steps` of one active flow 'flow' (key 1); step keys count from 1."""
    flow = {"workflow_key": 1, "workflow_id": "flow", "kind": "flow", "status": "active", "goal_event_type": goal}
    steps = [
        {"step_key": number, "workflow_key": 1, "workflow_id": "flow", "step_id": step_id, "position": number}
        for number, step_id in enumerate(step_ids, 1)
    ]
    return rows(CoreWorkflows, flow, **more), rows(CoreSteps, *steps, kind="email", status="active")
