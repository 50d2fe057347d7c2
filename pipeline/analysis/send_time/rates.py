"""How engagement depends on the local hour of sending, by cluster and for each subscriber.

Here: the rates of clusters, corrected for who was mailed at which hour; the probability of each cluster for each
subscriber; and one logistic regression over all sends. All are relative to the subscriber's own average. Profiles of
activity are made in `profiles`; the hour is chosen in `subscribers`.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from pipeline.analysis.send_time.profiles import FIT_SAMPLE, HOURS, Profiles, on_circle, sum_by_cluster, with_rows

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
    """Sends by the local hour of sending; matrices are (subscribers, 24).

    Attributes:
        sends: messages sent.
        drawn: those of them whose hour was drawn by lot.
        engaged: messages that a person opened or clicked.
        rate: engagement rate of each subscriber, shrunk to the account's, shape (subscribers,).
    """

    sends: np.ndarray
    drawn: np.ndarray
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


def exposure(sends: pl.DataFrame, subscriber_key: np.ndarray) -> Exposure:
    """Count sends and engaged sends by subscriber and local hour of sending.

    Args:
        sends: one row per send: `subscriber_key`, `local_hour` (0-23), `is_engaged`, `is_drawn`.
        subscriber_key: sorted keys; sends to other subscribers are left out.
    """
    sends = with_rows(sends.select("subscriber_key", "local_hour", "is_engaged", "is_drawn"), subscriber_key)
    cell = sends["row"].to_numpy() * HOURS + sends["local_hour"].to_numpy()

    def counted(weights: np.ndarray | None) -> np.ndarray:
        flat = np.bincount(cell, weights=weights, minlength=len(subscriber_key) * HOURS)
        return flat.reshape(-1, HOURS).astype(np.float32)

    count = counted(None)
    engaged, drawn = (counted(sends[name].to_numpy().astype(np.float32)) for name in ("is_engaged", "is_drawn"))
    overall = engaged.sum() / max(count.sum(), 1.0)
    rate = (engaged.sum(axis=1) + np.float32(PSEUDO_SENDS * overall)) / (count.sum(axis=1) + np.float32(PSEUDO_SENDS))
    return Exposure(count, drawn, engaged, rate)


def cluster_rates(exposed: Exposure, cluster: np.ndarray, clusters: int) -> ClusterRates:
    """Engagement of each cluster by hour of sending, compared with what its receivers' own averages promise."""
    sends, drawn, engaged, expected = (
        sum_by_cluster(values, cluster, clusters)
        for values in (exposed.sends, exposed.drawn, exposed.engaged, exposed.sends * exposed.rate[:, None])
    )
    account = (engaged.sum(axis=0) + PSEUDO_EXPECTED) / (expected.sum(axis=0) + PSEUDO_EXPECTED)
    ratio = (engaged + PSEUDO_EXPECTED * account) / (expected + PSEUDO_EXPECTED)
    return ClusterRates(sends, drawn, engaged, expected, ratio)


def membership(exposed: Exposure, profiles: Profiles, rates: ClusterRates) -> np.ndarray:
    """Probability of each cluster for each subscriber, from activity and from which sends were engaged.

    Returns:
        Shape (subscribers, clusters); rows sum to 1. Activity is taken as multinomial with a limited weight, engagement
        as Poisson by hour of sending.
    """
    events = profiles.events
    total = events.sum(axis=1, keepdims=True)
    tempered = events / (1 + total / CLUSTER_EVENTS)
    size = np.bincount(profiles.cluster, minlength=len(profiles.centres)) + 1.0
    score = np.log(size / size.sum()).astype(np.float32) + tempered @ np.log(profiles.centres).T.astype(np.float32)
    ratio = rates.ratio.T.astype(np.float32)
    score += exposed.engaged @ np.log(ratio)
    score -= (exposed.sends * exposed.rate[:, None]) @ ratio
    score -= score.max(axis=1, keepdims=True)
    weight = np.exp(score)
    return np.asarray(weight / weight.sum(axis=1, keepdims=True))


def pooled_logistic(exposed: Exposure, roots: np.ndarray) -> np.ndarray:
    """Log-ratio of engagement by hour of sending, from one logistic regression over all sends.

    Args:
        roots: square roots of the activity profiles, shape (subscribers, 24).

    Returns:
        Shape (subscribers, 24), each row with mean zero.

    The covariates are cyclic splines of the hour, alone and times the principal components of the profiles; the
    subscriber's own activity in the hours after the send; and the subscriber's own engagement rate. The coefficients
    have a ridge penalty.
    """
    row, hour, engaged, weight = _fit_cells(exposed)
    if engaged.all() or not engaged.any():
        return np.zeros_like(roots)
    level = np.log(exposed.rate / (1 - np.minimum(exposed.rate, 0.99)))
    shapes = np.column_stack([np.ones(len(roots), dtype=np.float32), _components(roots)])
    basis = _cyclic_splines()
    ahead = 2 * np.log(roots)
    design = [(shapes[row][:, :, None] * basis[hour][:, None, :]).reshape(len(row), -1)]
    design += [ahead[row, (hour + lag) % HOURS][:, None] for lag in LAGS]
    # The level of a subscriber is known better than any shape, so a large scale makes its penalty negligible.
    design.append(LEVEL_SCALE * level[row][:, None])
    model = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", fit_intercept=False)
    model.fit(np.hstack(design).astype(np.float64), engaged, sample_weight=weight)
    weights = model.coef_[0].astype(np.float32)

    count = shapes.shape[1] * SPLINES
    shape_weights = weights[:count].reshape(-1, SPLINES) @ basis.T
    lag_weights = {-lag: float(weight) for lag, weight in zip(LAGS, weights[count:-1], strict=True)}
    log_odds = shapes @ shape_weights + ahead @ on_circle(lag_weights)
    log_odds -= log_odds.mean(axis=1, keepdims=True)
    # A change of the log-odds changes the log-rate by the share of sends that are not engaged.
    relative: np.ndarray = log_odds * (1 - exposed.rate[:, None])
    return relative


def _fit_cells(exposed: Exposure) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, hour, outcome and number of sends of the cells that are fitted: those of every n-th subscriber."""
    step = int(np.ceil(np.count_nonzero(exposed.sends) / FIT_CELLS)) or 1
    engaged, sends = exposed.engaged[::step], exposed.sends[::step]
    cells = [np.nonzero(counts) for counts in (engaged, sends - engaged)]
    weight = np.concatenate([engaged[cells[0]], (sends - engaged)[cells[1]]])
    outcome = np.repeat([True, False], [len(cells[0][0]), len(cells[1][0])])
    row, hour = (np.concatenate(parts) for parts in zip(*cells, strict=True))
    return row * step, hour, outcome, weight


def _components(roots: np.ndarray) -> np.ndarray:
    """Scores on the leading principal components, each with unit variance."""
    sample = roots[:: max(len(roots) // FIT_SAMPLE, 1)].astype(np.float64)
    mean = sample.mean(axis=0)
    apart = sample - mean
    # A single subscriber has no variance: every score is zero.
    covariance = apart.T @ apart / max(len(sample) - 1, 1)
    values, vectors = np.linalg.eigh(covariance + 1e-12 * np.eye(HOURS))
    leading = vectors[:, -COMPONENTS:] / np.sqrt(values[-COMPONENTS:] + 1e-9)
    return np.asarray((roots - mean.astype(np.float32)) @ leading.astype(np.float32), dtype=np.float32)


def _cyclic_splines() -> np.ndarray:
    """Cubic B-splines on the circle of 24 hours, shape (24, SPLINES); rows sum to one."""
    spacing = HOURS / SPLINES
    distance = np.abs((np.arange(HOURS)[:, None] - spacing * np.arange(SPLINES) + HOURS / 2) % HOURS - HOURS / 2)
    x = distance / spacing
    inner = 2 / 3 - x**2 + x**3 / 2
    outer = np.clip(2 - x, 0, None) ** 3 / 6
    return np.where(x < 1, inner, outer).astype(np.float32)
