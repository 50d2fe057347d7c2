"""Published tables of a made-up account: empty ones, single rows, and one case of each thing that asks for a change."""

import json
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import polars as pl

from pipeline.schemas.base import empty, find, polars_schema

TONIGHT = date(2026, 6, 29)
ADDRESS = "http://127.0.0.1:3000"
"""Where browsers reach the server of a test's pages."""
NAMES = (
    "workflows", "steps", "step_metrics", "experiments", "experiment_results", "experiment_verdicts",
    "member_field_values", "delay_recommendations", "delay_curves", "opportunities", "send_time_assignments",
    "send_time_lift", "send_time_profiles", "send_time_clusters", "subscriber_send_times", "policy_values",
    "path_decisions", "content_decisions", "decision_points", "decision_lint", "conflict_replay", "stuck_subscribers",
    "anomalies", "metric_trends", "optimizations", "realised_lift", "release_starts", "release_plan", "releases",
    "outcome_baselines", "holdouts", "cohort_insights",
)  # fmt: skip
Tables = dict[str, pl.DataFrame]


def nothing() -> Tables:
    return {name: _empty(name) for name in NAMES}


@cache
def _empty(table: str) -> pl.DataFrame:
    return empty(find("marts", table))


def row(table: str, /, **given: Any) -> pl.DataFrame:
    """One row of a table: what is given, and the least that its types allow for the rest."""
    least = {pl.String: "", pl.Int64: 0, pl.Float64: 0.0, pl.Boolean: False, pl.Date: TONIGHT}
    least |= {pl.Decimal(18, 2): Decimal(0)}
    schema = polars_schema(find("marts", table))
    filled = {column: given.get(column, least.get(dtype, datetime(2026, 6, 1))) for column, dtype in schema.items()}
    return pl.DataFrame([filled], schema=schema, strict=False)


def a_winner(arm_field: str | None = "SUBJECT", **changes: Any) -> Tables:
    plan = row(
        "experiments", experiment_id="subject", name=None, workflow_id="welcome", step_id="hello",
        arms='{"A": 0.5, "B": 0.5}', arm_field=arm_field, window_days=7,
    )  # fmt: skip
    verdict = {
        "experiment_id": "subject", "verdict": "winner", "winner_arm": "B", "lift": 0.32, "lift_low": 0.03,
        "lift_high": 0.7, "shrunk_lift": 0.25, "shrunk_lift_low": 0.05, "shrunk_lift_high": 0.5, "plan_hash": "p1",
        "workflow_id": "welcome", "step_id": "hello", "primary_metric": "conversion",
    }  # fmt: skip
    looks = row("experiment_results", experiment_id="subject", role="primary", arm="B", exposures=900)
    return {
        "experiments": plan,
        "experiment_results": looks,
        "experiment_verdicts": row("experiment_verdicts", **{**verdict, **changes}),
    }


def a_delay(**changes: Any) -> Tables:
    transition = {"workflow_id": "welcome", "from_step_id": "hello", "to_step_id": "tips"}
    recommended = {
        "action": "change", "current_delay_hours": 72.0, "recommended_delay_hours": 48.0, "entrants": 10_545,
        "improvement": 0.3, "improvement_low": 0.2, "improvement_high": 0.4, "identification": "randomised",
        "better_probability": 0.99, "test_days": 40,
    }  # fmt: skip
    curve = row("delay_curves", **transition, delay_hours=48.0, conversion_rate=0.3, entrants=10)
    return {
        "delay_recommendations": row("delay_recommendations", **transition, **{**recommended, **changes}),
        "delay_curves": curve,
    }


def a_written_delay(**changes: Any) -> Tables:
    """A better delay before an e-mail whose delay the API can write."""
    step = {"workflow_id": "welcome", "step_id": "tips", "campaign_id": "mail1", "writable_delay_action": "signup"}
    return {**a_delay(**changes), "steps": row("steps", **step)}


def send_times(is_lift_shown: bool = False, **changes: Any) -> Tables:
    lift = {"is_lift_shown": is_lift_shown, "engagement_lift": 0.1 if is_lift_shown else None}
    people = {"fallback_level": "subscriber", "current_local_hour": 9, "recommended_local_hour": 18}
    return {
        "send_time_assignments": row("send_time_assignments", is_randomised=True),
        "subscriber_send_times": row("subscriber_send_times", **people),
        "send_time_lift": row("send_time_lift", **{**lift, **changes}),
    }


POINT = {
    "decision_point_id": "path", "kind": "path", "workflow_id": "welcome", "step_id": "route", "mode": "learn",
    "default_arm": "a", "arms": '["a", "b"]', "mailed_step_ids": '["left", "right"]', "means": "ROUTE",
    "name": None, "outcome_days": 14,
}  # fmt: skip


def a_delivery(**changes: Any) -> Tables:
    return {
        "decision_points": row("decision_points", **{**POINT, **changes}),
        "path_decisions": row("path_decisions", decision_point_id="path", arm="a"),
    }


def a_policy(**changes: Any) -> Tables:
    """A better policy at a point at which the delivery has been decided."""
    value = {
        "decision_point_id": "path", "policy": "always b", "status": "ok", "gain": 0.02, "gain_low": 0.01,
        "gain_high": 0.03, "logged_mean": 0.1, "value_mean": 0.12, "method": "doubly robust",
    }  # fmt: skip
    return {**a_delivery(), "policy_values": row("policy_values", **{**value, **changes})}


def a_planned_test(**changes: Any) -> Tables:
    plan = {
        "experiment_id": "subject", "status": "planned", "assigned_by": "driptune", "arms": '{"A": 0.5, "B": 0.5}',
        "arm_field": "SETUP_TEST", "workflow_id": "welcome", "step_id": "hello", "planned_days": 28,
        "name": None,
        "planned_exposures": 4_000, "baseline_mean": 0.1, "minimum_lift": 0.2, "power": 0.9, "window_days": 7,
    }  # fmt: skip
    arms = [row("member_field_values", source_id="subject", value=arm) for arm in ("A", "B")]
    return {"experiments": row("experiments", **{**plan, **changes}), "member_field_values": pl.concat(arms)}


def a_conflict(**changes: Any) -> Tables:
    replayed = {"workflow_id": "promo", "prevailing_workflow_id": "cart", "resolution": "suppress", "subscribers": 48}
    return {"conflict_replay": row("conflict_replay", **{**replayed, **changes})}


def somebody_stuck(**changes: Any) -> Tables:
    one = {
        "workflow_id": "cart",
        "step_id": "first",
        "to_step_id": "second",
        "cause": "queue stall",
        "stuck_hours": 99.0,
    }
    return {
        "stuck_subscribers": row("stuck_subscribers", **{**one, **changes}),
        "workflows": row("workflows", workflow_id="cart", name="Cart", kind="automation"),
    }


def an_anomaly(**changes: Any) -> Tables:
    found = {
        "cause_id": "welcome/hello@2026-06-26", "cause_scope": "step", "is_latest": True, "is_adverse": True,
        "severity": "critical", "metric": "sent", "direction": "down", "tail_probability": 1e-9,
        "workflow_id": "welcome", "step_id": "hello",
    }  # fmt: skip
    return {"anomalies": row("anomalies", **{**found, **changes})}


def harm_done(**changes: Any) -> Tables:
    night = {
        "optimization_id": "0123456789abcdef", "metric": "conversion", "role": "primary", "is_latest": True,
        "outcome": "harm", "realised_lift": -0.2, "realised_lift_low": -0.3, "realised_lift_high": -0.1,
        "workflow_id": "welcome", "step_id": "hello",
    }  # fmt: skip
    applied = {
        "optimization_id": "0123456789abcdef", "status": "applied", "after": '{"field": "SUBJECT", "value": "B"}',
        "before": "{}", "apply_kind": "member_fields",
    }  # fmt: skip
    return {
        "realised_lift": row("realised_lift", **{**night, **changes}),
        "optimizations": row("optimizations", **applied),
    }


STEPS = ("hello", "tips", "offer")
MORE = (
    "workflow_metrics",
    "funnel",
    "bottlenecks",
    "reconciliation",
    "quarantine",
    "step_metrics_daily",
    "cohort_triangles",
    "metric_changes",
    "engagement_hours",
    "step_links",
    "frequency_pressure",
    "industry",
    "learnings",
    "journeys",
    "journey_lint",
)


def account(workflows: list[tuple[str, str]], conflict: str = "suppress") -> Tables:
    """Published tables of an account with these workflows (id, name), alike in their numbers."""
    made = {**nothing(), **a_delay(), **a_conflict(resolution=conflict)}
    made |= {name: row(name).clear() for name in MORE}
    line = {"as_of": "2026-06-29", "version": "v1", "tables": len(NAMES)}
    made["manifest"] = pl.DataFrame([line])
    rates = {"human_click_rate": 0.2, "human_click_rate_low": 0.15, "human_click_rate_high": 0.26}
    left = {
        "unsubscribe_rate": 0.004,
        "unsubscribe_rate_low": 0.003,
        "unsubscribe_rate_high": 0.0061,
        "unsubscribes": 5,
    }
    numbers = {"window": "28d", "sent": 1_234, "delivered": 1_200, "unique_human_clicks": 240, **rates, **left}
    ends = (("", 640.0), ("_low", -50.0), ("_high", 1_330.0))
    added = {f"incremental_revenue_amount{end}": value for end, value in ends}
    money = {"currency": "USD", "revenue_amount": Decimal("1800"), **added}
    flows = [flow for flow, _ in workflows]
    made["workflows"] = pl.concat(
        [row("workflows", workflow_id=flow, name=name, kind="flow") for flow, name in workflows]
        + [row("workflows", workflow_id=name, name=name, kind="campaign") for name in ("promo", "cart")]
    )
    made["workflow_metrics"] = pl.concat(
        [row("workflow_metrics", workflow_id=flow, **numbers, **money) for flow in flows]
    )
    made["metric_changes"] = pl.concat([_changed(flow, metric) for flow in (*flows, None) for metric in _CHANGES])
    made["engagement_hours"] = pl.concat([_engaged(flow, hour) for flow in (*flows, None) for hour in (8, 20, 21)])
    made["frequency_pressure"] = pl.concat([_pressed(flow, most) for flow in (*flows, None) for most in (0, 7, None)])
    made["holdouts"] = pl.concat([_held_out(flow) for flow in (*flows, None)])
    clicks = {"account_rate": 0.2, "account_rate_low": 0.15, "account_rate_high": 0.26, "industry_rate": 0.021}
    made["industry"] = row("industry", metric="click_rate", industry_type="Retail", comparison="above", **clicks)
    made["learnings"] = pl.concat([_learnt(flow) for flow in flows])
    made["journeys"] = pl.concat([one for flow in flows for one in _versions(flow)])
    made["journey_lint"] = pl.concat([_found(flow) for flow in flows])
    made["cohort_triangles"] = pl.concat([_followed(flow, week) for flow in flows for week in (0, 1, 2)])
    made["steps"] = pl.concat([_step(flow, step) for flow in flows for step in STEPS])
    made["step_metrics"] = pl.concat(
        [row("step_metrics", workflow_id=flow, step_id=step, **numbers) for flow in flows for step in STEPS]
    )
    made["step_links"] = pl.concat([_clicked(flow, step, link) for flow in flows for step in STEPS for link in "ab"])
    lost = {"entrants": 1_000, "advanced": 700, "lost": 200, "waiting": 100, "drop_off_rate": 0.21}
    made["funnel"] = pl.concat(
        [row("funnel", workflow_id=flow, from_step_id="hello", to_step_id="tips", **lost) for flow in flows]
    )
    return made


_CHANGES = {
    "human_click_rate": ("down", -0.031, -0.05, -0.012),
    "unsubscribe_rate": ("no clear change", 0.001, -0.002, 0.004),
}


def _changed(flow: str | None, metric: str) -> pl.DataFrame:
    change, difference, low, high = _CHANGES[metric]
    ends = {"rate_difference": difference, "rate_difference_low": low, "rate_difference_high": high}
    return row("metric_changes", workflow_id=flow, metric=metric, change=change, is_adverse=change == "down", **ends)


def _engaged(flow: str | None, hour: int) -> pl.DataFrame:
    """Tuesday: much clicked at 8, less at 20, and too little sent to tell at 21."""
    rate = {8: 0.31, 20: 0.12, 21: 0.2}[hour]
    rates = {f"shrunk_click_rate{end}": rate + more for end, more in (("", 0.0), ("_low", -0.05), ("_high", 0.05))}
    counts = {"delivered": 1_000, "unique_human_clicks": round(1_000 * rate), "human_click_rate": rate}
    return row(
        "engagement_hours", workflow_id=flow, local_weekday=1, local_hour=hour, is_thin=hour == 21, **counts, **rates
    )


def _clicked(flow: str, step: str, link: str) -> pl.DataFrame:
    """Of two links of a step one is clicked by 180 people, and the other one by a third as many."""
    people = {"a": 180, "b": 60}[link]
    rates = {
        f"human_click_rate{end}": people / 1_200 + more for end, more in (("", 0.0), ("_low", -0.02), ("_high", 0.02))
    }
    counts = {"delivered": 1_200, "unique_human_clicks": people, "click_share": people / 240}
    named = {"workflow_id": flow, "step_id": step, "url": f"https://example.org/{link}", "window": "28d"}
    return row("step_links", **named, **counts, **rates)


def _pressed(flow: str | None, most: int | None) -> pl.DataFrame:
    """After no message, after 5 to 7, and after more in a week: the more before, the more unsubscribe by the next."""
    start, rate = {0: (0, 0.002), 7: (5, 0.011), None: (8, 0.017)}[most]
    ends = {"": 0.0, "_low": -0.001, "_high": 0.003}
    rates = {f"unsubscribe_rate{end}": rate + more for end, more in ends.items()}
    rates |= {f"human_click_rate{end}": 0.21 + more for end, more in ends.items()}
    expected = {"expected_human_click_rate": 0.19, "expected_unsubscribe_rate": 0.006}
    counts = {"messages_from": start, "messages_to": most, "delivered": 1_400}
    return row("frequency_pressure", workflow_id=flow, period="7d", **counts, **rates, **expected)


def _held_out(flow: str | None) -> pl.DataFrame:
    """A flow that adds less than attribution says, and an account without a hold-out."""
    if flow is None:
        return row("holdouts", workflow_id=None, holdout_id=None, share=None, status="no hold-out")
    added = {
        f"incremental_revenue_amount{end}": value for end, value in (("", 800.0), ("_low", 90.0), ("_high", 1_510.0))
    }
    counts = {"subscribers": 4_750, "held_out": 250, "attributed_revenue_amount": 2_300.0}
    return row("holdouts", workflow_id=flow, holdout_id="welcome-5", currency="USD", status="ok", **counts, **added)


def _step(flow: str, step: str) -> pl.DataFrame:
    """A step whose delay Mailchimp's API cannot write."""
    return row("steps", workflow_id=flow, step_id=step, name=step, campaign_id=step, writable_delay_action=None)


def _versions(flow: str) -> list[pl.DataFrame]:
    """A journey in which a delay was changed once, and 7 wait now."""
    kinds = [("trigger", None, None, 0), ("delay", 24.0, None, 7), ("email", None, STEPS[0], 0)]
    listed = [
        {"step_id": str(number), "step_kind": kind, "status": "active", "delay_hours": hours, "campaign_id": campaign,
         "queue_count": waiting, "completed": 100}
        for number, (kind, hours, campaign, waiting) in enumerate(kinds)
    ]  # fmt: skip
    told = {"workflow_id": flow, "status": "sending", "trigger": "signup", "started": 107, "steps": json.dumps(listed)}
    first = row("journeys", **told, version=1, is_current=False, changes="", first_day=date(2026, 6, 1))
    second = row("journeys", **told, version=2, is_current=True, changes="delay: 48 to 24", first_day=date(2026, 6, 9))
    return [first, second]


def _found(flow: str) -> pl.DataFrame:
    told = {
        "finding": "paused step with a queue",
        "people": 7,
        "detail": "It is paused, and 7 people wait at it.",
    }
    return row("journey_lint", workflow_id=flow, **told)


def _learnt(flow: str) -> pl.DataFrame:
    """A subject that won, and another flow where it could be tested."""
    result = {"outcome": "winner", "lift": 0.28, "lift_low": 0.04, "lift_high": 0.61, "metric": "conversion"}
    place = {"workflow_id": flow, "step_id": "hello", "could_try": "cart/first", "alike": 1}
    return row("learnings", source="test", source_id=flow, question="Does the next task help?", **result, **place)


def _followed(flow: str, week: int) -> pl.DataFrame:
    """A week closed for nine of ten entrants, one for not quite as many, and one that nothing is known of."""
    rates: dict[str, Any] = {
        0: {"followed": 810, "conversion_rate": 0.24},
        1: {"followed": 809, "conversion_rate": 0.3, "is_projected": True, "projected_rate": 0.36},
        2: {"followed": 0, "conversion_rate": None, "projected_rate": None},
    }[week]
    named = {"workflow_id": flow, "cohort_type": "signup_date", "cohort": "2026-05", "entrants": 900}
    return row("cohort_triangles", **named, age_weeks=week, **rates)
