"""Whether counts of single messages agree with the totals that Mailchimp reports, and the reason where they do not."""

from datetime import date

import polars as pl

from pipeline.analysis.performance.announced import AFTER_TONIGHT
from pipeline.common.time import day_number
from pipeline.schemas import performance
from pipeline.schemas.base import conform

# Mailchimp returns at most this many opens, and clicks, per member and campaign.
ACTIVITY_CAP = 1000
# Mailchimp rounds the rates that it reports.
RATE_TOLERANCE = 1e-4
# Where members were deleted, counts are slightly below the report. A larger gap needs another explanation.
DELETED_SHARE_LIMIT = 0.1
COUNTED = ("sent", "hard_bounces", "soft_bounces", "unsubscribes", "complaints", "unique_opens", "unique_clicks")
TOTALS = ("opens", "clicks")
RE_ENTRY, NO_MESSAGES, DELETED_MEMBERS = "re-entry", "no messages", "deleted members"
OPEN_METRICS = ("opens", "unique_opens")
CLICK_METRICS = ("clicks", "unique_clicks", "click_rate")


def reconciliation(
    step_days: pl.DataFrame,
    steps: pl.DataFrame,
    reports: pl.DataFrame,
    messages: pl.LazyFrame,
    engagements: pl.LazyFrame,
    collections: pl.DataFrame,
    later: pl.DataFrame,
    reentered: pl.Series,
    *,
    as_of: date,
) -> pl.DataFrame:
    """`marts.reconciliation`, from `reductions.step_days`, `core.steps` and the latest `lake.reports`.

    Args:
        messages: `core.messages`, as evidence for reasons only.
        engagements: `core.engagements`, as evidence for reasons only.
        collections: members, recipients and orders compared with announced totals, as `collections` gives them.
        later: what the reports may hold that is not held here yet, as `not_held_yet` gives it.
        reentered: ids of the campaigns that the same people may get again (String).
        as_of: tonight.

    Returns:
        The rows of `collections`, and one row per metric and campaign with a report or a message. `difference` is our
        count minus the report's. The `reason` of the latter is the first that the evidence bears out:
        - `equal`.
        - `no report`.
        - `no messages`: none of the campaign was read.
        - `after tonight`: the report is of the moment at which it was read, and so many rows were read that belong to
          later nights.
        - `feeds not read yet: N of M people`: nobody knows yet when these people were sent the message.
        - `capped at 1,000`: somebody reached the most opens or clicks that Mailchimp returns.
        - `bounced recipients`: Mailchimp counts their opens and clicks, while we count those of delivered messages.
        - `re-entry`: the report counts each of the messages that somebody got by entering a journey again.
        - `deleted members`: the report still counts them, but their rows are gone.
        - `report newer than activity` and `activity newer than report`: by the latest open or click.
        - `unexplained`.
        `hard_bounces` include malformed addresses; `unique_clicks` is compared with Mailchimp's
        `unique_subscriber_clicks`.
    """
    compared = _counted(step_days, steps, as_of).join(
        _reported(reports, as_of), on=["campaign_id", "metric"], how="full", coalesce=True
    )
    evidence = _evidence(messages, engagements, as_of).join(
        reports.select("campaign_id", "last_open_us", "last_click_us"), on="campaign_id", how="full", coalesce=True
    )
    missing = -pl.col("difference").filter(pl.col("metric") == "sent").sum() - _waiting().first()
    of_reports = (
        compared.join(evidence, on="campaign_id", how="left")
        .join(later.rename(lambda name: name if name == "campaign_id" else f"later_{name}"), "campaign_id", how="left")
        .with_columns(difference=pl.col("counted").fill_null(0) - pl.col("reported"))
        .with_columns(emailed=pl.col("reported").filter(pl.col("metric") == "sent").sum().over("campaign_id"))
        .with_columns(missing=missing.over("campaign_id"))
        .with_columns(repeated=pl.when(pl.col("campaign_id").is_in(reentered.implode())).then("missing"))
        .select("campaign_id", "metric", "counted", "reported", _reason().alias("reason"))
    )
    campaigns = steps.filter(pl.col("campaign_id").is_not_null()).select("campaign_id", "workflow_id", "step_id")
    table = (
        pl.concat([of_reports, collections])
        .join(campaigns.unique("campaign_id", keep="first", maintain_order=True), on="campaign_id", how="left")
        .with_columns(difference=pl.col("counted").fill_null(0) - pl.col("reported"), as_of_day=pl.lit(as_of))
    )
    return conform(table.sort("campaign_id", "metric"), performance.Reconciliation)


def _counted(step_days: pl.DataFrame, steps: pl.DataFrame, as_of: date) -> pl.DataFrame:
    sums = (
        step_days.filter(pl.col("day") <= day_number(as_of))
        .join(steps.select("step_key", "campaign_id"), on="step_key")
        .filter(pl.col("campaign_id").is_not_null())
        .group_by("campaign_id")
        .agg(pl.col(*COUNTED, *TOTALS, "delivered").sum())
        .with_columns(
            click_rate=pl.when(pl.col("delivered") > 0)
            .then(pl.col("unique_clicks") / pl.col("delivered"))
            .otherwise(0.0)
        )
    )
    return _long(sums, "counted")


def _reported(reports: pl.DataFrame, as_of: date) -> pl.DataFrame:
    totals = reports.filter(pl.col("as_of_day") <= day_number(as_of)).select(
        "campaign_id",
        sent="emails_sent",
        hard_bounces=pl.col("hard_bounces") + pl.col("syntax_errors"),
        soft_bounces="soft_bounces",
        unsubscribes="unsubscribed",
        complaints="abuse_reports",
        unique_opens="unique_opens",
        unique_clicks="unique_subscriber_clicks",
        opens="opens_total",
        clicks="clicks_total",
        click_rate="click_rate",
    )
    return _long(totals, "reported")


def _long(wide: pl.DataFrame, name: str) -> pl.DataFrame:
    metrics = [*COUNTED, *TOTALS, "click_rate"]
    return wide.with_columns(pl.col(metrics).cast(pl.Float64)).unpivot(
        metrics, index="campaign_id", variable_name="metric", value_name=name
    )


def _evidence(messages: pl.LazyFrame, engagements: pl.LazyFrame, as_of: date) -> pl.DataFrame:
    tonight = day_number(as_of)
    is_bounced = pl.col("bounce_kind").is_not_null()
    of_messages = (
        messages.filter(pl.col("day") <= tonight)
        .group_by("campaign_id")
        .agg(
            bounced_openers=(is_bounced & (pl.col("opens") > 0)).sum(),
            bounced_clickers=(is_bounced & (pl.col("clicks") > 0)).sum(),
            capped_opens=(pl.col("opens") >= ACTIVITY_CAP).sum(),
            capped_clicks=(pl.col("clicks") >= ACTIVITY_CAP).sum(),
        )
    )
    latest = (
        engagements.filter(pl.col("day") <= tonight)
        .group_by("campaign_id")
        .agg(
            our_last_open_us=pl.col("occurred_us").filter(pl.col("action") == "open").max(),
            our_last_click_us=pl.col("occurred_us").filter(pl.col("action") == "click").max(),
        )
    )
    return of_messages.join(latest, on="campaign_id", how="left").collect()


def _reason() -> pl.Expr:
    is_open, is_click = pl.col("metric").is_in(OPEN_METRICS), pl.col("metric").is_in(CLICK_METRICS)
    is_rate, is_total = pl.col("metric") == "click_rate", pl.col("metric").is_in(TOTALS)
    tolerance = pl.when(is_rate).then(RATE_TOLERANCE).otherwise(0.0)
    short, lacking = pl.col("difference") < 0, -pl.col("difference")
    later, unread = _later(), pl.col("later_unread").fill_null(0)
    bounced = pl.when(is_open).then("bounced_openers").when(is_click).then("bounced_clickers").otherwise(0).fill_null(0)
    capped = pl.when(is_open).then("capped_opens").otherwise("capped_clicks").fill_null(0) > 0
    reported_last = pl.when(is_open).then("last_open_us").when(is_click).then("last_click_us")
    counted_last = pl.when(is_open).then("our_last_open_us").when(is_click).then("our_last_click_us").fill_null(0)
    has_deleted = (pl.col("missing") > 0) & (pl.col("missing") <= DELETED_SHARE_LIMIT * pl.col("emailed"))
    repeated, is_person = pl.col("repeated").fill_null(0), pl.col("metric").is_in(["unique_opens", "unique_clicks"])
    return (
        pl.when(pl.col("reported").is_null())
        .then(pl.lit("no report"))
        .when(pl.col("difference").abs() <= tolerance)
        .then(pl.lit("equal"))
        .when(pl.col("counted").is_null())
        .then(pl.lit(NO_MESSAGES))
        .when((later > 0) & (is_rate | (short & (lacking <= later))))
        .then(pl.lit(AFTER_TONIGHT))
        .when((unread > 0) & (is_rate | (short & (is_total | (lacking <= unread + later)))))
        .then(pl.format("feeds not read yet: {} of {} people", unread, pl.col("later_people")))
        .when(is_total & short & capped)
        .then(pl.lit("capped at 1,000"))
        .when(short & ~is_total & (bounced > 0) & (is_rate | (lacking <= bounced + later)))
        .then(pl.lit("bounced recipients"))
        .when((repeated > 0) & (is_rate | (short & ~is_person & (is_total | (lacking <= repeated + later)))))
        .then(pl.lit(RE_ENTRY))
        .when(has_deleted & (is_rate | (short & (is_total | (lacking <= pl.col("missing") + bounced + later)))))
        .then(pl.lit(DELETED_MEMBERS))
        .when(short & (reported_last > counted_last))
        .then(pl.lit("report newer than activity"))
        .when(~short & (counted_last > reported_last.fill_null(0)))
        .then(pl.lit("activity newer than report"))
        .otherwise(pl.lit("unexplained"))
    )


def _waiting() -> pl.Expr:
    """How many messages of a campaign later nights bring."""
    return pl.sum_horizontal("later_sent", "later_unread")


def _later() -> pl.Expr:
    """How many rows of later nights a count may hold. A rate moves with any row of its counts."""
    of_metric: dict[str, tuple[str, ...]] = {metric: (metric,) for metric in (*COUNTED, *TOTALS)}
    of_metric |= {"unique_opens": ("opens",), "unique_clicks": ("clicks",)}
    of_metric |= {"click_rate": ("clicks", "sent", "hard_bounces", "soft_bounces")}
    found = pl.lit(0, dtype=pl.Int64)
    for metric, counts in of_metric.items():
        rows = pl.sum_horizontal(f"later_{count}" for count in counts)
        found = pl.when(pl.col("metric") == metric).then(rows).otherwise(found)
    return found
