"""Assets of the timing tables: when to send, and how long to wait. Each calls pure functions of `pipeline/analysis`."""

from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any

import polars as pl
from pandera.typing.polars import DataFrame, LazyFrame

from pipeline.analysis.delays.outcomes import current_delays, delay_outcomes
from pipeline.analysis.delays.recommendations import analyse_delays
from pipeline.analysis.send_time.engagement_hours import engagement_hours
from pipeline.analysis.send_time.evaluation import LOGGED, evaluate_send_times
from pipeline.analysis.send_time.exploration import assign_hours, logged_assignments, sent_as_assigned, with_draws
from pipeline.analysis.send_time.frequency import frequency_pressure
from pipeline.analysis.send_time.inputs import activity_hours, audience, below_cap, engaged_sends
from pipeline.analysis.send_time.schedule import allowed_hours, schedule_sends
from pipeline.analysis.send_time.subscribers import SendTimes, analyse_send_times, with_zones
from pipeline.charts.figures import delay_chart, send_time_chart
from pipeline.common.people import blocks_of_people, only_mailable
from pipeline.common.written import standing
from pipeline.config.constraints import load_constraints
from pipeline.lake.store import Lake
from pipeline.orchestration.asset import Latest, Night, asset, preview
from pipeline.orchestration.picture import image
from pipeline.schemas import core, lake, reductions
from pipeline.schemas import timing as marts
from pipeline.schemas.vocabulary import ProposalKind
from pipeline.settings import Settings

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


@asset(*(marts.DelayCurves, marts.DelayRecommendations), group="timing", summary=(_curve_summary, _delay_summary))
def compare_delays(
    assigned_delays: DataFrame[reductions.AssignedDelays],
    edges: DataFrame[core.CoreEdges],
    steps: DataFrame[core.CoreSteps],
    night: Night,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What each delay that was used converts, and whether another one is better than now."""
    days = night.settings.delay_horizon_days
    outcomes = delay_outcomes(assigned_delays, steps, as_of=night.as_of, horizon_days=days)
    found = analyse_delays(outcomes, current_delays(edges, steps, as_of=night.as_of), as_of_day=night.as_of)
    return found.curves, found.recommendations


@asset(
    marts.EngagementHours,
    group="timing",
    summary=lambda rows: {"cells": rows.height, "thin": int(rows["is_thin"].sum())},
)
def hours_of_engagement(
    hours_of_week: DataFrame[reductions.HoursOfWeek], workflows: DataFrame[core.CoreWorkflows], night: Night
) -> pl.DataFrame:
    """Clicks by people by local weekday and hour of sending."""
    return engagement_hours(hours_of_week, workflows, as_of=night.as_of, days=night.settings.send_time_days)


def _pressure_summary(rows: pl.DataFrame) -> dict[str, Any]:
    account = rows.filter(pl.col("workflow_id").is_null() & (pl.col("period") == "7d")).sort("messages_from")
    rates = ["messages_from", "delivered", "human_click_rate", "unsubscribe_rate", "expected_unsubscribe_rate"]
    return {"the account, 7 days": preview(account.select(rates)), "messages": int(account["delivered"].sum())}


@asset(marts.FrequencyPressure, group="timing", summary=_pressure_summary)
def pressure_of_mail(
    frequency_days: DataFrame[reductions.FrequencyDays], workflows: DataFrame[core.CoreWorkflows], night: Night
) -> pl.DataFrame:
    """How people take the next message after few or many."""
    days, maturity_days = night.settings.send_time_days, night.settings.maturity_days
    return frequency_pressure(frequency_days, workflows, as_of=night.as_of, days=days, maturity_days=maturity_days)


def _allowed(settings: Settings) -> list[int]:
    quiet_from, quiet_until = load_constraints(settings.definitions).quiet_hours or (None, None)
    return allowed_hours(quiet_from, quiet_until)


def _send_times(people: Iterable[tuple[pl.DataFrame, pl.DataFrame]], settings: Settings, as_of: date) -> SendTimes:
    """What was learnt about send times until a night, from blocks of people with their hours and sends until then."""
    return analyse_send_times(people, as_of_day=as_of, allowed_hours=_allowed(settings))


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
        "of_unknown_hours": subscribers.filter(pl.col("status") == "unknown hours").height,
    }


@asset(
    *(marts.SendTimeClusters, marts.SendTimeProfiles, marts.SubscriberSendTimes),
    group="timing",
    summary=(_cluster_summary, _profile_summary, _subscriber_summary),
)
def learn_send_times(
    hours: LazyFrame[reductions.SubscriberHours],
    messages: LazyFrame[core.CoreMessages],
    steps: DataFrame[core.CoreSteps],
    written: DataFrame[core.CoreWrittenValues],
    subscribers: LazyFrame[core.CoreSubscribers],
    store: Lake,
    night: Night,
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame]:
    """Clusters of alike days, their engagement by send hour, and the best allowed hour of those who can be mailed."""
    followed = load_constraints(night.settings.definitions).following_hours(steps)
    # Not a dependency: the draws of earlier nights count, and tonight's rest on what is learnt here.
    log, hours_written = store.latest(lake.SendTimeAssignments).collect(), _hours_of(written)
    as_of, days = night.as_of, night.settings.send_time_days

    def people() -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        for block in blocks_of_people(subscribers):
            sends, draws = engaged_sends(messages.filter(block), as_of=as_of, days=days), log.filter(block)
            told = sent_as_assigned(sends, draws, hours_written.filter(block), followed=followed)
            yield activity_hours(hours.filter(block), as_of=as_of, days=days), with_draws(sends, draws, told)

    found = _send_times(people(), night.settings, night.as_of)
    mailable = only_mailable(found.subscribers, subscribers)
    return found.clusters, found.profiles, with_zones(mailable, subscribers)


def _schedule_summary(schedules: pl.DataFrame) -> dict[str, Any]:
    own = schedules.filter(pl.col("fallback_level") == "cluster")
    return {
        "steps": schedules.select("workflow_id", "step_id").n_unique(),
        "subscribers": int(schedules["subscribers"].sum()),
        "at_the_hour_of_their_cluster": int(own["subscribers"].sum()),
        "without_an_allowed_hour": int(own.filter(pl.col("local_hour").is_null())["subscribers"].sum()),
    }


@asset(marts.SendSchedules, group="timing", summary=_schedule_summary)
def schedules(
    subscribers: DataFrame[marts.SubscriberSendTimes],
    profiles: DataFrame[marts.SendTimeProfiles],
    entries: LazyFrame[core.CoreStepEntries],
    messages: LazyFrame[core.CoreMessages],
    steps: DataFrame[core.CoreSteps],
    people: LazyFrame[core.CoreSubscribers],
    night: Night,
) -> pl.DataFrame:
    """The hours at which to mail those who wait tonight, within the user's constraints."""
    constraints = load_constraints(night.settings.definitions)
    expected = only_mailable(audience(entries, steps, as_of=night.as_of), people)
    if cap := constraints.frequency_cap:
        expected = below_cap(expected, messages, as_of=night.as_of, most=cap.messages, days=cap.days)
    return schedule_sends(expected, subscribers, profiles, constraints.of_steps(steps), as_of_day=night.as_of)


@asset(
    marts.SendTimeAssignments,
    group="timing",
    summary=lambda rows: {
        "assigned": rows.height,
        "drawn_by_lot": int(rows["is_randomised"].sum()),
        "served": int(rows["is_served"].sum()),
        "period_first_day": str(rows["period_first_day"].max()),
    },
)
def assignments(
    subscribers: DataFrame[marts.SubscriberSendTimes], written: DataFrame[core.CoreWrittenValues], night: Night
) -> pl.DataFrame:
    """The hour for the sender to use: drawn by lot for a share, the recommended one for the rest."""
    share, stands = night.settings.send_time_exploration_share, standing(_hours_of(written), night.as_of)
    return assign_hours(subscribers, stands, share=share, allowed=_allowed(night.settings), as_of_day=night.as_of)


def _hours_of(written: pl.DataFrame) -> pl.DataFrame:
    return written.filter(pl.col("proposed_kind") == ProposalKind.SEND_TIME)


@asset(lake.SendTimeAssignments, group="timing", kinds=("polars", "parquet"))
def assignment_log(assignments: DataFrame[marts.SendTimeAssignments]) -> pl.DataFrame:
    """What was assigned, kept for the night that asks what it brought."""
    return logged_assignments(assignments)


@asset(marts.SendTimeLift, group="timing", summary=lambda rows: rows.select(LIFT_NUMBERS).row(0, named=True))
def lift(
    hours: LazyFrame[reductions.SubscriberHours],
    messages: LazyFrame[core.CoreMessages],
    subscribers: LazyFrame[core.CoreSubscribers],
    steps: DataFrame[core.CoreSteps],
    log: Latest[lake.SendTimeAssignments],
    written: DataFrame[core.CoreWrittenValues],
    night: Night,
) -> pl.DataFrame:
    """What recommended hours bring, on messages whose hour was drawn after the recommended hours were learnt."""
    days, blocks = night.settings.send_time_days, blocks_of_people(subscribers)
    followed, hours_written = load_constraints(night.settings.definitions).following_hours(steps), _hours_of(written)
    sends = pl.concat(
        sent_as_assigned(
            engaged_sends(messages.filter(block), as_of=night.as_of, days=days),
            log.filter(block),
            hours_written.filter(block),
            followed=followed,
        ).select(LOGGED)
        for block in blocks
    )
    # Before any flow follows the assigned hours there is nothing to evaluate, and no need to learn them.
    first = min(followed["followed_from"].to_list(), default=date.min + timedelta(days=days))
    until = min(first, night.as_of) - timedelta(days=1)
    people = (
        (
            activity_hours(hours.filter(block), as_of=until, days=days),
            engaged_sends(messages.filter(block), as_of=until, days=days),
        )
        for block in blocks
    )
    learnt = _send_times(people, night.settings, until)
    return evaluate_send_times(
        sends, learnt.subscribers, learnt.profiles, hours=len(_allowed(night.settings)), as_of_day=night.as_of
    )
