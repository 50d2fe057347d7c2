"""Asset checks on the marts: what must hold before anything is published. All of them block publishing."""

from collections.abc import Iterator

import dagster as dg
import polars as pl

from pipeline.assets.describing import asset_key
from pipeline.resources.warehouse import Warehouse, read_table
from pipeline.schemas.base import Table, identity, polars_schema, tables_of

KEY_CHECK = "natural_key_is_unique"
RATE_CHECK = "rates_lie_within_their_bounds"


def built_marts() -> list[type[Table]]:
    """The marts that assets of this project make."""
    from pipeline.assets.performance import performance_assets

    built = {key for asset in performance_assets for key in asset.keys}
    return [model for model in tables_of("marts") if asset_key(model) in built]


def _rates(model: type[Table]) -> list[str]:
    columns = polars_schema(model)
    return [name for name in columns if f"{name}_low" in columns and f"{name}_high" in columns]


def _specs() -> list[dg.AssetCheckSpec]:
    marts = built_marts()
    keys = [
        dg.AssetCheckSpec(KEY_CHECK, asset=asset_key(model), blocking=True, description="One row per natural key.")
        for model in marts
        if identity(model).natural_key
    ]
    rates = [
        dg.AssetCheckSpec(
            RATE_CHECK, asset=asset_key(model), blocking=True, description="Every rate lies between its low and high."
        )
        for model in marts
        if _rates(model)
    ]
    return keys + rates


def mart_checks() -> dg.AssetChecksDefinition:
    """One step that evaluates every check on every mart."""

    @dg.multi_asset_check(specs=_specs(), name="mart_checks")
    def check(context: dg.AssetCheckExecutionContext, warehouse: Warehouse) -> Iterator[dg.AssetCheckResult]:
        selected = context.selected_asset_check_keys
        for model in built_marts():
            frame = read_table(warehouse.connection, model)
            for name, failing in (
                (KEY_CHECK, _repeated(frame, identity(model).natural_key)),
                (RATE_CHECK, _outside(frame, _rates(model))),
            ):
                if dg.AssetCheckKey(asset_key(model), name) in selected:
                    yield dg.AssetCheckResult(
                        passed=failing == 0,
                        asset_key=asset_key(model),
                        check_name=name,
                        metadata={"rows": frame.height, "failing_rows": failing},
                    )

    return check


def _repeated(frame: pl.DataFrame, natural_key: tuple[str, ...]) -> int:
    return frame.height - frame.unique(natural_key).height if natural_key else 0


def _outside(frame: pl.DataFrame, rates: list[str]) -> int:
    outside = [(pl.col(rate) < pl.col(f"{rate}_low")) | (pl.col(rate) > pl.col(f"{rate}_high")) for rate in rates]
    return frame.filter(pl.any_horizontal(outside)).height if outside else 0
