"""When subscribers are active: their profiles over the hours of the day, and clusters of subscribers that are alike.

Here: counts by local hour as matrices of (subscribers, hours), smoothed profiles, and k-means. How engagement depends
on the hour of sending is estimated in `rates`.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

HOURS = 24
WEEKDAYS = 7
CLUSTERS = 8
SUBSCRIBERS_PER_CLUSTER = 50
"""A cluster needs this many subscribers with a known profile, or its rates by hour are noise."""
PROFILE_PRIOR_EVENTS = 6.0
"""Weight of the account's profile in that of a subscriber, in events."""
SMOOTHING = {-1: 0.2, 0: 0.6, 1: 0.2}
"""Weights of the hours around an event, because people shift by an hour or so from day to day."""
FIT_SAMPLE = 20_000
SEED = 1_997


@dataclass(frozen=True)
class HourCounts:
    """Counts by local hour of the day, and by day of the week; one row per subscriber.

    Attributes:
        subscriber_key: sorted, shape (subscribers,).
        sends: messages by the hour of sending, shape (subscribers, 24) like the next two.
        engagements: opens and clicks by people, by the hour at which they happened.
        behaviour: behavioural events by the hour at which they happened.
        weekday_sends: messages by the day of sending, Monday first, shape (subscribers, 7).
        weekday_engagements: opens and clicks by people, by the day on which they happened, of the same shape.
    """

    subscriber_key: np.ndarray
    sends: np.ndarray
    engagements: np.ndarray
    behaviour: np.ndarray
    weekday_sends: np.ndarray
    weekday_engagements: np.ndarray


@dataclass(frozen=True)
class Profiles:
    """Activity of every subscriber by hour, and the clusters.

    Attributes:
        events: counts of activity, in which engagements have a lower weight, shape (subscribers, 24).
        roots: square roots of the smoothed profiles, shape (subscribers, 24).
        cluster: cluster of every subscriber, shape (subscribers,).
        centres: share of activity by hour of each cluster, shape (clusters, 24); rows sum to one.
    """

    events: np.ndarray
    roots: np.ndarray
    cluster: np.ndarray
    centres: np.ndarray


def hour_counts(hours: pl.DataFrame) -> HourCounts:
    """Fold counts by hour of the week into matrices by hour of the day and by day of the week.

    Args:
        hours: `subscriber_key`, `local_hour_of_week` (0-167, Monday 00 = 0), `sends`, `human_clicks`, `human_opens`,
            `behaviour_events`; each count at the hour at which it happened.
    """
    subscriber_key = hours["subscriber_key"].unique().sort().to_numpy()
    hours = with_rows(hours, subscriber_key)
    row, hour_of_week = hours["row"].to_numpy(), hours["local_hour_of_week"].to_numpy()
    by_hour = (row * HOURS + hour_of_week % HOURS, HOURS)
    by_day = (row * WEEKDAYS + hour_of_week // HOURS, WEEKDAYS)
    sends, behaviour = hours["sends"].to_numpy(), hours["behaviour_events"].to_numpy()
    engagements = (hours["human_clicks"] + hours["human_opens"]).to_numpy()

    def matrix(counts: np.ndarray, cells: tuple[np.ndarray, int]) -> np.ndarray:
        cell, columns = cells
        flat = np.bincount(cell, weights=counts, minlength=len(subscriber_key) * columns)
        return flat.reshape(-1, columns).astype(np.float32)

    return HourCounts(
        subscriber_key,
        matrix(sends, by_hour),
        matrix(engagements, by_hour),
        matrix(behaviour, by_hour),
        matrix(sends, by_day),
        matrix(engagements, by_day),
    )


def fit_profiles(counts: HourCounts) -> Profiles:
    """Profiles of activity, and clusters by k-means on their square roots (Hellinger distance).

    The hour of an open is mostly the hour of sending. So engagements are weighted such that their distribution over the
    hours resembles that of behavioural events, which no mail has caused.
    """
    weights = _engagement_weights(counts)
    events = counts.behaviour + counts.engagements * weights
    account = _share(smooth(events.sum(axis=0, keepdims=True))).astype(np.float32)
    profile = smooth(events) + PROFILE_PRIOR_EVENTS * account
    roots = np.sqrt(profile / profile.sum(axis=1, keepdims=True)).astype(np.float32)
    known = np.flatnonzero(events.sum(axis=1) >= PROFILE_PRIOR_EVENTS)
    clusters = int(np.clip(len(known) // SUBSCRIBERS_PER_CLUSTER, 1, CLUSTERS))
    cluster = np.zeros(len(roots), dtype=np.int64)
    if clusters > 1:
        sample = known[np.linspace(0, len(known) - 1, min(len(known), FIT_SAMPLE)).astype(np.int64)]
        # With one thread sums have one order, so that equal input gives equal clusters.
        with threadpool_limits(limits=1):
            means = KMeans(clusters, n_init=4, random_state=SEED).fit(roots[sample])
        cluster = _ordered_by_peak(means.predict(roots), means.cluster_centers_)
    members = sum_by_cluster(_share(profile[known]), cluster[known], clusters)
    return Profiles(events, roots, cluster, _share(members + account))


def with_rows(frame: pl.DataFrame, subscriber_key: np.ndarray) -> pl.DataFrame:
    """The rows of the subscribers with these sorted keys, and `row`, their position among them."""
    positions = pl.DataFrame({"subscriber_key": subscriber_key}).with_row_index("row").cast({"row": pl.Int64})
    return frame.join(positions, on="subscriber_key", how="inner")


def sum_by_cluster(values: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """Rows of a matrix summed by cluster, shape (clusters, columns)."""
    return np.stack([values[cluster == number].sum(axis=0, dtype=np.float64) for number in range(clusters)])


def smooth(counts: np.ndarray) -> np.ndarray:
    """Spread counts over the neighbouring hours."""
    return np.asarray(counts @ on_circle(SMOOTHING))


def on_circle(weights: dict[int, float]) -> np.ndarray:
    """Matrix by which each hour of the day gets weighted counts of hours before it (positive shift) or after it."""
    return sum(
        (weight * np.roll(np.eye(HOURS, dtype=np.float32), shift, axis=1) for shift, weight in weights.items()),
        start=np.zeros((HOURS, HOURS), dtype=np.float32),
    )


def _engagement_weights(counts: HourCounts) -> np.ndarray:
    """Weight of engagements by hour, at most one: lower where people are active less than they engage with mail."""
    engaged = _share(counts.engagements.sum(axis=0, keepdims=True))
    free = _share(counts.behaviour.sum(axis=0, keepdims=True))
    return np.asarray(np.minimum(1.0, free / engaged), dtype=np.float32)


def _share(counts: np.ndarray) -> np.ndarray:
    """Rows as shares, with one event spread evenly so that no hour has none."""
    padded = counts + 1.0 / HOURS
    return np.asarray(padded / padded.sum(axis=1, keepdims=True))


def _ordered_by_peak(cluster: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number clusters by their peak hour, so that a number means the same every night."""
    rank = np.argsort(np.lexsort((-centres.max(axis=1), centres.argmax(axis=1))))
    return np.asarray(rank[cluster])
