"""A flow that driptune releases, and people who came into it: tables of a night as the product computes them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import polars as pl

from pipeline.analysis.experiments.holdouts import Holdout
from pipeline.common.time import DAY_US, HOUR_US, end_of_day_us
from pipeline.config.constraints import Constraints
from pipeline.config.flow_map import FlowMap
from pipeline.decisions import releases
from pipeline.optimizations.record import canonical
from pipeline.schemas.base import empty, polars_schema
from pipeline.schemas.core import (
    CoreMessages,
    CoreStepEntries,
    CoreSteps,
    CoreSubscribers,
    CoreWrittenValues,
    CoreZoneOffsets,
)
from pipeline.schemas.decisions import WorkflowConflicts
from pipeline.schemas.timing import SubscriberSendTimes
from tests.worlds.holdouts import holdouts
from tests.worlds.published import row

TONIGHT = date(2026, 6, 29)
MORNING = datetime.combine(TONIGHT + timedelta(days=1), time(), UTC)
FLOW, FIRST, SECOND = "welcome", 11, 12
WAIT_FIELD = "WAIT"
TRIGGER = {"trigger": {"journey": 504, "step": 50_403}}
OPEN = Constraints(quiet_hours=None)
NO_ZONE = pl.DataFrame(
    {"zone": ["UTC"], "from_us": [0], "to_us": [2**62], "offset_us": [0]}, schema=polars_schema(CoreZoneOffsets)
)


def steps(first_kind: str = "email") -> pl.DataFrame:
    rows = [(FIRST, "hello", 1, first_kind), (SECOND, "tips", 2, "email")]
    common = {"workflow_key": 1, "workflow_id": FLOW, "status": "active", "name": "", "campaign_id": None}
    texts = {"subject": None, "preview": None}
    made = [
        {**common, **texts, "step_key": key, "step_id": name, "position": place, "kind": kind}
        for key, name, place, kind in rows
    ]
    return pl.DataFrame(made, schema=polars_schema(CoreSteps))


def entry(key: int, hours_ago: float, step_key: int = FIRST, **changes: Any) -> dict[str, Any]:
    """An entry by the user's events, `hours_ago` before tonight is over, that nothing has followed yet."""
    entered = end_of_day_us(TONIGHT) - int(hours_ago * HOUR_US)
    return {
        "subscriber_key": key, "workflow_key": 1, "step_key": step_key, "entered_us": entered,
        "day": entered // DAY_US, "entry_source": "event", "to_step_key": SECOND, "delay_version": 1,
        "assigned_delay_hours": 24, "is_delay_randomised": False, "outcome": "timeout",
        "outcome_us": entered + 72 * HOUR_US, "outcome_day": entered // DAY_US + 3, "exit_reason": "stuck", **changes,
    }  # fmt: skip


def people(keys: Sequence[int], zone: str = "UTC") -> pl.DataFrame:
    return pl.concat([row_of(key, zone) for key in keys]) if keys else empty(CoreSubscribers)


def row_of(key: int, zone: str) -> pl.DataFrame:
    filled: dict[str, Any] = dict.fromkeys(polars_schema(CoreSubscribers))
    given = {"subscriber_key": key, "status": "subscribed", "zone": zone, "zone_source": "default"}
    return pl.DataFrame(
        [{**filled, **given, "merge_fields": "{}", "tags": "[]"}], schema=polars_schema(CoreSubscribers)
    )


def best_hours(hours: Mapping[int, int]) -> pl.DataFrame:
    rows = [
        row("subscriber_send_times", subscriber_key=key, fallback_level="subscriber", recommended_local_hour=hour)
        for key, hour in hours.items()
    ]
    return pl.concat([empty(SubscriberSendTimes), *rows])


def written_waits(waits: Mapping[int, str], hours_ago: float) -> pl.DataFrame:
    """What stands in the merge field for waits, by subscriber, written so long before tonight is over."""
    from_us = end_of_day_us(TONIGHT) - int(hours_ago * HOUR_US)
    blank = dict.fromkeys(polars_schema(CoreWrittenValues))
    rows = [
        {**blank, "means": WAIT_FIELD, "from_us": from_us, "subscriber_key": key, "value": value}
        for key, value in waits.items()
    ]
    return pl.DataFrame(rows, schema=polars_schema(CoreWrittenValues))


def night(
    entries: Sequence[Mapping[str, Any]],
    *,
    start: Mapping[str, Any] = TRIGGER,
    constraints: Constraints = OPEN,
    best: Mapping[int, int] | None = None,
    first_kind: str = "email",
    zones: pl.DataFrame = NO_ZONE,
    zone: str = "UTC",
    first_wait: int = 0,
    most: int = 1_000,
    late_hours: int = 36,
    are_late_spread: bool = False,
    messages: pl.DataFrame | None = None,
    collisions: pl.DataFrame | None = None,
    held_out: Sequence[Holdout] = (),
    waits: Mapping[int, str] | None = None,
    waits_hours_ago: float = 1_000,
) -> dict[str, pl.DataFrame]:
    """`release_starts` and `release_plan` of a night, by name."""
    entered = pl.DataFrame(list(entries), schema=polars_schema(CoreStepEntries))
    flow = {"id": FLOW, "released_by": "driptune", "deliver": dict(start), "steps": [{"id": "hello"}, {"id": "tips"}]}
    assert FlowMap.model_validate({"flows": [flow]}).flows[0].released_by == "driptune"
    starts = [releases.FlowStart(FLOW, canonical(start), first_wait, most, WAIT_FIELD)]
    stands = pl.concat([empty(CoreWrittenValues), written_waits(waits or {}, waits_hours_ago)])
    released = releases.released_steps(starts, steps(first_kind))
    limits = constraints.of_steps(released)
    sent = empty(CoreMessages) if messages is None else messages
    waiting = releases.waiting(entered.lazy(), sent.lazy(), released, stands)
    plan = releases.release_plan(
        waiting,
        best_hours(best or {}),
        limits,
        people(entered["subscriber_key"].unique().to_list(), zone).lazy(),
        zones,
        empty(WorkflowConflicts) if collisions is None else collisions,
        waiting.head(0),
        holdouts(*held_out, flow=FLOW, as_of=TONIGHT),
        as_of=TONIGHT,
        late_hours=late_hours,
        are_late_spread=are_late_spread,
    )
    return {
        "release_starts": releases.release_starts(released, plan, limits, as_of=TONIGHT),
        "release_plan": plan,
    }
