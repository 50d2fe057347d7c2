"""The account's rates beside those of its industry, as Mailchimp tells them in each report."""

from datetime import date

import polars as pl

from pipeline.analysis.statistics.intervals import rate_with_interval
from pipeline.common.time import over_windows
from pipeline.schemas import performance
from pipeline.schemas.base import conform, empty

WINDOW = "90d"
METHOD = "Wilson; the industry's rate is Mailchimp's own"
COMPARED = {
    "open_rate": ("unique_opens", "delivered"),
    "click_rate": ("unique_clicks", "delivered"),
    "bounce_rate": ("bounces", "sent"),
    "unsubscribe_rate": ("unsubscribes", "delivered"),
    "complaint_rate": ("complaints", "delivered"),
}
"""The rates that Mailchimp tells of an industry, and what we count for the same of the account."""


def industry(step_metrics_daily: pl.DataFrame, reports: pl.DataFrame, *, as_of: date) -> pl.DataFrame:
    """`marts.industry`, from `marts.step_metrics_daily` and `lake.reports`.

    Args:
        step_metrics_daily: counts by step and day, campaigns included.
        reports: the latest report of each campaign. That sent last tells the industry's rates.
        as_of: tonight.

    Returns:
        One row per rate that the report tells as a share, 0-1: the account's over 90 days with Wilson's 95% interval,
        and whether it is surely above or below the industry's. Opens and clicks of machines are counted, because
        Mailchimp counts them for the industry. The industry's rate is an average of unknown width.
    """
    told = reports.filter(pl.col("industry_type").is_not_null()).sort("sent_us", "campaign_id").tail(1)
    if told.is_empty():
        return empty(performance.Industry)
    ours = over_windows(step_metrics_daily, "day", as_of).filter(pl.col("window") == WINDOW)
    counts = ours.with_columns(bounces=pl.col("hard_bounces") + pl.col("soft_bounces"))
    rows = [
        {
            "metric": metric,
            "industry_type": told.item(0, "industry_type"),
            "industry_rate": told.item(0, f"industry_{metric}"),
            "numerator": int(counts[numerator].sum()),
            "denominator": int(counts[denominator].sum()),
        }
        for metric, (numerator, denominator) in COMPARED.items()
    ]
    known = pl.DataFrame(rows, schema_overrides={"industry_rate": pl.Float64}).filter(
        pl.col("industry_rate").is_between(0, 1)
    )
    table = known.with_columns(
        *rate_with_interval("account_rate", "numerator", "denominator"),
        window=pl.lit(WINDOW),
        as_of_day=pl.lit(as_of),
        method=pl.lit(METHOD),
    ).with_columns(
        comparison=pl.when(pl.col("account_rate_low") > pl.col("industry_rate"))
        .then(pl.lit("above"))
        .when(pl.col("account_rate_high") < pl.col("industry_rate"))
        .then(pl.lit("below"))
        .otherwise(pl.lit("no clear difference"))
    )
    return conform(table, performance.Industry)
