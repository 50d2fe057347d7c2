"""Revenue credited to steps, in both views of attribution. Which message earns a credit is decided in core SQL."""

from datetime import date

import polars as pl

from pipeline.common.time import over_windows, to_amount, to_date
from pipeline.schemas import performance
from pipeline.schemas.base import conform

METHOD = "one conversion, one credit a view"


def revenue_attribution(
    credit_days: pl.DataFrame, step_days: pl.DataFrame, steps: pl.DataFrame, *, as_of: date, currency: str
) -> pl.DataFrame:
    """`marts.revenue_attribution`.

    Args:
        credit_days: `reductions.credit_days`.
        step_days: `reductions.step_days`.
        steps: `core.steps`.
        as_of: tonight.
        currency: the workspace's currency.

    Returns:
        One row per step, view and window of days of sending in which the view credits the step.
    """
    names = steps.select("step_key", "workflow_id", "step_id")
    credits = over_windows(credit_days.with_columns(to_date("day")), "day", as_of)
    sends = over_windows(step_days.with_columns(to_date("day")), "day", as_of)
    delivered = sends.group_by("step_key", "window").agg(pl.col("delivered").sum())
    total = pl.col("net_cents").sum().over("view", "window")
    table = (
        credits.group_by("step_key", "view", "window")
        .agg(pl.col("conversions", "orders", "net_cents").sum())
        .join(delivered, on=["step_key", "window"], how="left")
        .join(names, on="step_key")
        .with_columns(
            pl.col("delivered").fill_null(0),
            to_amount("net_cents").alias("revenue_amount"),
            revenue_share=pl.when(total > 0).then(pl.col("net_cents") / total),
        )
        .with_columns(
            revenue_per_recipient_amount=pl.when(pl.col("delivered") > 0).then(
                pl.col("revenue_amount").cast(pl.Float64) / pl.col("delivered")
            ),
            currency=pl.lit(currency),
            as_of_day=pl.lit(as_of),
            method=pl.lit(METHOD),
        )
    )
    return conform(table.sort("workflow_id", "step_id", "view", "window"), performance.RevenueAttribution)
