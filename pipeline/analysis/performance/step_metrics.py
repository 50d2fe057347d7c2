"""What was sent and what came of it: counts by step and day, and rates with intervals by step, workflow and window."""

from datetime import date, timedelta

import polars as pl

from pipeline.analysis.statistics.intervals import mean_amount_with_interval, rate_with_interval, share_of
from pipeline.common.rates import STEP_RATES
from pipeline.common.time import AMOUNT, CENTS, WINDOW_DAYS, over_windows, to_amount, to_date
from pipeline.schemas import performance
from pipeline.schemas.base import conform, polars_schema
from pipeline.schemas.reductions import StepDays

MESSAGE_COUNTS = [name for name in polars_schema(StepDays) if name not in ("step_key", "workflow_key", "day")]
AMOUNTS = ("revenue_amount", "mailchimp_compat_revenue_amount")
COUNTS = ("entries", *MESSAGE_COUNTS, "conversions", "mailchimp_compat_conversions")
SQUARES = "squared_revenue"


def step_metrics_daily(
    step_days: pl.DataFrame,
    entry_days: pl.DataFrame,
    credit_days: pl.DataFrame,
    steps: pl.DataFrame,
    workflows: pl.DataFrame,
    *,
    as_of: date,
    maturity_days: int,
    currency: str,
) -> pl.DataFrame:
    """`marts.step_metrics_daily`, from the days of steps, entries and credits in `reductions` and the tables of `core`.

    Args:
        maturity_days: days until a message's rates stop moving.
        currency: the workspace's currency.

    Returns:
        One row per step and day up to tonight on which something happened. `unique_human_opens` is null where a message
        of the day was sent before Mailchimp told opens by machines apart.
    """
    keys = ["step_key", "day"]
    frames = [
        step_days.select(*keys, *MESSAGE_COUNTS),
        entry_days.select(*keys, "entries"),
        _credits(credit_days, "report", ""),
        _credits(credit_days, "mailchimp_compat", "mailchimp_compat_"),
    ]
    facts = pl.concat(frames, how="diagonal").group_by(keys).agg(pl.all().sum())
    names = steps.select("step_key", "workflow_key", "workflow_id", "step_id").join(
        workflows.select("workflow_key", "definition_version"), on="workflow_key"
    )
    named = (
        facts.join(names, on="step_key")
        .with_columns(to_date("day"), to_amount("revenue_cents").alias("revenue_amount"))
        .with_columns(
            to_amount("mailchimp_compat_revenue_cents").alias("mailchimp_compat_revenue_amount"),
            (pl.col("squared_cents").cast(pl.Float64) / CENTS**2).alias(SQUARES),
        )
        .filter(pl.col("day") <= as_of)
        .with_columns(
            _known_human_opens(),
            currency=pl.lit(currency),
            is_mature=pl.col("day") <= as_of - timedelta(days=maturity_days),
        )
    )
    return conform(named.sort("workflow_id", "step_id", "day"), performance.StepMetricsDaily)


def step_metrics(step_metrics_daily: pl.DataFrame, *, as_of: date) -> pl.DataFrame:
    """`marts.step_metrics`, from `marts.step_metrics_daily`: one row per step with a message or entry, and window."""
    windowed = _windowed(step_metrics_daily, ["workflow_id", "step_id"], as_of)
    return conform(windowed.sort("workflow_id", "step_id", "window"), performance.StepMetrics)


def workflow_metrics(
    step_metrics_daily: pl.DataFrame, steps: pl.DataFrame, incremental: pl.DataFrame, *, as_of: date
) -> pl.DataFrame:
    """`marts.workflow_metrics`: one row per workflow with a message or entry, and window.

    Args:
        step_metrics_daily: the table of that name.
        steps: `core.steps`. Entrants enter the first step of a workflow.
        incremental: incremental revenue with its interval by `workflow_id` and `window`, where a hold-out tells it.
        as_of: tonight.
    """
    first = steps.filter(pl.col("position") == pl.col("position").min().over("workflow_id")).select(
        "workflow_id", "step_id", is_first=True
    )
    daily = step_metrics_daily.join(first, on=["workflow_id", "step_id"], how="left").with_columns(
        entrants=pl.when(pl.col("is_first")).then("entries").otherwise(0)
    )
    windowed = _windowed(daily, ["workflow_id"], as_of, "entrants").join(
        incremental, on=["workflow_id", "window"], how="left"
    )
    return conform(windowed.sort("workflow_id", "window"), performance.WorkflowMetrics)


def _credits(credit_days: pl.DataFrame, view: str, prefix: str) -> pl.DataFrame:
    return credit_days.filter(pl.col("view") == view).select(
        "step_key",
        "day",
        pl.col("conversions").alias(f"{prefix}conversions"),
        pl.col("net_cents").alias(f"{prefix}revenue_cents"),
        pl.col("squared_cents").alias(f"{prefix}squared_cents"),
    )


def _known_human_opens() -> pl.Expr:
    return pl.when(pl.col("unmarked_sent") == 0).then("unique_human_opens").alias("unique_human_opens")


def _windowed(daily: pl.DataFrame, keys: list[str], as_of: date, *more: str) -> pl.DataFrame:
    counts = [*COUNTS, *more]
    sums = (
        over_windows(daily, "day", as_of)
        .group_by(*keys, "window")
        .agg(
            pl.col(*counts).sum(),
            pl.col(*AMOUNTS, SQUARES).sum(),
            pl.col("sent").filter(pl.col("is_mature")).sum().alias("mature_sent"),
        )
    )
    first_day = daily.get_column("day").min() or as_of
    starts = {window: as_of - timedelta(days=days - 1) if days else first_day for window, days in WINDOW_DAYS.items()}
    windows = pl.DataFrame({"window": list(starts), "first_day": list(starts.values())})
    grid = daily.group_by(keys).agg(pl.col("definition_version", "currency").first()).join(windows, how="cross")
    return (
        grid.join(sums, on=[*keys, "window"], how="left")
        .with_columns(pl.col(*counts, "mature_sent", SQUARES).fill_null(0), pl.col(*AMOUNTS).cast(AMOUNT).fill_null(0))
        .with_columns(_known_human_opens())
        .with_columns(*_rates(), as_of_day=pl.lit(as_of), is_mature=pl.col("mature_sent") == pl.col("sent"))
    )


def _rates() -> list[pl.Expr]:
    """Every rate with its interval, and bounds where some opens cannot be told to be a person's or a machine's.

    The lower bound of the click-to-open rate needs a denominator that is certainly large enough. People who clicked
    without opening are at most those counted as engaged but not as human openers; so all openers and these together
    are at least as many as everybody who opened or clicked.
    """
    all_engaged = (
        pl.col("unique_opens") + pl.col("unique_human_engagements") - pl.col("unique_human_opens").fill_null(0)
    )
    machines_known = pl.col("unmarked_sent") == 0
    human_clicks = pl.col("unique_human_clicks")
    return [
        *(column for rate in STEP_RATES for column in rate_with_interval(*rate[:3])),
        share_of(pl.col("unique_human_opens"), pl.col("delivered")).alias("human_open_rate_low"),
        share_of(pl.col("unique_opens"), pl.col("delivered")).alias("human_open_rate_high"),
        share_of(human_clicks, all_engaged).alias("click_to_open_rate_low"),
        pl.when(machines_known)
        .then(share_of(human_clicks, pl.col("unique_human_engagements")))
        .alias("click_to_open_rate_high"),
        *mean_amount_with_interval(
            "revenue_per_recipient_amount",
            total="revenue_amount",
            squares=SQUARES,
            trials="delivered",
        ),
    ]
