"""Rows of any table with only the columns that matter to a test spelled out; the rest is filled in."""

from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl

from pipeline.schemas.base import Table, conform, polars_schema
from pipeline.schemas.core import CoreSteps, CoreWorkflows

BLANKS: dict[Any, Any] = {
    pl.Int64: 0,
    pl.Float64: 0.0,
    pl.Decimal: Decimal(0),
    pl.String: "",
    pl.Boolean: False,
    pl.Date: date(1970, 1, 1),
}


def rows(model: type[Table], *known: dict[str, Any], **more: Any) -> pl.DataFrame:
    """A valid frame of `model`: each dict is a row, keyword values go to all rows.

    A column that is not given is null if it may be, the first word of its closed set if it has one, else blank.
    """
    schema = polars_schema(model)
    blank = {name: _blank(spec, schema[name]) for name, spec in model.to_schema().columns.items()}
    return conform(pl.DataFrame([{**blank, **more, **row} for row in known], schema=schema), model)


def _blank(spec: Any, dtype: pl.DataType) -> Any:
    if spec.nullable:
        return None
    words = [check.statistics["allowed_values"] for check in spec.checks if check.name == "isin"]
    return words[0][0] if words else BLANKS[dtype.base_type()]


def linear_flow(*step_ids: str, goal: str | None = "purchase", **more: Any) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`core.workflows` and `core.steps` of one active flow 'flow' (key 1); step keys count from 1."""
    flow = {"workflow_key": 1, "workflow_id": "flow", "kind": "flow", "status": "active", "goal_event_type": goal}
    steps = [
        {"step_key": number, "workflow_key": 1, "workflow_id": "flow", "step_id": step_id, "position": number}
        for number, step_id in enumerate(step_ids, 1)
    ]
    return rows(CoreWorkflows, flow, **more), rows(CoreSteps, *steps, kind="email", status="active")
