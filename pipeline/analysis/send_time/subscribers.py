"""The local hour at which each subscriber engages best, from the clusters of subscribers whose days are alike.

Here: the choice of an hour, the confidence in it, and the tables of a night. Schedules of steps are made in `schedule`;
the lift of the hours is measured in `evaluation`.

An hour that was never used is unknown, not measured. Where all mail had gone out at 10:00 and nothing told the free
hours of people, a model over all hours moved everybody, at a stated confidence of .79 against a true .46, and a quarter
fewer engaged. So an hour is recommended only where the subscriber's cluster got enough mail at it, and only to people
of whom behavioural events or hours drawn by lot tell when they are free.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from scipy.special import ndtr
from threadpoolctl import threadpool_limits

from pipeline.analysis.send_time.counts import HOURS, HourCounts, count_hours
from pipeline.analysis.send_time.profiles import Profiles, fit_profiles
from pipeline.analysis.send_time.rates import (
    PSEUDO_EXPECTED,
    ClusterRates,
    PooledLogistic,
    cluster_rates,
    cluster_sizes,
    exposure,
    membership,
    overall_rate,
    pooled_logistic,
)
from pipeline.analysis.send_time.weekdays import best_weekdays
from pipeline.analysis.statistics.intervals import rate_with_interval
from pipeline.schemas.base import conform, empty
from pipeline.schemas.timing import SendTimeClusters, SendTimeProfiles, SubscriberSendTimes

METHOD = "k-means on activity, mixture and pooled logistic of engagement by send hour"
MINIMUM_SENDS = 10
"""With fewer sends a subscriber's own hour cannot be told from chance, so today's hour is kept."""
MINIMUM_HOUR_SENDS = 10
"""With fewer sends to a cluster at an hour, what mail does at that hour is unknown: it is not recommended."""
MINIMUM_BEHAVIOUR = 3
"""With fewer behavioural events the free hours of a subscriber are unknown: only hours drawn by lot tell then."""


PERSONAL_SPREAD = 0.3
"""How far, on the log scale, two hours compare otherwise for a subscriber of unknown free hours than for others."""


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
    people: Iterable[tuple[pl.DataFrame, pl.DataFrame]],
    *,
    as_of_day: date,
    allowed_hours: Sequence[int] = range(HOURS),
) -> SendTimes:
    """Find clusters of subscribers, their engagement by hour of sending, and the best local hour of each subscriber.

    Args:
        people: blocks of people, whose keys rise from block to block. Each is held only until it is counted. The first
            frame has rows of a `subscriber_key` and `local_hour_of_week` (0-167, Monday 00 = 0) with the counts
            `sends`, `human_clicks`, `human_opens` and `behaviour_events`, each at the local hour at which it happened.
            The second has one row per send: `subscriber_key`, `local_hour` (0-23, of sending), `is_engaged` (opened or
            clicked by a person) and `is_drawn` (the hour was drawn by lot; without the column, of none).
        as_of_day: tonight.
        allowed_hours: local hours at which mail may be sent.

    Returns:
        The three tables. A subscriber with fewer than ten sends keeps today's hour (`fallback_level` 'current hour';
        `sends_needed` says how many sends are missing). So does one of whom no other hour is known (`status` 'unknown
        hours'). The others get an hour of their own ('subscriber').

    Raises:
        ValueError: if no hour is allowed, or one is not an hour.

    An hour is known if the subscriber's cluster got enough mail at it. A subscriber without enough behavioural events
    has only engagements, whose hours are mostly those of sending; then only mail at drawn hours makes an hour known.

    The engagement of a subscriber by hour of sending, relative to the subscriber's own average, is the mean, on the log
    scale, of a mixture over clusters and of a logistic regression over all sends. `confidence_probability` is the
    probability that the recommended hour engages the subscriber at least as well as the current one; it is 1 where both
    are the same. How much is gained is not known from this, but only from hours drawn by lot.
    """
    _check_hours(allowed_hours)
    blocks = [count_hours(hours, sends) for hours, sends in people if not hours.is_empty()]
    if not blocks:
        return SendTimes(empty(SendTimeClusters), empty(SendTimeProfiles), empty(SubscriberSendTimes))
    # The matrices are narrow: threads of linear algebra wait for each other longer than they work. With one thread sums
    # also have one order, so that equal input gives equal clusters.
    with threadpool_limits(limits=1):
        overall, profiles = overall_rate(blocks), fit_profiles(blocks)
        rates = cluster_rates(blocks, overall, profiles)
        learnt = _Learnt(overall, profiles, rates, pooled_logistic(blocks, overall, profiles))
        weekdays = best_weekdays(blocks, profiles)
        rows = [
            _subscribers_frame(block, cluster, _choose(block, cluster, learnt, sorted(set(allowed_hours))), weekdays)
            for block, cluster in zip(blocks, profiles.clusters, strict=True)
        ]
    stamp = [pl.lit(as_of_day).alias("as_of_day"), pl.lit(METHOD).alias("method")]
    subscribers = _with_levels(pl.concat(rows), is_engaged=bool(rates.engaged.any())).with_columns(stamp)
    return SendTimes(
        conform(_clusters_frame(blocks, profiles, rates, weekdays).with_columns(stamp), SendTimeClusters),
        conform(_profiles_frame(profiles, rates).with_columns(stamp), SendTimeProfiles),
        conform(subscribers, SubscriberSendTimes),
    )


def with_zones(send_times: pl.DataFrame, subscribers: pl.LazyFrame) -> pl.DataFrame:
    """Rows of `subscriber_send_times` with the zone of each subscriber's local time, from `core.subscribers`."""
    zones = subscribers.select("subscriber_key", time_zone="zone").collect()
    joined = send_times.drop("time_zone").join(zones, on="subscriber_key", how="left", maintain_order="left")
    return joined.select(send_times.columns)


@dataclass(frozen=True)
class _Learnt:
    """What was learnt from everybody: the account's rate, the clusters with their rates, and the regression."""

    overall: float
    profiles: Profiles
    rates: ClusterRates
    logistic: PooledLogistic


@dataclass(frozen=True)
class _Choice:
    """For each subscriber of a block today's hour (-1 = never mailed), the best known and allowed hour.

    `confidence` is that in the best hour. `is_known` says whether any allowed hour besides today's is known.
    """

    current: np.ndarray
    best: np.ndarray
    confidence: np.ndarray
    is_known: np.ndarray


def _check_hours(allowed_hours: Sequence[int]) -> None:
    wrong = [hour for hour in allowed_hours if not 0 <= hour < HOURS]
    if wrong or not allowed_hours:
        raise ValueError(f"allowed hours are {list(allowed_hours)}. Give at least one whole hour from 0 to 23.")


def _choose(block: HourCounts, cluster: np.ndarray, learnt: _Learnt, allowed: list[int]) -> _Choice:
    """Average mixture and logistic on the log scale; their spread and disagreement give the confidence."""
    profiles, rates = learnt.profiles, learnt.rates
    exposed = exposure(block, learnt.overall)
    log_ratio = np.log(rates.ratio).astype(np.float32)
    weights = membership(profiles.events(block), exposed, profiles, rates).astype(np.float32)
    mixture = weights @ log_ratio
    logistic = learnt.logistic.log_ratio(exposed, profiles.roots(block))
    blend = (mixture + logistic) / 2
    current = np.where(block.sends.any(axis=1), block.sends.argmax(axis=1), -1)
    known = _known_hours(block, cluster, rates)
    known[:, np.setdiff1d(np.arange(HOURS), allowed)] = False
    row = np.arange(len(current))
    is_other = known.copy()
    is_other[row, current] = False
    is_known = is_other.any(axis=1) & (current >= 0)
    best = np.where(is_known, np.where(known, blend, -np.inf).argmax(axis=1), current)
    gain = blend[row, best] - blend[row, current]
    by_cluster = log_ratio.T[best] - log_ratio.T[current]
    mean = (weights * by_cluster).sum(axis=1)
    spread = (weights * by_cluster**2).sum(axis=1) - mean**2
    disagreement = (logistic[row, best] - logistic[row, current] - mean) ** 2 / 4
    # The variance of a cluster's log-ratio at an hour is one divided by its engagements, shrunk like the ratio.
    noise = (1 / (rates.engaged + PSEUDO_EXPECTED)).T.astype(np.float32)
    estimation = (weights * (noise[best] + noise[current])).sum(axis=1)
    apart = np.where(_tells_free_hours(block), 0.0, PERSONAL_SPREAD**2)
    error = np.sqrt(spread + disagreement + estimation + apart)
    return _Choice(current, best, np.where(best == current, 1.0, ndtr(gain / error)), is_known)


def _known_hours(block: HourCounts, cluster: np.ndarray, rates: ClusterRates) -> np.ndarray:
    """Whether it is known what mail at an hour does, shape (subscribers, 24): the cluster got enough of it then."""
    tried, drawn = (sends[cluster] >= MINIMUM_HOUR_SENDS for sends in (rates.sends, rates.drawn))
    return np.asarray(np.where(_tells_free_hours(block)[:, None], tried, drawn))


def _tells_free_hours(block: HourCounts) -> np.ndarray:
    """Whether a subscriber has enough behavioural events, shape (subscribers,)."""
    return np.asarray(block.behaviour.sum(axis=1) >= MINIMUM_BEHAVIOUR)


def _subscribers_frame(block: HourCounts, cluster: np.ndarray, choice: _Choice, weekdays: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "subscriber_key": block.subscriber_key,
            "cluster_id": cluster,
            "sends": block.messages.sum(axis=1, dtype=np.int64),
            "engagements": block.engaged.sum(axis=1, dtype=np.int64),
            "behaviour_events": block.behaviour.sum(axis=1, dtype=np.int64),
            "current_local_hour": choice.current.astype(np.int8),
            "best_local_weekday": weekdays[cluster].astype(np.int8),
            "best": choice.best.astype(np.int8),
            "confidence": choice.confidence,
            "is_known": choice.is_known,
        }
    )


def _with_levels(subscribers: pl.DataFrame, *, is_engaged: bool) -> pl.DataFrame:
    """With the hour that is recommended to each subscriber, and why."""
    is_own = pl.col("fallback_level") == "subscriber"
    return (
        subscribers.with_columns(
            current_local_hour=pl.when(pl.col("current_local_hour") >= 0).then("current_local_hour"),
            best_local_weekday=pl.when(pl.col("best_local_weekday") >= 0).then("best_local_weekday"),
            fallback_level=pl.when((pl.col("sends") >= MINIMUM_SENDS) & is_engaged & pl.col("is_known"))
            .then(pl.lit("subscriber"))
            .otherwise(pl.lit("current hour")),
            sends_needed=(MINIMUM_SENDS - pl.col("sends")).clip(lower_bound=0),
        )
        .with_columns(
            recommended_local_hour=pl.when(is_own).then("best").otherwise("current_local_hour"),
            confidence_probability=pl.when(is_own).then("confidence"),
            status=pl.when(is_own)
            .then(pl.lit("ok"))
            .when(pl.col("sends_needed") > 0)
            .then(pl.lit("not enough data"))
            .otherwise(pl.lit("unknown hours" if is_engaged else "no engagement")),
        )
        .drop("best", "confidence", "is_known")
    )


def _clusters_frame(
    blocks: Sequence[HourCounts], profiles: Profiles, rates: ClusterRates, weekdays: np.ndarray
) -> pl.DataFrame:
    clusters = len(profiles.centres)
    behaviour = np.sum(
        [
            np.bincount(cluster, weights=block.behaviour.sum(axis=1), minlength=clusters)
            for block, cluster in zip(blocks, profiles.clusters, strict=True)
        ],
        axis=0,
    )
    frame = pl.DataFrame(
        {
            "cluster_id": np.arange(clusters),
            "subscribers": cluster_sizes(profiles),
            "behaviour_events": behaviour.astype(np.int64),
            "sends": rates.sends.sum(axis=1).astype(np.int64),
            "engagements": rates.engaged.sum(axis=1).astype(np.int64),
            "active_local_hour": profiles.centres.argmax(axis=1),
            "best_local_hour": np.where(rates.sends >= MINIMUM_HOUR_SENDS, rates.ratio, -np.inf).argmax(axis=1),
            "best_local_weekday": weekdays,
        }
    )
    is_known = (pl.col("engagements") > 0) & pl.Series((rates.sends >= MINIMUM_HOUR_SENDS).any(axis=1))
    is_engaged = pl.col("engagements") > 0
    return frame.with_columns(
        *rate_with_interval("engagement_rate", "engagements", "sends"),
        best_local_hour=pl.when(is_known).then("best_local_hour"),
        best_local_weekday=pl.when(pl.col("best_local_weekday") >= 0).then("best_local_weekday"),
        status=pl.when(is_known)
        .then(pl.lit("ok"))
        .when(is_engaged)
        .then(pl.lit("unknown hours"))
        .otherwise(pl.lit("no engagement")),
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
    is_known = pl.col("sends") >= MINIMUM_HOUR_SENDS
    return frame.with_columns(
        *rate_with_interval("engagement_rate", "engagements", "sends"),
        engagement_ratio=pl.when(is_known).then("engagement_ratio"),
        status=pl.when(is_known).then(pl.lit("ok")).otherwise(pl.lit("unknown hours")),
    )
