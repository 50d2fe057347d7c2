"""The reductions in pandas."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import polars as pl

from tests.acceptance.bench.peers.engine import Computations, Engine
from tests.acceptance.bench.peers.facts import parquet

DAY_US = 86_400_000_000
WEEK_US = 7 * DAY_US


def _step_days(facts: Path) -> pd.DataFrame:
    messages = _read(facts, "messages")
    is_delivered = messages["bounce_kind"].isna()
    flags = messages[["workflow_key", "step_key", "day", "opens", "clicks"]].assign(
        sent=1,
        delivered=is_delivered,
        hard_bounces=messages["bounce_kind"].isin(["hard", "syntax"]),
        soft_bounces=messages["bounce_kind"].eq("soft"),
        unique_opens=is_delivered & messages["opens"].gt(0),
        unique_human_opens=is_delivered & messages["human_opens"].gt(0),
        unmarked_sent=~messages["has_machine_marks"],
        unique_clicks=is_delivered & messages["clicks"].gt(0),
        unique_human_clicks=is_delivered & messages["human_clicks"].gt(0),
        prompt_human_clicks=is_delivered & (messages["first_human_click_us"] - messages["sent_us"]).lt(DAY_US),
        unique_human_engagements=is_delivered & (messages["human_opens"] + messages["human_clicks"]).gt(0),
        unsubscribes=messages["unsubscribed_us"].notna(),
        complaints=messages["complained_us"].notna(),
    )
    return flags.groupby(["workflow_key", "step_key", "day"]).sum().reset_index()


def _funnel_transitions(facts: Path) -> pd.DataFrame:
    keys = ["workflow_key", "step_key", "to_step_key", "delay_version", "day", "outcome"]
    entries = _read(facts, "step_entries", [*keys, "outcome_day"]).dropna(subset=["to_step_key"])
    entries["elapsed_days"] = entries["outcome_day"] - entries["day"]
    counted = entries.groupby([*keys, "elapsed_days"], dropna=False).size()
    return counted.reset_index(name="subscribers").rename(columns={"step_key": "from_step_key"})


def _hours_of_week(facts: Path) -> pd.DataFrame:
    keys = ["workflow_key", "day", "local_hour_of_week"]
    messages = _read(facts, "messages", [*keys, "bounce_kind", "human_opens", "human_clicks"])
    delivered = messages.loc[messages["bounce_kind"].isna()]
    flags = delivered[keys].assign(
        delivered=1,
        unique_human_opens=delivered["human_opens"].gt(0),
        unique_human_clicks=delivered["human_clicks"].gt(0),
    )
    return flags.groupby(keys).sum().reset_index()


def _cohort_cells(facts: Path) -> pd.DataFrame:
    entrants = _entrants(facts)
    pairs = entrants.merge(_outcomes(facts), on="subscriber_key")
    since = pairs["happened_us"] - pairs["entered_us"]
    is_departure = pairs["kind"].eq("exits")
    leaves = pairs["left_workflow"].eq(0) | pairs["left_workflow"].eq(pairs["workflow_key"])
    reaches = pairs["goal_event_type"].isna() | pairs["event_type"].eq(pairs["goal_event_type"])
    counts = since.between(0, 26 * WEEK_US - 1) & leaves.where(is_departure, reaches)
    journey = ["subscriber_key", "workflow_key", "entered_us"]
    # Conversions come before departures of the same moment.
    first = pairs.loc[counts].sort_values(["happened_us", "kind"]).drop_duplicates(journey)
    milestones = pd.concat([entrants.assign(happened_us=entrants["entered_us"], kind="entrants"), first])
    cells = milestones.merge(_membership(facts), on="subscriber_key")
    cells = cells.loc[cells["since_us"] <= cells["entered_us"]]
    counted = cells[["cohort_type", "cohort", "workflow_key", "entry_day"]].assign(
        day=cells["happened_us"] // DAY_US,
        age_weeks=(cells["happened_us"] - cells["entered_us"]) // WEEK_US,
    )
    kinds = counted.assign(**{kind: cells["kind"].eq(kind) for kind in ("entrants", "conversions", "exits")})
    return kinds.groupby(list(counted.columns)).sum().reset_index()


def _entrants(facts: Path) -> pd.DataFrame:
    steps = _read(facts, "steps", ["step_key", "position"])
    arrivals = _read(facts, "arrivals", ["subscriber_key", "workflow_key", "step_key", "entered_us", "day"])
    entered = arrivals.loc[arrivals["step_key"].isin(steps.loc[steps["position"].eq(1), "step_key"])]
    workflows = _read(facts, "workflows", ["workflow_key", "goal_event_type"])
    return entered.merge(workflows, on="workflow_key", how="left").rename(columns={"day": "entry_day"})


def _outcomes(facts: Path) -> pd.DataFrame:
    conversions = _read(facts, "conversions", ["subscriber_key", "event_type", "occurred_us"])
    departures = _read(facts, "departures", ["subscriber_key", "workflow_key", "reason", "occurred_us"])
    left = departures.loc[departures["reason"].isin(["unsubscribed", "complaint"])]
    exits = left.rename(columns={"workflow_key": "left_workflow"}).assign(kind="exits")
    return pd.concat([conversions.assign(kind="conversions"), exits]).rename(columns={"occurred_us": "happened_us"})


def _membership(facts: Path) -> pd.DataFrame:
    people = _read(facts, "subscribers", ["subscriber_key", "signup_us", "first_purchase_us", "plan", "cohort_value"])
    cohorts = {
        "signup_date": (0, _month(people["signup_us"])),
        "first_purchase": (people["first_purchase_us"], _month(people["first_purchase_us"])),
        "subscription_plan": (0, people["plan"].fillna("none")),
        "member_field": (0, people["cohort_value"]),
    }
    each = [
        people[["subscriber_key"]].assign(cohort_type=kind, since_us=since, cohort=cohort)
        for kind, (since, cohort) in cohorts.items()
    ]
    return pd.concat(each).dropna(subset=["cohort"])


def _month(moments_us: pd.Series) -> pd.Series:
    return pd.to_datetime(moments_us, unit="us").dt.strftime("%Y-%m")


def _read(facts: Path, table: str, columns: list[str] | None = None) -> pd.DataFrame:
    return pd.read_parquet(parquet(facts, table), columns=columns)


@contextmanager
def _opened(facts: Path) -> Iterator[Computations]:
    reductions = {
        "step_days": _step_days,
        "funnel_transitions": _funnel_transitions,
        "cohort_cells": _cohort_cells,
        "hours_of_week": _hours_of_week,
    }
    yield {name: partial(reduction, facts) for name, reduction in reductions.items()}


ENGINE = Engine("pandas", _opened, pl.from_pandas, most_events=10_000_000)
