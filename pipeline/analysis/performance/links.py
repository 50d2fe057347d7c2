"""Which links of a step's e-mail people click."""

from datetime import date

import polars as pl

from pipeline.analysis.statistics.intervals import rate_with_interval, share_of
from pipeline.common.time import over_windows, to_date
from pipeline.schemas import performance
from pipeline.schemas.base import conform

METHOD = "Wilson"
UNSUBSCRIBES = "(?i)unsubscribe"
"""Links that unsubscribe. Nobody clicks them out of interest."""


def step_links(
    link_days: pl.DataFrame, step_days: pl.DataFrame, click_details: pl.DataFrame, steps: pl.DataFrame, *, as_of: date
) -> pl.DataFrame:
    """`marts.step_links`, from `reductions.link_days` and `step_days`, `lake.click_details` and `core.steps`.

    Args:
        link_days: clicks by step, link and day of sending.
        step_days: messages by step and day of sending.
        click_details: Mailchimp's listing of the links of each campaign. It holds the links that nobody clicked.
        steps: the steps and their campaigns.
        as_of: tonight.

    Returns:
        One row per step, link and window in which messages of the step were delivered: how often the link was clicked,
        by how many people, their share of all clicks by people in that step, and the share of delivered messages in
        which a person clicked it, with Wilson's 95% interval. A person who clicks two links counts for both.
    """
    keys = ["step_key", "window"]
    delivered = (
        over_windows(step_days.with_columns(to_date("day")), "day", as_of)
        .group_by(keys)
        .agg(pl.col("delivered").sum())
        .filter(pl.col("delivered") > 0)
    )
    clicked = (
        over_windows(link_days.with_columns(to_date("day")), "day", as_of)
        .group_by(*keys, "url")
        .agg(pl.col("clicks", "unique_clicks", "unique_human_clicks").sum())
    )
    listed = steps.select("step_key", "campaign_id").join(
        click_details.filter(~pl.col("url").str.contains(UNSUBSCRIBES)), on="campaign_id"
    )
    links = pl.concat([link_days.select("step_key", "url"), listed.select("step_key", "url")]).unique()
    table = (
        delivered.join(links, on="step_key")
        .join(clicked, on=[*keys, "url"], how="left")
        .join(steps.select("step_key", "workflow_id", "step_id"), on="step_key")
        .with_columns(pl.col("clicks", "unique_clicks", "unique_human_clicks").fill_null(0))
        .with_columns(
            *rate_with_interval("human_click_rate", "unique_human_clicks", "delivered"),
            click_share=share_of(pl.col("unique_human_clicks"), pl.col("unique_human_clicks").sum().over(keys)),
            as_of_day=pl.lit(as_of),
            method=pl.lit(METHOD),
        )
    )
    return conform(table.sort("workflow_id", "step_id", "window", "url"), performance.StepLinks)
