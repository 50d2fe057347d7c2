"""How engagement depends on the local hour of sending, by cluster and for each subscriber.

Here: the rates of clusters, corrected for who was mailed at which hour; the probability of each cluster for each
subscriber; and one logistic regression over all sends. All are relative to the subscriber's own average. Profiles of
activity are made in `profiles`; the hour is chosen in `subscribers`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.linear_model import LogisticRegression

from pipeline.analysis.send_time.counts import HOURS, HourCounts, every_nth, single, sum_by_cluster, total
from pipeline.analysis.send_time.profiles import FIT_SAMPLE, Profiles, on_circle

PSEUDO_EXPECTED = 60.0
"""Shrinkage of a cluster's ratio at an hour, in expected engagements."""
PSEUDO_SENDS = 10.0
"""Shrinkage of a subscriber's own engagement rate, in sends."""
COMPONENTS = 6
SPLINES = 8
FIT_CELLS = 100_000
RIDGE = 1.0
LEVEL_SCALE = 10.0
LAGS = range(3)
"""Hours after the send within which most engagements happen."""
CLUSTER_EVENTS = 30.0
"""Further events say little about the cluster of a subscriber, because people differ within clusters, too."""


@dataclass(frozen=True)
class Exposure:
    """Messages of a block of people by the local hour of sending; matrices are (subscribers, 24).

    Attributes:
        sends: messages sent.
        engaged: messages that a person opened or clicked.
        rate: engagement rate of each subscriber, shrunk to the account's, shape (subscribers,).
    """

    sends: np.ndarray
    engaged: np.ndarray
    rate: np.ndarray


@dataclass(frozen=True)
class ClusterRates:
    """Engagement by cluster and hour of sending; matrices are (clusters, 24).

    Attributes:
        sends: messages sent.
        drawn: those of them whose hour was drawn by lot.
        engaged: messages that a person opened or clicked.
        expected: engaged messages if the hour did not matter.
        ratio: engaged / expected, shrunk to the account's ratio at that hour, which is itself shrunk to one.
    """

    sends: np.ndarray
    drawn: np.ndarray
    engaged: np.ndarray
    expected: np.ndarray
    ratio: np.ndarray


def overall_rate(blocks: Sequence[HourCounts]) -> float:
    """Share of all messages that a person opened or clicked."""
    engaged, messages = (np.float32(total(blocks, name).sum()) for name in ("engaged", "messages"))
    return float(engaged / max(messages, np.float32(1)))


def exposure(block: HourCounts, overall: float) -> Exposure:
    """What the people of a block were sent, and each one's rate of engagement.

    Args:
        block: the people's counts.
        overall: the rate of the account, to which each rate is shrunk.
    """
    sends, engaged = single(block.messages), single(block.engaged)
    rate = (engaged.sum(axis=1) + np.float32(PSEUDO_SENDS * overall)) / (sends.sum(axis=1) + np.float32(PSEUDO_SENDS))
    return Exposure(sends, engaged, rate)


def cluster_rates(blocks: Sequence[HourCounts], overall: float, profiles: Profiles) -> ClusterRates:
    """Engagement of each cluster by hour of sending, compared with what its receivers' own averages promise."""
    sums = []
    for block, cluster in zip(blocks, profiles.clusters, strict=True):
        exposed = exposure(block, overall)
        counted = (exposed.sends, single(block.drawn), exposed.engaged, exposed.sends * exposed.rate[:, None])
        sums.append([sum_by_cluster(values, cluster, len(profiles.centres)) for values in counted])
    sends, drawn, engaged, expected = np.sum(sums, axis=0)
    account = (engaged.sum(axis=0) + PSEUDO_EXPECTED) / (expected.sum(axis=0) + PSEUDO_EXPECTED)
    ratio = (engaged + PSEUDO_EXPECTED * account) / (expected + PSEUDO_EXPECTED)
    return ClusterRates(sends, drawn, engaged, expected, ratio)


def membership(events: np.ndarray, exposed: Exposure, profiles: Profiles, rates: ClusterRates) -> np.ndarray:
    """Probability of each cluster for each subscriber, from activity and from which sends were engaged.

    Args:
        events: counts of activity of the people of a block, shape (subscribers, 24).
        exposed: what the same people were sent.
        profiles, rates: the clusters.

    Returns:
        Shape (subscribers, clusters); rows sum to 1. Activity is taken as multinomial with a limited weight, engagement
        as Poisson by hour of sending.
    """
    tempered = events / (1 + events.sum(axis=1, keepdims=True) / CLUSTER_EVENTS)
    size = cluster_sizes(profiles) + 1.0
    score = np.log(size / size.sum()).astype(np.float32) + tempered @ np.log(profiles.centres).T.astype(np.float32)
    ratio = rates.ratio.T.astype(np.float32)
    score += exposed.engaged @ np.log(ratio)
    score -= (exposed.sends * exposed.rate[:, None]) @ ratio
    score -= score.max(axis=1, keepdims=True)
    weight = np.exp(score)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def cluster_sizes(profiles: Profiles) -> np.ndarray:
    """Number of subscribers of each cluster, shape (clusters,)."""
    many = len(profiles.centres)
    return np.asarray(np.sum([np.bincount(cluster, minlength=many) for cluster in profiles.clusters], axis=0))


@dataclass(frozen=True)
class PooledLogistic:
    """One logistic regression of engagement over all sends.

    Attributes:
        components: mean of the roots, shape (24,), and their leading principal components, shape (24, components).
        by_shape: log-odds by hour for the constant and for each component, shape (1 + components, 24).
        by_activity: log-odds by hour for the logarithms of the subscriber's own activity by hour, shape (24, 24).
    """

    components: tuple[np.ndarray, np.ndarray]
    by_shape: np.ndarray
    by_activity: np.ndarray

    def log_ratio(self, exposed: Exposure, roots: np.ndarray) -> np.ndarray:
        """Log-ratio of engagement by hour of sending, shape (subscribers, 24), each row with mean zero.

        Args:
            exposed: what the people of a block were sent.
            roots: square roots of their activity profiles, shape (subscribers, 24).
        """
        log_odds = _shapes(roots, self.components) @ self.by_shape + 2 * np.log(roots) @ self.by_activity
        log_odds -= log_odds.mean(axis=1, keepdims=True)
        # A change of the log-odds changes the log-rate by the share of sends that are not engaged.
        relative: np.ndarray = log_odds * (1 - exposed.rate[:, None])
        return relative


def pooled_logistic(blocks: Sequence[HourCounts], overall: float, profiles: Profiles) -> PooledLogistic:
    """One logistic regression over the sends to every n-th subscriber.

    Args:
        blocks: the counts of everybody.
        overall: the rate of the account.
        profiles: their profiles.

    The covariates are cyclic splines of the hour, alone and times the principal components of the profiles; the
    subscriber's own activity in the hours after the send; and the subscriber's own engagement rate. The coefficients
    have a ridge penalty. Where all sends are engaged, or none is, no hour differs from another.
    """
    components = _components(blocks, profiles)
    cells = sum(np.count_nonzero(block.messages) for block in blocks)
    parts = []
    for block, rows in zip(blocks, every_nth(blocks, int(np.ceil(cells / FIT_CELLS)) or 1), strict=True):
        exposed, roots = exposure(block, overall), profiles.roots(block)
        known = (exposed.engaged, exposed.sends, exposed.rate, _shapes(roots, components), 2 * np.log(roots))
        parts.append([values[rows] for values in known])
    engaged, sends, rate, shapes, ahead = (np.concatenate(values) for values in zip(*parts, strict=True))
    row, hour, outcome, weight = _fit_cells(engaged, sends)
    if outcome.all() or not outcome.any():
        return PooledLogistic(components, np.zeros((shapes.shape[1], HOURS)), np.zeros((HOURS, HOURS)))
    basis, level = _cyclic_splines(), np.log(rate / (1 - np.minimum(rate, 0.99)))
    design = [(shapes[row][:, :, None] * basis[hour][:, None, :]).reshape(len(row), -1)]
    design += [ahead[row, (hour + lag) % HOURS][:, None] for lag in LAGS]
    # The level of a subscriber is known better than any shape, so a large scale makes its penalty negligible.
    design.append(LEVEL_SCALE * level[row][:, None])
    model = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", fit_intercept=False)
    model.fit(np.hstack(design).astype(np.float64), outcome, sample_weight=weight)
    weights = model.coef_[0].astype(np.float32)

    count = shapes.shape[1] * SPLINES
    lag_weights = {-lag: float(weight) for lag, weight in zip(LAGS, weights[count:-1], strict=True)}
    return PooledLogistic(components, weights[:count].reshape(-1, SPLINES) @ basis.T, on_circle(lag_weights))


def _fit_cells(engaged: np.ndarray, sends: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, hour, outcome and number of sends of the cells of these matrices of (subscribers, 24)."""
    cells = [np.nonzero(counts) for counts in (engaged, sends - engaged)]
    weight = np.concatenate([engaged[cells[0]], (sends - engaged)[cells[1]]])
    outcome = np.repeat([True, False], [len(cells[0][0]), len(cells[1][0])])
    row, hour = (np.concatenate(parts) for parts in zip(*cells, strict=True))
    return row, hour, outcome, weight


def _components(blocks: Sequence[HourCounts], profiles: Profiles) -> tuple[np.ndarray, np.ndarray]:
    """Mean of the roots, and their leading principal components, whose scores have unit variance."""
    step = max(sum(len(block) for block in blocks) // FIT_SAMPLE, 1)
    picked = zip(blocks, every_nth(blocks, step), strict=True)
    sample = np.concatenate([profiles.roots(block)[rows] for block, rows in picked]).astype(np.float64)
    mean = sample.mean(axis=0)
    apart = sample - mean
    # A single subscriber has no variance: every score is zero.
    covariance = apart.T @ apart / max(len(sample) - 1, 1)
    values, vectors = np.linalg.eigh(covariance + 1e-12 * np.eye(HOURS))
    leading = vectors[:, -COMPONENTS:] / np.sqrt(values[-COMPONENTS:] + 1e-9)
    return mean.astype(np.float32), leading.astype(np.float32)


def _shapes(roots: np.ndarray, components: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """A constant, and the scores on the principal components, shape (subscribers, 1 + components)."""
    mean, leading = components
    scores = np.asarray((roots - mean) @ leading, dtype=np.float32)
    return np.column_stack([np.ones(len(roots), dtype=np.float32), scores])


def _cyclic_splines() -> np.ndarray:
    """Cubic B-splines on the circle of 24 hours, shape (24, SPLINES); rows sum to one."""
    spacing = HOURS / SPLINES
    distance = np.abs((np.arange(HOURS)[:, None] - spacing * np.arange(SPLINES) + HOURS / 2) % HOURS - HOURS / 2)
    x = distance / spacing
    inner = 2 / 3 - x**2 + x**3 / 2
    outer = np.clip(2 - x, 0, None) ** 3 / 6
    return np.where(x < 1, inner, outer).astype(np.float32)
