"""Timing marts: which delays between steps convert best, when subscribers engage, and when to send to them."""

import polars as pl

from pipeline.schemas import vocabulary
from pipeline.schemas.base import STEP, SUBSCRIBER, WORKFLOW, Table, table
from pipeline.schemas.columns import WILSON, column, count, key, method_name, share, tonight, utc_day, word

HOUR = "local hour, 0-23"
WEEKDAY = "0-6, Monday = 0"
POSTERIOR = "97.5%, posterior"
HORIZON = "converted within the fixed horizon after entry into the first step"
COMPARED = "What the comparison of delays rests on."
CLUSTER = "Cluster of subscribers who are active at alike hours, numbered by their most active hour."
ENGAGED = "Those of `sends` that a person opened or clicked."
SENDS = "Messages that did not bounce."
BEHAVIOUR = "Entries, visits and purchases: what subscribers did without being asked by a message."


class _Transition(Table):
    as_of_day: pl.Date = tonight()
    workflow_id: pl.String = key(WORKFLOW)
    from_step_id: pl.String = key("Step after which the delay begins.")
    to_step_id: pl.String = key("Step that the delay leads to.")


@table("marts.delay_curves", ("workflow_id", "from_step_id", "to_step_id", "delay_hours"))
class DelayCurves(_Transition):
    """One row per transition and delay that was used: conversion, standardised over segments and four-week blocks."""

    delay_hours: pl.Float64 = column("Assigned delay.", "hours", ge=0)
    is_current: pl.Boolean = column("This is the delay in use now.")
    entrants: pl.Int64 = count("Entrants with this assigned delay whose horizon has closed.")
    conversions: pl.Int64 = count(f"Those of `entrants` who {HORIZON}.")
    conversion_rate: pl.Float64 = share(
        "Standardised conversion rate: posterior mean. Null if not compared.", interval=POSTERIOR
    )
    ratio_to_current: pl.Float64 = column(
        "Conversion / that of the current delay. Null if not compared.", "ratio", nullable=True, interval=POSTERIOR
    )
    best_probability: pl.Float64 = share("Probability that this delay converts best of those compared.")
    better_probability: pl.Float64 = share(
        "Probability of converting better than the current delay, for which it is null."
    )
    is_mature: pl.Boolean = column("The horizon of every entrant counted has closed.")
    identification: pl.String = word(COMPARED, vocabulary.Identification)
    status: pl.String = word("Whether the delay could be compared, and why not.", vocabulary.DelayStatus)
    method: pl.String = method_name()


@table("marts.delay_recommendations", ("workflow_id", "from_step_id", "to_step_id"))
class DelayRecommendations(_Transition):
    """One row per transition: the best delay among those used, what it would bring, and how sure that is."""

    current_delay_hours: pl.Float64 = column("Delay in use now. Null if none is planned.", "hours", nullable=True)
    recommended_delay_hours: pl.Float64 = column(
        "Delay with the highest conversion. Null if `status` is not 'ok'.", "hours", nullable=True
    )
    delays_compared: pl.Int64 = count("Delays that can be compared with the current one, itself included.")
    entrants: pl.Int64 = count("Entrants used, whose horizon has closed.")
    conversions: pl.Int64 = count(f"Those of `entrants` who {HORIZON}.")
    improvement: pl.Float64 = column(
        "Conversion of the recommended / the current delay - 1. Null if `status` is not 'ok' or `action` is 'test'.",
        "ratio",
        nullable=True,
        interval=POSTERIOR,
    )
    best_probability: pl.Float64 = share("Probability that the recommended delay is the best of those compared.")
    better_probability: pl.Float64 = share(
        "Probability of being better than the current delay. Null if it is the same."
    )
    action: pl.String = word("What to do about the delay.", vocabulary.DelayAction)
    identification: pl.String = word(COMPARED, vocabulary.Identification)
    status: pl.String = word("Whether delays could be compared, and why not.", vocabulary.DelayStatus)
    conversions_needed: pl.Int64 = count("Further conversions needed before delays can be compared.")
    test_days: pl.Int64 = column(
        "Time in which a test of delays has enough conversions, at the pace so far. Null if nobody converts.",
        "days",
        nullable=True,
    )
    method: pl.String = method_name()


@table("marts.engagement_hours", ("workflow_id", "local_weekday", "local_hour"))
class EngagementHours(Table):
    """One row per workflow, local weekday and local hour of sending: clicks by people. A description, not advice."""

    as_of_day: pl.Date = tonight()
    first_day: pl.Date = utc_day("First day of sending that counts; the last one is tonight.")
    workflow_id: pl.String = key("Workflow. Null for the whole account.", nullable=True)
    local_weekday: pl.Int64 = column("Day of sending in the subscriber's zone.", WEEKDAY, ge=0, le=6)
    local_hour: pl.Int64 = column("Hour of sending in the subscriber's zone.", HOUR, ge=0, le=23)
    delivered: pl.Int64 = count("Messages sent at that hour that did not bounce.")
    unique_human_clicks: pl.Int64 = count("Those of `delivered` with a click without a mark of a machine.")
    human_click_rate: pl.Float64 = share("unique_human_clicks / delivered.", interval=WILSON)
    shrunk_click_rate: pl.Float64 = share(
        "The same rate, drawn towards the workflow's rate: posterior mean.", interval="95%, posterior"
    )
    is_thin: pl.Boolean = column("Fewer than five clicks are to be expected, so the rate alone says nothing.")
    method: pl.String = method_name()


@table("marts.frequency_pressure", ("workflow_id", "period", "messages_from"))
class FrequencyPressure(Table, is_stamped=True):
    """One row per workflow, period and number of earlier messages: what came of the next one. It describes, no more."""

    as_of_day: pl.Date = tonight()
    first_day: pl.Date = utc_day("First day of sending that counts.")
    last_day: pl.Date = utc_day("Last day of sending that counts: the last one whose rates no longer change.")
    workflow_id: pl.String = key("Workflow of the next message. Null for the whole account.", nullable=True)
    period: pl.String = word("Days in which messages before the next one are counted.", vocabulary.FrequencyPeriod)
    messages_from: pl.Int64 = count("Least number of messages, of any workflow, that the recipient got in the period.")
    messages_to: pl.Int64 = count("Largest number of them. Null where there is no upper end.", nullable=True)
    delivered: pl.Int64 = count("Next messages that did not bounce.")
    unique_human_clicks: pl.Int64 = count("Those of `delivered` with a click without a mark of a machine.")
    unsubscribes: pl.Int64 = count("Those of `delivered` with an attributed unsubscribe.")
    human_click_rate: pl.Float64 = share("unique_human_clicks / delivered.", interval=WILSON)
    unsubscribe_rate: pl.Float64 = share("unsubscribes / delivered.", interval=WILSON)
    expected_human_click_rate: pl.Float64 = share("Click rate that the rates of the same steps give.", nullable=False)
    expected_unsubscribe_rate: pl.Float64 = share("The same of unsubscribes.", nullable=False)
    identification: pl.String = word("What the comparison rests on.", vocabulary.Identification)
    method: pl.String = method_name()


@table("marts.send_time_clusters", ("cluster_id",))
class SendTimeClusters(Table):
    """One row per cluster of subscribers who are active at alike hours."""

    as_of_day: pl.Date = tonight()
    cluster_id: pl.Int64 = key(CLUSTER)
    subscribers: pl.Int64 = count("Subscribers in the cluster.")
    behaviour_events: pl.Int64 = count(BEHAVIOUR)
    sends: pl.Int64 = count(SENDS)
    engagements: pl.Int64 = count(ENGAGED)
    engagement_rate: pl.Float64 = share("engagements / sends. Null without sends.", interval=WILSON)
    active_local_hour: pl.Int64 = column("Hour with most activity.", HOUR, ge=0, le=23)
    best_local_hour: pl.Int64 = column(
        "Hour of sending with most engagement, of those with enough mail. Null if there is none.",
        HOUR,
        nullable=True,
        ge=0,
        le=23,
    )
    best_local_weekday: pl.Int64 = column(
        "Day with most engagement. Null if days differ by no more than chance.", WEEKDAY, nullable=True, ge=0, le=6
    )
    status: pl.String = word("Whether best hours are known.", vocabulary.SendTimeStatus)
    method: pl.String = method_name()


@table("marts.send_time_profiles", ("cluster_id", "local_hour"))
class SendTimeProfiles(Table):
    """One row per cluster and local hour: activity of its subscribers, and their engagement with messages sent then."""

    as_of_day: pl.Date = tonight()
    cluster_id: pl.Int64 = key(CLUSTER)
    local_hour: pl.Int64 = column("Hour in the subscriber's zone.", HOUR, ge=0, le=23)
    activity_share: pl.Float64 = share("Share of the cluster's activity that falls on this hour.", nullable=False)
    sends: pl.Int64 = count("Messages sent at this hour that did not bounce.")
    engagements: pl.Int64 = count(ENGAGED)
    engagement_rate: pl.Float64 = share("engagements / sends. Null without sends.", interval=WILSON)
    expected_engagements: pl.Float64 = column("Engagements to expect if the hour did not matter.", "count", ge=0)
    engagement_ratio: pl.Float64 = column(
        "engagements / expected_engagements, drawn towards 1. Null if too little was sent.",
        "ratio",
        nullable=True,
        ge=0,
    )
    status: pl.String = word("Whether enough was sent at this hour to know.", vocabulary.SendTimeStatus)
    method: pl.String = method_name()


@table("marts.subscriber_send_times", ("subscriber_key",))
class SubscriberSendTimes(Table):
    """One row per subscriber: the local hour of sending today, and the one recommended."""

    as_of_day: pl.Date = tonight()
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    cluster_id: pl.Int64 = key(CLUSTER)
    sends: pl.Int64 = count(SENDS)
    engagements: pl.Int64 = count(ENGAGED)
    behaviour_events: pl.Int64 = count(BEHAVIOUR)
    current_local_hour: pl.Int64 = column(
        "Most frequent hour of sending so far. Null before the first message.", HOUR, nullable=True, ge=0, le=23
    )
    recommended_local_hour: pl.Int64 = column(
        "Send time to use: the subscriber's best hour, else the current one.", HOUR, nullable=True, ge=0, le=23
    )
    best_local_weekday: pl.Int64 = column(
        "Day with most engagement of the subscriber's cluster. Null if days differ by no more than chance.",
        WEEKDAY,
        nullable=True,
        ge=0,
        le=6,
    )
    time_zone: pl.String = column(
        "IANA time zone of these hours and days: the member's, else the account's. Null for who is no member.",
        nullable=True,
    )
    confidence_probability: pl.Float64 = share(
        "Probability that it is as good as the current one, or better. Null if unknown."
    )
    fallback_level: pl.String = word("What the recommended hour is.", vocabulary.HourSource)
    status: pl.String = word("Whether the subscriber has a best hour, and why not.", vocabulary.SendTimeStatus)
    sends_needed: pl.Int64 = count("Further messages needed before a best hour can be recommended.")
    method: pl.String = method_name()


@table("marts.send_time_assignments", ("subscriber_key",))
class SendTimeAssignments(Table):
    """One row per subscriber to be written to: the send time to use now, drawn at random for a share, to measure it."""

    as_of_day: pl.Date = tonight()
    subscriber_key: pl.Int64 = key(SUBSCRIBER)
    period_first_day: pl.Date = utc_day("First of the 28 days for which the draw holds.")
    assigned_local_hour: pl.Int64 = column("Hour to send at.", HOUR, ge=0, le=23)
    drawn_local_hour: pl.Int64 = column(
        "Hour to send at while hours are only drawn: today's where an earlier draw has ended. Null for everybody else.",
        HOUR,
        nullable=True,
        ge=0,
        le=23,
    )
    is_randomised: pl.Boolean = column("The hour was drawn at random among the allowed ones.")
    choice_probability: pl.Float64 = share("Chance with which this hour was assigned, drawn or not.", nullable=False)
    is_served: pl.Boolean = column("The hour stands in the account tonight, by the journal of what was written.")
    method: pl.String = method_name()


@table("marts.send_time_lift", ("estimator",))
class SendTimeLift(Table):
    """One row per estimator: what the recommended send times bring, from messages whose hour was drawn at random."""

    as_of_day: pl.Date = tonight()
    estimator: pl.String = word("Estimator.", vocabulary.SendTimeEstimator)
    randomised_sends: pl.Int64 = count("Messages whose hour had a known chance.")
    recommended_sends: pl.Int64 = count("Those of them sent at the recommended hour.")
    current_sends: pl.Int64 = count("Those of them sent at the current hour.")
    effective_sends: pl.Float64 = column("Effective number behind the weaker of both rates.", "count", ge=0)
    recommended_engagement_rate: pl.Float64 = share("Engagement rate if everybody had the recommended hour.")
    current_engagement_rate: pl.Float64 = share("Engagement rate if everybody had the current hour.")
    engagement_lift: pl.Float64 = column(
        "Ratio of both rates - 1. Null without an estimate.", "ratio", nullable=True, interval="95%"
    )
    is_lift_shown: pl.Boolean = column("The lower end of the 90% interval of the lift lies above zero.")
    randomised_sends_needed: pl.Int64 = count(
        "Further messages at a drawn hour until the lift is known to within 10% to either side."
    )
    exploration_share: pl.Float64 = share("Share to draw at random next; 0 once the lift is shown.", nullable=False)
    status: pl.String = word("Whether the lift could be estimated.", vocabulary.SendTimeLiftStatus)
    method: pl.String = method_name()


@table("marts.send_schedules", ("workflow_id", "step_id", "fallback_level", "cluster_id", "local_hour"))
class SendSchedules(Table):
    """One row per step, cluster and local hour: how many of the step's audience to send to at that hour."""

    as_of_day: pl.Date = tonight()
    workflow_id: pl.String = key(WORKFLOW)
    step_id: pl.String = key(STEP)
    cluster_id: pl.Int64 = key("Cluster. Null for those who keep their current hour.", nullable=True)
    local_hour: pl.Int64 = column("Hour to send at. Null if the current one is kept.", HOUR, nullable=True, ge=0, le=23)
    local_weekdays: pl.String = column("Days on which the step may be sent, such as Mon,Tue.")
    subscribers: pl.Int64 = count("Subscribers to send to.")
    engagement_ratio: pl.Float64 = column(
        "Engagement of the cluster at this hour / at an average hour. Not a lift.", "ratio", nullable=True, ge=0
    )
    fallback_level: pl.String = word("What the hour is taken from.", vocabulary.ScheduleSource)
    status: pl.String = word("Whether the schedule fits the constraints.", vocabulary.ScheduleStatus)
    method: pl.String = method_name()
