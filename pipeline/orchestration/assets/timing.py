"""Assets of the timing tables, when to send and how long to wait: each calls pure functions of `pipeline/analysis`."""

from datetime import date, timedelta
from typing import Any

import polars as pl

from pipeline.analysis.delays.outcomes import current_delays, delay_outcomes
from pipeline.analysis.delays.recommendations import analyse_delays
from pipeline.analysis.send_time.engagement_hours import engagement_hours
from pipeline.analysis.send_time.evaluation import evaluate_send_times
from pipeline.analysis.send_time.exploration import assign_hours, logged_assignments, sent_as_assigned
from pipeline.analysis.send_time.inputs import activity_hours, audience, below_cap, engaged_sends
from pipeline.analysis.send_time.schedule import allowed_hours, schedule_sends
from pipeline.analysis.send_time.subscribers import analyse_send_times
from pipeline.charts.figures import delay_chart, send_time_chart
from pipeline.config.constraints import load_constraints
from pipeline.orchestration.asset import log_asset, table_asset, tables_asset
from pipeline.orchestration.picture import image
from pipeline.schemas import core, lake, reductions
from pipeline.schemas import timing as marts
from pipeline.settings import Settings

GROUP = "timing"
LIFT_NUMBERS = ["status", "randomised_sends", "randomised_sends_needed", "exploration_share"]


def _curve_summary(curves: pl.DataFrame) -> dict[str, Any]:
    return {
        "delays": curves.height,
        "delays_compared": curves["conversion_rate"].count(),
        "entrants": int(curves["entrants"].sum()),
        "conversions": int(curves["conversions"].sum()),
        **image(delay_chart(curves)),
    }


def _delay_summary(recommendations: pl.DataFrame) -> dict[str, Any]:
    return {
        "transitions": recommendations.height,
        "randomised": recommendations.filter(pl.col("identification") == "randomised").height,
        "to_change": recommendations.filter(pl.col("action") == "change").height,
        "to_test": recommendations.filter(pl.col("action") == "test").height,
        "without_enough_data": recommendations.filter(pl.col("status") == "not enough data").height,
        "of_a_single_delay": recommendations.filter(pl.col("status") == "single delay").height,
    }


@tables_asset(
    [marts.DelayCurves, marts.DelayRecommendations],
    group=GROUP,
    reads={
        "assigned_delays": reductions.AssignedDelays,
        "core_edges": core.CoreEdges,
        "core_steps": core.CoreSteps,
    },
    summaries={
        marts.DelayCurves: _curve_summary,
        marts.DelayRecommendations: _delay_summary,
    },
)
def compare_delays(
    as_of: date, settings: Settings, assigned_delays: pl.DataFrame, core_edges: pl.DataFrame, core_steps: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What each delay that was used converts, and whether another one is better than now."""
    found = analyse_delays(
        delay_outcomes(assigned_delays, core_steps, as_of=as_of, horizon_days=settings.delay_horizon_days),
        current_delays(core_edges, core_steps, as_of=as_of),
        as_of_day=as_of,
    )
    return found.curves, found.recommendations


def _allowed(settings: Settings) -> list[int]:
    quiet_from, quiet_until = load_constraints(settings.definitions).quiet_hours or (None, None)
    return allowed_hours(quiet_from, quiet_until)


@table_asset(
    marts.EngagementHours,
    group=GROUP,
    reads={"hours_of_week": reductions.HoursOfWeek, "workflows": core.CoreWorkflows},
    summary=lambda rows: {"cells": rows.height, "thin": int(rows["is_thin"].sum())},
)
def hours_of_engagement(
    as_of: date, settings: Settings, hours_of_week: pl.DataFrame, workflows: pl.DataFrame
) -> pl.DataFrame:
    """Clicks by people by local weekday and hour of sending."""
    return engagement_hours(hours_of_week, workflows, as_of=as_of, days=settings.send_time_days)


def _cluster_summary(clusters: pl.DataFrame) -> dict[str, Any]:
    return {name: int(clusters[name].sum()) for name in ("subscribers", "sends", "engagements", "behaviour_events")}


def _profile_summary(profiles: pl.DataFrame) -> dict[str, Any]:
    return {
        "clusters": profiles["cluster_id"].n_unique(),
        "hours_without_sends": profiles.filter(pl.col("sends") == 0).height,
        "sends": int(profiles["sends"].sum()),
        **image(send_time_chart(profiles)),
    }


def _subscriber_summary(subscribers: pl.DataFrame) -> dict[str, Any]:
    own = subscribers.filter(pl.col("fallback_level") == "subscriber")
    moved = own.filter(pl.col("recommended_local_hour") != pl.col("current_local_hour"))
    return {
        "subscribers": subscribers.height,
        "with_own_hour": own.height,
        "to_move": moved.height,
        "keep_current_hour": subscribers.height - own.height,
    }


@tables_asset(
    [marts.SendTimeClusters, marts.SendTimeProfiles, marts.SubscriberSendTimes],
    group=GROUP,
    reads={"subscriber_hours": reductions.SubscriberHours, "messages": core.CoreMessages},
    summaries={
        marts.SendTimeClusters: _cluster_summary,
        marts.SendTimeProfiles: _profile_summary,
        marts.SubscriberSendTimes: _subscriber_summary,
    },
)
def learn_send_times(
    as_of: date, settings: Settings, subscriber_hours: pl.DataFrame, messages: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Clusters of alike days, their engagement by send hour, and the best allowed hour of each subscriber."""
    found = analyse_send_times(
        activity_hours(subscriber_hours, as_of=as_of, days=settings.send_time_days),
        engaged_sends(messages, as_of=as_of, days=settings.send_time_days),
        as_of_day=as_of,
        allowed_hours=_allowed(settings),
    )
    return found.clusters, found.profiles, found.subscribers


def _schedule_summary(schedules: pl.DataFrame) -> dict[str, Any]:
    own = schedules.filter(pl.col("fallback_level") == "cluster")
    return {
        "steps": schedules.select("workflow_id", "step_id").n_unique(),
        "subscribers": int(schedules["subscribers"].sum()),
        "at_the_hour_of_their_cluster": int(own["subscribers"].sum()),
        "without_an_allowed_hour": int(own.filter(pl.col("local_hour").is_null())["subscribers"].sum()),
    }


@table_asset(
    marts.SendSchedules,
    group=GROUP,
    reads={
        "subscribers": marts.SubscriberSendTimes,
        "profiles": marts.SendTimeProfiles,
        "step_entries": core.CoreStepEntries,
        "messages": core.CoreMessages,
        "steps": core.CoreSteps,
    },
    summary=_schedule_summary,
)
def schedules(
    as_of: date,
    settings: Settings,
    subscribers: pl.DataFrame,
    profiles: pl.DataFrame,
    step_entries: pl.DataFrame,
    messages: pl.DataFrame,
    steps: pl.DataFrame,
) -> pl.DataFrame:
    """The hours at which to mail those who wait tonight, within the user's constraints."""
    constraints = load_constraints(settings.definitions)
    expected = audience(step_entries, steps, as_of=as_of)
    if cap := constraints.frequency_cap:
        expected = below_cap(expected, messages, as_of=as_of, most=cap.messages, days=cap.days)
    return schedule_sends(expected, subscribers, profiles, constraints.of_steps(steps), as_of_day=as_of)


def _assignment_summary(assignments: pl.DataFrame) -> dict[str, Any]:
    drawn = assignments["is_randomised"].sum()
    return {
        "assigned": assignments.height,
        "drawn_by_lot": int(drawn),
        "period_first_day": str(assignments["period_first_day"].max()),
    }


@table_asset(
    marts.SendTimeAssignments,
    group=GROUP,
    reads={"subscribers": marts.SubscriberSendTimes},
    summary=_assignment_summary,
)
def assignments(as_of: date, settings: Settings, subscribers: pl.DataFrame) -> pl.DataFrame:
    """The hour for the sender to use: drawn by lot for a share, the recommended one for the rest."""
    share = settings.send_time_exploration_share
    return assign_hours(subscribers, share=share, allowed=_allowed(settings), as_of_day=as_of)


@log_asset(lake.SendTimeAssignments, group=GROUP, reads={"assignments": marts.SendTimeAssignments})
def assignment_log(as_of: date, settings: Settings, assignments: pl.DataFrame) -> pl.DataFrame:
    """What was assigned, kept for the night that asks what it brought."""
    return logged_assignments(assignments)


@table_asset(
    marts.SendTimeLift,
    group=GROUP,
    reads={"subscriber_hours": reductions.SubscriberHours, "messages": core.CoreMessages},
    reads_lake={"log": lake.SendTimeAssignments},
    summary=lambda rows: rows.select(LIFT_NUMBERS).row(0, named=True),
)
def lift(
    as_of: date, settings: Settings, subscriber_hours: pl.DataFrame, messages: pl.DataFrame, log: pl.DataFrame
) -> pl.DataFrame:
    """What the recommended hours bring, on messages whose hour was drawn; the hours are those learnt before them."""
    used_from, days = settings.send_times_used_from, settings.send_time_days
    sends = sent_as_assigned(engaged_sends(messages, as_of=as_of, days=days), log, used_from=used_from)
    # While no hour is followed there is nothing to evaluate, and nothing to learn the hours for.
    before = min(used_from or date.min + timedelta(days=days), as_of) - timedelta(days=1)
    learnt = analyse_send_times(
        activity_hours(subscriber_hours, as_of=before, days=days),
        engaged_sends(messages, as_of=before, days=days),
        as_of_day=before,
        allowed_hours=_allowed(settings),
    )
    return evaluate_send_times(sends, learnt.subscribers, learnt.profiles, as_of_day=as_of)


timing_assets = [compare_delays, hours_of_engagement, learn_send_times, schedules, assignments, assignment_log, lift]
