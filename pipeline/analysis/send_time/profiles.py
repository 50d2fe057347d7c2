"""When subscribers are active: their profiles over the hours of the day, and clusters of subscribers that are alike.

Here: smoothed profiles, and k-means. The counts come from `counts`, a block of people at a time. How engagement depends
on the hour of sending is estimated in `rates`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from pipeline.analysis.send_time.counts import HOURS, HourCounts, single, sum_by_cluster, total

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
class Profiles:
    """Activity by hour: what makes a profile of a person's counts, and the clusters.

    Attributes:
        weights: weight of engagements beside behavioural events by hour, at most one, shape (24,).
        account: share of the account's activity by hour, shape (24,).
        clusters: the cluster of every subscriber of each block, shapes (subscribers,).
        centres: share of activity by hour of each cluster, shape (clusters, 24); rows sum to one.
    """

    weights: np.ndarray
    account: np.ndarray
    clusters: tuple[np.ndarray, ...]
    centres: np.ndarray

    def events(self, block: HourCounts) -> np.ndarray:
        """Counts of activity, in which engagements have a lower weight, shape (subscribers, 24)."""
        return _events(block, self.weights)

    def roots(self, block: HourCounts) -> np.ndarray:
        """Square roots of the smoothed profiles, shape (subscribers, 24)."""
        return _roots(_profile(self.events(block), self.account))


def fit_profiles(blocks: Sequence[HourCounts]) -> Profiles:
    """Profiles of activity, and clusters by k-means on their square roots (Hellinger distance).

    The hour of an open is mostly the hour of sending. So engagements are weighted such that their distribution over the
    hours resembles that of behavioural events, which no mail has caused.
    """
    weights = _engagement_weights(blocks)
    sums, known = [], []
    for block in blocks:
        events = _events(block, weights)
        sums.append(events.sum(axis=0))
        known.append(np.flatnonzero(events.sum(axis=1) >= PROFILE_PRIOR_EVENTS))
    account = _share(smooth(np.sum(sums, axis=0)[None])).astype(np.float32)[0]
    many = sum(len(rows) for rows in known)
    means = None
    clusters = int(np.clip(many // SUBSCRIBERS_PER_CLUSTER, 1, CLUSTERS))
    if clusters > 1:
        means = KMeans(clusters, n_init=4, random_state=SEED).fit(_sample(blocks, known, weights, account))
    members, found = np.zeros((clusters, HOURS)), []
    for block, rows in zip(blocks, known, strict=True):
        profile = _profile(_events(block, weights), account)
        cluster = np.zeros(len(block), dtype=np.int64)
        if means is not None:
            cluster = _ordered_by_peak(means.predict(_roots(profile)), means.cluster_centers_)
        members += sum_by_cluster(_share(profile[rows]), cluster[rows], clusters)
        found.append(cluster.astype(np.int8))
    return Profiles(weights, account, tuple(found), _share(members + account))


def _sample(
    blocks: Sequence[HourCounts], known: Sequence[np.ndarray], weights: np.ndarray, account: np.ndarray
) -> np.ndarray:
    """Roots of profiles of people with a known one, at even distances, shape (sample, 24)."""
    ends = np.cumsum([len(rows) for rows in known])
    places = np.linspace(0, ends[-1] - 1, min(ends[-1], FIT_SAMPLE)).astype(np.int64)
    parts = []
    for block, rows, end in zip(blocks, known, ends, strict=True):
        mine = places[(places >= end - len(rows)) & (places < end)] - (end - len(rows))
        parts.append(_roots(_profile(_events(block, weights), account))[rows[mine]])
    return np.concatenate(parts)


def _events(block: HourCounts, weights: np.ndarray) -> np.ndarray:
    return np.asarray(single(block.behaviour) + single(block.engagements) * weights)


def _profile(events: np.ndarray, account: np.ndarray) -> np.ndarray:
    return np.asarray(smooth(events) + PROFILE_PRIOR_EVENTS * account)


def _roots(profile: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(profile / profile.sum(axis=1, keepdims=True)), dtype=np.float32)


def smooth(counts: np.ndarray) -> np.ndarray:
    """Spread counts over the neighbouring hours."""
    return np.asarray(counts @ on_circle(SMOOTHING))


def on_circle(weights: dict[int, float]) -> np.ndarray:
    """Matrix by which each hour of the day gets weighted counts of hours before it (positive shift) or after it."""
    return sum(
        (weight * np.roll(np.eye(HOURS, dtype=np.float32), shift, axis=1) for shift, weight in weights.items()),
        start=np.zeros((HOURS, HOURS), dtype=np.float32),
    )


def _engagement_weights(blocks: Sequence[HourCounts]) -> np.ndarray:
    """Weight of engagements by hour, at most one: lower where people are active less than they engage with mail."""
    engaged, free = (_share(total(blocks, name)[None].astype(np.float32)) for name in ("engagements", "behaviour"))
    return np.asarray(np.minimum(1.0, free / engaged)[0], dtype=np.float32)


def _share(counts: np.ndarray) -> np.ndarray:
    """Rows as shares, with one event spread evenly so that no hour has none."""
    padded = counts + 1.0 / HOURS
    return np.asarray(padded / padded.sum(axis=1, keepdims=True))


def _ordered_by_peak(cluster: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Number clusters by their peak hour, so that a number means the same every night."""
    rank = np.argsort(np.lexsort((-centres.max(axis=1), centres.argmax(axis=1))))
    return np.asarray(rank[cluster])
