"""Timing marts: when subscribers engage and when steps should be sent; what delays between steps convert."""

import polars as pl

from pipeline.schemas.base import Table, column, count, key, share, table

AS_OF = "tonight: the last day whose data were used"
METHOD = "how the row was estimated"
IDENTIFICATION = "'randomised', 'observational' or 'not identified'"


@table("marts.delay_curves", ("workflow_id", "from_step_id", "to_step_id", "delay_hours"))
class DelayCurves(Table):
    """Transition and delay that was used: conversion standardised over segments and four-week blocks."""

    as_of_day: pl.Date = column(AS_OF)
    workflow_id: pl.String = key("workflow")
    from_step_id: pl.String = key("step the delay starts at")
    to_step_id: pl.String = key("step the delay leads to")
    delay_hours: pl.Float64 = column("assigned delay", "hours", ge=0)
    is_current: pl.Boolean = column("whether this is the delay in use now")
    entrants: pl.Int64 = count("matured entrants with this assigned delay")
    conversions: pl.Int64 = count("entrants converted within the fixed horizon")
    conversion_rate: pl.Float64 = share("standardised conversion rate, posterior mean")
    conversion_rate_low: pl.Float64 = share("lower end of its 97.5% posterior interval")
    conversion_rate_high: pl.Float64 = share("upper end of its 97.5% posterior interval")
    ratio_to_current: pl.Float64 = column(
        "conversion relative to the delay in use, posterior mean", "ratio", nullable=True
    )
    ratio_to_current_low: pl.Float64 = column("lower end of its 97.5% posterior interval", "ratio", nullable=True)
    ratio_to_current_high: pl.Float64 = column("upper end of its 97.5% posterior interval", "ratio", nullable=True)
    best_probability: pl.Float64 = share("probability that this delay converts best of those compared")
    better_probability: pl.Float64 = share("probability that it converts better than now; null for the current delay")
    is_mature: pl.Boolean = column("whether the horizon of every entrant has closed")
    identification: pl.String = column(IDENTIFICATION, isin=["randomised", "observational", "not identified"])
    status: pl.String = column("'ok', or why there is no estimate")
    method: pl.String = column(METHOD)


@table("marts.delay_recommendations", ("workflow_id", "from_step_id", "to_step_id"))
class DelayRecommendations(Table):
    """Transition: the best delay among those used, what it would bring, and how well that is known."""

    as_of_day: pl.Date = column(AS_OF)
    workflow_id: pl.String = key("workflow")
    from_step_id: pl.String = key("step the delay starts at")
    to_step_id: pl.String = key("step the delay leads to")
    current_delay_hours: pl.Float64 = column("delay in use now", "hours", nullable=True)
    recommended_delay_hours: pl.Float64 = column("delay with the highest expected conversion", "hours", nullable=True)
    delays_compared: pl.Int64 = count("delays comparable with the current one, itself included")
    entrants: pl.Int64 = count("matured entrants used")
    conversions: pl.Int64 = count("entrants converted within the fixed horizon")
    improvement: pl.Float64 = column("conversion against now, less one: posterior mean", "ratio", nullable=True)
    improvement_low: pl.Float64 = column("lower end of its 97.5% posterior interval", "ratio", nullable=True)
    improvement_high: pl.Float64 = column("upper end of its 97.5% posterior interval", "ratio", nullable=True)
    best_probability: pl.Float64 = share("probability that it is the best of the delays compared")
    better_probability: pl.Float64 = share("probability that it is better than now; null where it is the current one")
    action: pl.String = column(
        "'change', 'test' (not sure enough), 'keep' or 'wait'", isin=["change", "test", "keep", "wait"]
    )
    identification: pl.String = column(IDENTIFICATION, isin=["randomised", "observational", "not identified"])
    status: pl.String = column("'ok', or why there is no estimate")
    entrants_needed: pl.Int64 = count("further matured entrants until something can be said")
    method: pl.String = column(METHOD)


@table("marts.engagement_hours", ("workflow_id", "local_weekday", "local_hour"))
class EngagementHours(Table):
    """One row per workflow or the whole account, local weekday and hour of sending: clicks by people; no advice."""

    as_of_day: pl.Date = column(AS_OF)
    first_day: pl.Date = column("first day of sending that counts")
    workflow_id: pl.String = column("workflow; null = the whole account", "id", nullable=True)
    local_weekday: pl.Int64 = column("local day of sending, Monday = 0", "0-6", ge=0, le=6)
    local_hour: pl.Int64 = column("local hour of sending", "0-23", ge=0, le=23)
    delivered: pl.Int64 = count("messages delivered")
    unique_human_clicks: pl.Int64 = count("of them clicked without a mark of a machine")
    human_click_rate: pl.Float64 = share("unique_human_clicks / delivered")
    human_click_rate_low: pl.Float64 = share("lower end of its Wilson 95% interval")
    human_click_rate_high: pl.Float64 = share("upper end of its Wilson 95% interval")
    shrunk_click_rate: pl.Float64 = share("the same, shrunk to the workflow's rate")
    shrunk_click_rate_low: pl.Float64 = share("lower end of its 95% posterior interval")
    shrunk_click_rate_high: pl.Float64 = share("upper end of its 95% posterior interval")
    is_thin: pl.Boolean = column("fewer than five clicks to be expected: says nothing by itself")
    method: pl.String = column(METHOD)


@table("marts.send_time_clusters", ("cluster_id",))
class SendTimeClusters(Table):
    """Cluster of subscribers with alike days; numbered by the hour of most activity."""

    as_of_day: pl.Date = column(AS_OF)
    cluster_id: pl.Int64 = key("cluster")
    subscribers: pl.Int64 = count("subscribers in the cluster")
    behaviour_events: pl.Int64 = count("entries, visits and purchases")
    sends: pl.Int64 = count("messages that did not bounce")
    engagements: pl.Int64 = count("messages opened or clicked by a human")
    engagement_rate: pl.Float64 = share("engagements / sends")
    engagement_rate_low: pl.Float64 = share("lower end of its Wilson 95% interval")
    engagement_rate_high: pl.Float64 = share("upper end of its Wilson 95% interval")
    active_local_hour: pl.Int64 = column("hour of most activity", "local hour, 0-23", ge=0, le=23)
    best_local_hour: pl.Int64 = column("send hour of most engagement", "local hour, 0-23", nullable=True, ge=0, le=23)
    best_local_weekday: pl.Int64 = column(
        "day of most engagement, Monday = 0; null where days do not differ beyond chance",
        "0-6",
        nullable=True,
        ge=0,
        le=6,
    )
    status: pl.String = column("'ok' or 'no engagement'")
    method: pl.String = column(METHOD)


@table("marts.send_time_profiles", ("cluster_id", "local_hour"))
class SendTimeProfiles(Table):
    """Cluster and local hour: how active its subscribers are, and how they engage with mail sent at that hour."""

    as_of_day: pl.Date = column(AS_OF)
    cluster_id: pl.Int64 = key("cluster")
    local_hour: pl.Int64 = column("local hour", "0-23", ge=0, le=23)
    activity_share: pl.Float64 = share("share of the cluster's activity that falls on this hour", nullable=False)
    sends: pl.Int64 = count("messages sent at this hour")
    engagements: pl.Int64 = count("of them opened or clicked by a human")
    engagement_rate: pl.Float64 = share("engagements / sends")
    engagement_rate_low: pl.Float64 = share("lower end of its Wilson 95% interval")
    engagement_rate_high: pl.Float64 = share("upper end of its Wilson 95% interval")
    expected_engagements: pl.Float64 = column("engagements if the hour did not matter", "count", ge=0)
    engagement_ratio: pl.Float64 = column("engagements / expected, shrunk with 60 expected ones", "ratio", ge=0)
    status: pl.String = column("'ok' or 'not enough data' (nothing sent at this hour)")
    method: pl.String = column(METHOD)


@table("marts.subscriber_send_times", ("subscriber_key",))
class SubscriberSendTimes(Table):
    """Subscriber: today's local hour of sending and the one recommended."""

    as_of_day: pl.Date = column(AS_OF)
    subscriber_key: pl.Int64 = key("subscriber (keyed hash)")
    cluster_id: pl.Int64 = key("cluster of alike days")
    sends: pl.Int64 = count("messages that did not bounce")
    engagements: pl.Int64 = count("messages opened or clicked by a human")
    behaviour_events: pl.Int64 = count("entries, visits and purchases")
    current_local_hour: pl.Int64 = column(
        "most frequent hour of sending; null before the first mail", "local hour, 0-23", nullable=True, ge=0, le=23
    )
    recommended_local_hour: pl.Int64 = column(
        "hour to send at; today's where too little is known", "local hour, 0-23", nullable=True, ge=0, le=23
    )
    confidence_probability: pl.Float64 = share("probability that the recommended hour is at least as good as today's")
    fallback_level: pl.String = column("'subscriber' or 'current hour'", isin=["subscriber", "current hour"])
    status: pl.String = column("'ok', 'not enough data' or 'no engagement'")
    sends_needed: pl.Int64 = count("further sends until an own hour can be recommended")
    method: pl.String = column(METHOD)


@table("marts.send_time_assignments", ("subscriber_key",))
class SendTimeAssignments(Table):
    """Subscriber: the hour for the sender to use, drawn by lot for a share and the recommended one for the rest."""

    as_of_day: pl.Date = column(AS_OF)
    subscriber_key: pl.Int64 = key("subscriber (keyed hash)")
    period_first_day: pl.Date = column("first day of the four weeks for which the draw stands", "date")
    assigned_local_hour: pl.Int64 = column("hour to send at", "local hour, 0-23", ge=0, le=23)
    is_randomised: pl.Boolean = column("the hour was drawn by lot among the allowed ones")
    choice_probability: pl.Float64 = share(
        "chance with which this hour was going to be assigned, drawn or not", nullable=False
    )
    method: pl.String = column(METHOD)


@table("marts.send_time_lift", ("estimator",))
class SendTimeLift(Table):
    """Estimator: what the recommended hours bring, measured only on messages whose hour was drawn."""

    as_of_day: pl.Date = column(AS_OF)
    estimator: pl.String = column("'snips' or 'doubly robust'", isin=["snips", "doubly robust"])
    randomised_sends: pl.Int64 = count("messages with a known probability of their hour")
    recommended_sends: pl.Int64 = count("of them sent at the recommended hour")
    current_sends: pl.Int64 = count("of them sent at today's hour")
    effective_sends: pl.Float64 = column("effective number behind the weaker of both rates", "count", ge=0)
    recommended_engagement_rate: pl.Float64 = share("engagement rate had everybody the recommended hour")
    current_engagement_rate: pl.Float64 = share("engagement rate had everybody today's hour")
    engagement_lift: pl.Float64 = column("ratio of both rates, less one", "ratio", nullable=True)
    engagement_lift_low: pl.Float64 = column("lower end of its 95% interval", "ratio", nullable=True)
    engagement_lift_high: pl.Float64 = column("upper end of its 95% interval", "ratio", nullable=True)
    is_lift_shown: pl.Boolean = column("whether the lower end of the 90% interval lies above zero")
    randomised_sends_needed: pl.Int64 = count("further drawn messages until the lift can be estimated")
    exploration_share: pl.Float64 = share(
        "share of messages whose hour to draw next, 0 once the lift is shown", nullable=False
    )
    status: pl.String = column("'ok' or 'cannot be estimated'")
    method: pl.String = column(METHOD)


@table("marts.send_schedules", ("workflow_id", "step_id", "fallback_level", "cluster_id", "local_hour"))
class SendSchedules(Table):
    """Step, cluster and local hour: how many of the step's audience to send to then."""

    as_of_day: pl.Date = column(AS_OF)
    workflow_id: pl.String = key("workflow")
    step_id: pl.String = key("step")
    cluster_id: pl.Int64 = column("cluster; null for those who keep today's hour", "id", nullable=True)
    local_hour: pl.Int64 = column("local hour; null = today's is kept", "0-23", nullable=True, ge=0, le=23)
    local_weekdays: pl.String = column("days on which the step may be sent, as Mon,Tue")
    subscribers: pl.Int64 = count("subscribers to send to")
    engagement_ratio: pl.Float64 = column(
        "the cluster's engagement at this hour against its average; no lift", "ratio", nullable=True, ge=0
    )
    fallback_level: pl.String = column("'cluster' or 'current hour'", isin=["cluster", "current hour"])
    status: pl.String = column("'ok', 'not enough data', 'no allowed hour' or 'cap too small'")
    method: pl.String = column(METHOD)
