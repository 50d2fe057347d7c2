"""The local hour at which each subscriber engages best, from the clusters of subscribers whose days are alike.

Here: the choice of an hour, the confidence in it, and the tables of a night. Schedules of steps are made in `schedule`;
the lift of the hours is measured in `evaluation`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from scipy.stats import norm

from pipeline.analysis.send_time.profiles import HOURS, HourCounts, Profiles, fit_profiles, hour_counts
from pipeline.analysis.send_time.rates import (
    PSEUDO_EXPECTED,
    ClusterRates,
    Exposure,
    cluster_rates,
    exposure,
    membership,
    pooled_logistic,
)
from pipeline.analysis.send_time.weekdays import best_weekdays
from pipeline.analysis.statistics.intervals import rate_with_interval
from pipeline.schemas.base import conform, empty
from pipeline.schemas.timing import SendTimeClusters, SendTimeProfiles, SubscriberSendTimes

METHOD = "k-means on activity, mixture and pooled logistic of engagement by send hour"
MINIMUM_SENDS = 10
"""With fewer sends a subscriber's own hour cannot be told from chance, so today's hour is kept."""


@dataclass(frozen=True)
class SendTimes:
    """The tables of one night.

    Attributes:
        clusters: `send_time_clusters`, one row per cluster.
        profiles: `send_time_profiles`, one row per cluster and local hour.
        subscribers: `subscriber_send_times`, one row per subscriber.
    """

    clusters: pl.DataFrame
    profiles: pl.DataFrame
    subscribers: pl.DataFrame


def analyse_send_times(
    hours: pl.DataFrame, sends: pl.DataFrame, *, as_of_day: date, allowed_hours: Sequence[int] = range(HOURS)
) -> SendTimes:
    """Find clusters of subscribers, their engagement by hour of sending, and the best local hour of each subscriber.

    Args:
        hours: one row per `subscriber_key` and `local_hour_of_week` (0-167, Monday 00 = 0) with the counts `sends`,
            `human_clicks`, `human_opens` and `behaviour_events`, each at the local hour at which it happened.
        sends: one row per send: `subscriber_key`, `local_hour` (0-23, of sending), `is_engaged` (opened or clicked by
            a person).
        as_of_day: tonight.
        allowed_hours: local hours at which mail may be sent.

    Returns:
        The three tables. A subscriber with fewer than ten sends keeps today's hour (`fallback_level` 'current hour';
        `sends_needed` says how many sends are missing). The others get an hour of their own ('subscriber').

    Raises:
        ValueError: if no hour is allowed, or one is not an hour.

    The engagement of a subscriber by hour of sending, relative to the subscriber's own average, is the mean, on the log
    scale, of a mixture over clusters and of a logistic regression over all sends. `confidence_probability` is the
    probability that the recommended hour engages the subscriber at least as well as the current one; it is 1 where both
    are the same. How much is gained is not known from this, but only from hours drawn by lot.
    """
    _check_hours(allowed_hours)
    if hours.is_empty():
        return SendTimes(empty(SendTimeClusters), empty(SendTimeProfiles), empty(SubscriberSendTimes))
    counts = hour_counts(hours)
    profiles = fit_profiles(counts)
    exposed = exposure(sends, counts.subscriber_key)
    rates = cluster_rates(exposed, profiles.cluster, len(profiles.centres))
    weekdays = best_weekdays(counts, profiles.cluster, len(profiles.centres))
    choice = _choose(counts, profiles, exposed, rates, sorted(set(allowed_hours)))
    stamp = [pl.lit(as_of_day).alias("as_of_day"), pl.lit(METHOD).alias("method")]
    return SendTimes(
        conform(_clusters_frame(counts, profiles, rates, weekdays).with_columns(stamp), SendTimeClusters),
        conform(_profiles_frame(profiles, rates).with_columns(stamp), SendTimeProfiles),
        conform(
            _subscribers_frame(counts, profiles, exposed, choice, weekdays).with_columns(stamp), SubscriberSendTimes
        ),
    )


def with_zones(send_times: pl.DataFrame, subscribers: pl.DataFrame) -> pl.DataFrame:
    """Rows of `subscriber_send_times` with the zone of each subscriber's local time, from `core.subscribers`."""
    zones = subscribers.select("subscriber_key", time_zone="zone")
    joined = send_times.drop("time_zone").join(zones, on="subscriber_key", how="left", maintain_order="left")
    return joined.select(send_times.columns)


@dataclass(frozen=True)
class _Choice:
    """For each subscriber today's hour (-1 = never mailed), the best allowed hour, and the confidence in it."""

    current: np.ndarray
    best: np.ndarray
    confidence: np.ndarray


def _check_hours(allowed_hours: Sequence[int]) -> None:
    wrong = [hour for hour in allowed_hours if not 0 <= hour < HOURS]
    if wrong or not allowed_hours:
        raise ValueError(f"allowed hours are {list(allowed_hours)}. Give at least one whole hour from 0 to 23.")


def _choose(
    counts: HourCounts,
    profiles: Profiles,
    exposed: Exposure,
    rates: ClusterRates,
    allowed: list[int],
) -> _Choice:
    """Average mixture and logistic on the log scale; their spread and disagreement give the confidence."""
    log_ratio = np.log(rates.ratio).astype(np.float32)
    weights = membership(exposed, profiles, rates).astype(np.float32)
    mixture = weights @ log_ratio
    logistic = pooled_logistic(exposed, profiles.roots)
    blend = (mixture + logistic) / 2
    current = np.where(counts.sends.any(axis=1), counts.sends.argmax(axis=1), -1)
    best = np.asarray(allowed)[blend[:, allowed].argmax(axis=1)]

    row = np.arange(len(best))
    gain = blend[row, best] - blend[row, current]
    by_cluster = log_ratio.T[best] - log_ratio.T[current]
    mean = (weights * by_cluster).sum(axis=1)
    spread = (weights * by_cluster**2).sum(axis=1) - mean**2
    disagreement = (logistic[row, best] - logistic[row, current] - mean) ** 2 / 4
    # The variance of a cluster's log-ratio at an hour is one divided by its engagements, shrunk like the ratio.
    noise = (1 / (rates.engaged + PSEUDO_EXPECTED)).T.astype(np.float32)
    estimation = (weights * (noise[best] + noise[current])).sum(axis=1)
    error = np.sqrt(spread + disagreement + estimation)
    return _Choice(current, best, np.where(best == current, 1.0, norm.cdf(gain / error)))


def _subscribers_frame(
    counts: HourCounts, profiles: Profiles, exposed: Exposure, choice: _Choice, weekdays: np.ndarray
) -> pl.DataFrame:
    columns = {
        "subscriber_key": counts.subscriber_key,
        "cluster_id": profiles.cluster,
        "sends": exposed.sends.sum(axis=1).astype(np.int64),
        "engagements": exposed.engaged.sum(axis=1).astype(np.int64),
        "behaviour_events": counts.behaviour.sum(axis=1).astype(np.int64),
        "current_local_hour": choice.current,
        "best_local_weekday": weekdays[profiles.cluster],
        "best": choice.best,
        "confidence": choice.confidence,
    }
    is_known = pl.col("fallback_level") == "subscriber"
    engaged_anywhere = bool(exposed.engaged.any())
    return (
        pl.DataFrame(columns)
        .with_columns(
            current_local_hour=pl.when(pl.col("current_local_hour") >= 0).then("current_local_hour"),
            best_local_weekday=pl.when(pl.col("best_local_weekday") >= 0).then("best_local_weekday"),
            fallback_level=pl.when((pl.col("sends") >= MINIMUM_SENDS) & engaged_anywhere)
            .then(pl.lit("subscriber"))
            .otherwise(pl.lit("current hour")),
            sends_needed=(MINIMUM_SENDS - pl.col("sends")).clip(lower_bound=0),
        )
        .with_columns(
            recommended_local_hour=pl.when(is_known).then("best").otherwise("current_local_hour"),
            confidence_probability=pl.when(is_known).then("confidence"),
            status=pl.when(is_known)
            .then(pl.lit("ok"))
            .when(pl.col("sends_needed") > 0)
            .then(pl.lit("not enough data"))
            .otherwise(pl.lit("no engagement")),
        )
        .drop("best", "confidence")
    )


def _clusters_frame(counts: HourCounts, profiles: Profiles, rates: ClusterRates, weekdays: np.ndarray) -> pl.DataFrame:
    clusters = len(profiles.centres)
    behaviour = np.bincount(profiles.cluster, weights=counts.behaviour.sum(axis=1), minlength=clusters)
    frame = pl.DataFrame(
        {
            "cluster_id": np.arange(clusters),
            "subscribers": np.bincount(profiles.cluster, minlength=clusters),
            "behaviour_events": behaviour.astype(np.int64),
            "sends": rates.sends.sum(axis=1).astype(np.int64),
            "engagements": rates.engaged.sum(axis=1).astype(np.int64),
            "active_local_hour": profiles.centres.argmax(axis=1),
            "best_local_hour": rates.ratio.argmax(axis=1),
            "best_local_weekday": weekdays,
        }
    )
    is_known = pl.col("engagements") > 0
    return frame.with_columns(
        *rate_with_interval("engagement_rate", "engagements", "sends"),
        best_local_hour=pl.when(is_known).then("best_local_hour"),
        best_local_weekday=pl.when(pl.col("best_local_weekday") >= 0).then("best_local_weekday"),
        status=pl.when(is_known).then(pl.lit("ok")).otherwise(pl.lit("no engagement")),
    )


def _profiles_frame(profiles: Profiles, rates: ClusterRates) -> pl.DataFrame:
    clusters = len(profiles.centres)
    frame = pl.DataFrame(
        {
            "cluster_id": np.repeat(np.arange(clusters), HOURS),
            "local_hour": np.tile(np.arange(HOURS), clusters),
            "activity_share": profiles.centres.ravel(),
            "sends": rates.sends.ravel().astype(np.int64),
            "engagements": rates.engaged.ravel().astype(np.int64),
            "expected_engagements": rates.expected.ravel(),
            "engagement_ratio": rates.ratio.ravel(),
        }
    )
    return frame.with_columns(
        *rate_with_interval("engagement_rate", "engagements", "sends"),
        status=pl.when(pl.col("sends") > 0).then(pl.lit("ok")).otherwise(pl.lit("not enough data")),
    )
