"""Revenue credited to steps, in both views of attribution; `core.credits` says which message earns which credit."""

from datetime import date

import polars as pl

from pipeline.analysis.statistics.intervals import mean_amount_with_interval
from pipeline.common.time import CENTS, over_windows, to_amount, to_date
from pipeline.schemas import performance
from pipeline.schemas.base import conform

METHOD = "one conversion, one credit a view"


def revenue_attribution(
    credit_days: pl.DataFrame, step_days: pl.DataFrame, steps: pl.DataFrame, *, as_of: date, currency: str
) -> pl.DataFrame:
    """`marts.revenue_attribution`, from `reductions.credit_days`, `reductions.step_days` and `core.steps`.

    Returns:
        One row per step, view of attribution and window of days of sending in which the view credits the step: the
        conversions, orders and net revenue (in `currency`) credited to the step's messages, its share of all revenue
        that the view credits in the window, and the revenue per delivered message with its interval.
    """
    names = steps.select("step_key", "workflow_id", "step_id")
    credits = over_windows(credit_days.with_columns(to_date("day")), "day", as_of)
    sends = over_windows(step_days.with_columns(to_date("day")), "day", as_of)
    delivered = sends.group_by("step_key", "window").agg(pl.col("delivered").sum())
    total = pl.col("net_cents").sum().over("view", "window")
    table = (
        credits.group_by("step_key", "view", "window")
        .agg(pl.col("conversions", "orders", "net_cents", "squared_cents").sum())
        .join(delivered, on=["step_key", "window"], how="left")
        .join(names, on="step_key")
        .with_columns(
            pl.col("delivered").fill_null(0),
            to_amount("net_cents").alias("revenue_amount"),
            revenue_share=pl.when(total > 0).then(pl.col("net_cents") / total),
        )
        .with_columns(squared_revenue=pl.col("squared_cents").cast(pl.Float64) / CENTS**2)
        .with_columns(
            *mean_amount_with_interval(
                "revenue_per_recipient_amount",
                total="revenue_amount",
                squares="squared_revenue",
                trials="delivered",
            ),
            currency=pl.lit(currency),
            as_of_day=pl.lit(as_of),
            method=pl.lit(METHOD),
        )
    )
    return conform(table.sort("workflow_id", "step_id", "view", "window"), performance.RevenueAttribution)
