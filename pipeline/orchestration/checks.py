"""Asset checks of the marts: what must hold of a whole table before anything is published. All of them are blocking.

Pandera checks the columns and their values before a table is written. Asset checks compare rows and columns with each
other. They run in the step of their table, after it was written, and stop what comes after that step.
"""

from collections.abc import Iterator

import dagster as dg
import polars as pl
from dagster import _check as dagster_check

from pipeline.schemas.base import Table, identity, polars_schema

KEY_CHECK = "natural_key_is_unique"
RATE_CHECK = "rates_lie_within_their_bounds"


def check_specs(model: type[Table], asset_key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks that apply to the model's table. Only marts have any."""
    if identity(model).schema != "marts":
        return []
    texts = {KEY_CHECK: "One row per natural key."}
    if _rates(model):
        texts[RATE_CHECK] = "Every rate lies between its low and its high."
    return [dg.AssetCheckSpec(name, asset=asset_key, blocking=True, description=text) for name, text in texts.items()]


def check_results(model: type[Table], asset_key: dg.AssetKey, frame: pl.LazyFrame) -> Iterator[dg.AssetCheckResult]:
    """The result of every check of `check_specs` on the rows of a table."""
    for check in check_specs(model, asset_key):
        failing = _repeated(model, frame) if check.name == KEY_CHECK else _out_of_bounds(model, frame)
        metadata = {"failing_rows": failing}
        yield _Result(check_name=check.name, asset_key=asset_key, passed=not failing, metadata=metadata)


def _repeated(model: type[Table], frame: pl.LazyFrame) -> int:
    keys = frame.select(identity(model).natural_key).collect()
    return keys.height - keys.unique().height


def _out_of_bounds(model: type[Table], frame: pl.LazyFrame) -> int:
    outside = [
        (pl.col(rate) < pl.col(f"{rate}_low")) | (pl.col(rate) > pl.col(f"{rate}_high")) for rate in _rates(model)
    ]
    return int(frame.select(pl.any_horizontal(outside).sum()).collect().item())


def _rates(model: type[Table]) -> list[str]:
    columns = polars_schema(model)
    return [name for name in columns if f"{name}_low" in columns and f"{name}_high" in columns]


class _Result(dg.AssetCheckResult):
    """A result that Dagster records as it is.

    For each result Dagster looks twice for what the mart was in the partition of the run. Marts have no partitions, so
    it never finds anything.
    """

    def to_asset_check_evaluation(self, step_context: object) -> dg.AssetCheckEvaluation:
        """What Dagster records."""
        return dg.AssetCheckEvaluation(
            asset_key=dagster_check.not_none(self.asset_key),
            check_name=dagster_check.not_none(self.check_name),
            passed=self.passed,
            metadata=self.metadata,
            blocking=True,
        )
