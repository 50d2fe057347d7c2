"""Asset checks of a table: what must hold before anything is published. All of them block what comes after.

They run beside the table's own step; what a single column may hold is pandera's business, before the table is written.
"""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from pipeline.schemas.base import Table, identity, polars_schema

KEY_CHECK = "natural_key_is_unique"
RATE_CHECK = "rates_lie_within_their_bounds"


def check_specs(model: type[Table], asset_key: dg.AssetKey) -> list[dg.AssetCheckSpec]:
    """The checks that apply to the model's table."""
    specs = [dg.AssetCheckSpec(KEY_CHECK, asset=asset_key, blocking=True, description="One row per natural key.")]
    if _rates(model):
        text = "Every rate lies between its low and its high."
        specs.append(dg.AssetCheckSpec(RATE_CHECK, asset=asset_key, blocking=True, description=text))
    return specs


def check_results(model: type[Table], frame: pl.DataFrame) -> Iterator[dg.AssetCheckResult]:
    """The result of every check of `check_specs` on the rows of a table."""
    place = identity(model)
    asset_key = dg.AssetKey([place.schema, place.name])
    yield _result(KEY_CHECK, asset_key, frame.height - frame.unique(place.natural_key).height)
    if rates := _rates(model):
        outside = [(pl.col(rate) < pl.col(f"{rate}_low")) | (pl.col(rate) > pl.col(f"{rate}_high")) for rate in rates]
        yield _result(RATE_CHECK, asset_key, frame.filter(pl.any_horizontal(outside)).height)


def _rates(model: type[Table]) -> list[str]:
    columns = polars_schema(model)
    return [name for name in columns if f"{name}_low" in columns and f"{name}_high" in columns]


def _result(name: str, asset_key: dg.AssetKey, failing_rows: int) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, asset_key=asset_key, passed=failing_rows == 0, metadata={"failing_rows": failing_rows}
    )
