"""The reductions in Polars."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import polars as pl

from tests.acceptance.bench.peers.engine import Computations, Engine
from tests.acceptance.bench.peers.facts import parquet

DAY_US = 86_400_000_000
WEEK_US = 7 * DAY_US


def _step_days(facts: Path) -> pl.LazyFrame:
    is_delivered = pl.col("bounce_kind").is_null()
    return (
        _scan(facts, "messages")
        .group_by("workflow_key", "step_key", "day")
        .agg(
            sent=pl.len(),
            delivered=is_delivered.sum(),
            hard_bounces=pl.col("bounce_kind").is_in(["hard", "syntax"]).sum(),
            soft_bounces=pl.col("bounce_kind").eq("soft").sum(),
            opens=pl.col("opens").sum(),
            unique_opens=(is_delivered & (pl.col("opens") > 0)).sum(),
            unique_human_opens=(is_delivered & (pl.col("human_opens") > 0)).sum(),
            unmarked_sent=pl.col("has_machine_marks").not_().sum(),
            clicks=pl.col("clicks").sum(),
            unique_clicks=(is_delivered & (pl.col("clicks") > 0)).sum(),
            unique_human_clicks=(is_delivered & (pl.col("human_clicks") > 0)).sum(),
            prompt_human_clicks=(
                is_delivered & (pl.col("first_human_click_us") < pl.col("sent_us") + DAY_US)
            ).sum(),
            unique_human_engagements=(is_delivered & (pl.col("human_opens") + pl.col("human_clicks") > 0)).sum(),
            unsubscribes=pl.col("unsubscribed_us").count(),
            complaints=pl.col("complained_us").count(),
        )
    )  # fmt: skip


def _funnel_transitions(facts: Path) -> pl.LazyFrame:
    return (
        _scan(facts, "step_entries")
        .filter(pl.col("to_step_key").is_not_null())
        .group_by(
            "workflow_key",
            "to_step_key",
            "delay_version",
            "day",
            "outcome",
            from_step_key="step_key",
            elapsed_days=pl.col("outcome_day") - pl.col("day"),
        )
        .agg(subscribers=pl.len())
    )


def _hours_of_week(facts: Path) -> pl.LazyFrame:
    return (
        _scan(facts, "messages")
        .filter(pl.col("bounce_kind").is_null())
        .group_by("workflow_key", "day", "local_hour_of_week")
        .agg(
            delivered=pl.len(),
            unique_human_opens=(pl.col("human_opens") > 0).sum(),
            unique_human_clicks=(pl.col("human_clicks") > 0).sum(),
        )
    )


def _cohort_cells(facts: Path) -> pl.LazyFrame:
    entrants = (
        _scan(facts, "arrivals")
        .join(_scan(facts, "steps").filter(pl.col("position") == 1), on="step_key", how="semi")
        .join(_scan(facts, "workflows"), on="workflow_key", how="left")
        .select("subscriber_key", "workflow_key", "entered_us", "goal_event_type", entry_day="day")
    )
    # The time of an outcome is doubled, and one is added for a departure: the least says when it was and what it was.
    outcomes = pl.concat(
        [
            _scan(facts, "conversions").select("subscriber_key", "event_type", moment=2 * pl.col("occurred_us")),
            _scan(facts, "departures")
            .filter(pl.col("reason").is_in(["unsubscribed", "complaint"]))
            .select("subscriber_key", left_workflow="workflow_key", moment=2 * pl.col("occurred_us") + 1),
        ],
        how="diagonal",
    )
    entered = 2 * pl.col("entered_us")
    is_left = pl.col("left_workflow").is_in([0]) | (pl.col("left_workflow") == pl.col("workflow_key"))
    is_goal = pl.col("goal_event_type").is_null() | (pl.col("event_type") == pl.col("goal_event_type"))
    first = (
        entrants.join(outcomes, on="subscriber_key")
        .filter(
            pl.col("moment").is_between(entered, entered + 2 * (26 * WEEK_US - 1) + 1),
            pl.when(pl.col("left_workflow").is_null()).then(is_goal).otherwise(is_left),
        )
        .group_by("subscriber_key", "workflow_key", "entered_us", "entry_day")
        .agg(pl.col("moment").min())
        .with_columns(happened_us=pl.col("moment") // 2, kind=1 + pl.col("moment") % 2)
    )
    milestones = pl.concat(
        [entrants.with_columns(happened_us="entered_us", kind=pl.lit(0, pl.Int64)), first], how="diagonal"
    )
    return (
        milestones.join(_membership(facts), on="subscriber_key")
        .filter(pl.col("since_us") <= pl.col("entered_us"))
        .group_by(
            "cohort_type",
            "cohort",
            "workflow_key",
            "entry_day",
            day=pl.col("happened_us") // DAY_US,
            age_weeks=(pl.col("happened_us") - pl.col("entered_us")) // WEEK_US,
        )
        .agg(
            entrants=(pl.col("kind") == 0).sum(),
            conversions=(pl.col("kind") == 1).sum(),
            exits=(pl.col("kind") == 2).sum(),
        )
    )


def _membership(facts: Path) -> pl.LazyFrame:
    people = _scan(facts, "subscribers")
    always = pl.lit(0, pl.Int64)
    cohorts = {
        "signup_date": (always, _month("signup_us")),
        "first_purchase": (pl.col("first_purchase_us"), _month("first_purchase_us")),
        "subscription_plan": (always, pl.col("plan").fill_null("none")),
        "member_field": (always, pl.col("cohort_value")),
    }
    return pl.concat(
        [
            people.select("subscriber_key", cohort_type=pl.lit(kind), since_us=since, cohort=cohort).drop_nulls(
                "cohort"
            )
            for kind, (since, cohort) in cohorts.items()
        ]
    )


def _month(column: str) -> pl.Expr:
    return pl.from_epoch(column, "us").dt.strftime("%Y-%m")


def _scan(facts: Path, table: str) -> pl.LazyFrame:
    return pl.scan_parquet(parquet(facts, table))


def _collect(query: pl.LazyFrame) -> pl.DataFrame:
    return query.collect(engine="streaming")


@contextmanager
def _opened(facts: Path) -> Iterator[Computations]:
    queries = {
        "step_days": _step_days,
        "funnel_transitions": _funnel_transitions,
        "cohort_cells": _cohort_cells,
        "hours_of_week": _hours_of_week,
    }
    yield {name: partial(_collect, query(facts)) for name, query in queries.items()}


ENGINE = Engine("Polars", _opened, lambda frame: frame)
