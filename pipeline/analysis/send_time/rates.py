"""How engagement depends on the local hour of the send: by cluster, and for each subscriber.

Here: exposure-corrected cluster rates, the mixture over clusters and the pooled logistic, all as log-ratios to the
subscriber's own average. Not here: activity profiles (`send_time_profiles`) and the choice of an hour (`send_time`).
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from sklearn.linear_model import LogisticRegression

from pipeline.analysis.send_time.profiles import FIT_SAMPLE, HOURS, Profiles, on_circle, sum_by_cluster, with_rows

#: Shrinkage of a cluster's ratio at an hour, in expected engagements.
PSEUDO_EXPECTED = 60.0
#: Shrinkage of a subscriber's own engagement rate, in sends.
PSEUDO_SENDS = 10.0
COMPONENTS = 6
SPLINES = 8
FIT_CELLS = 100_000
RIDGE = 1.0
LEVEL_SCALE = 10.0
#: Most of those who engage do so within these hours after the send.
LAGS = range(3)
#: Events beyond which more of them say little about the cluster: people differ within clusters too.
CLUSTER_EVENTS = 30.0


@dataclass(frozen=True)
class Exposure:
    """Sends by the local hour of sending; shape (subscribers, 24) except `rate`.

    Attributes:
        sends: messages sent.
        engaged: of them engaged by a human.
        rate: engagement rate of each subscriber, shrunk to the account's, shape (subscribers,).
    """

    sends: np.ndarray
    engaged: np.ndarray
    rate: np.ndarray


@dataclass(frozen=True)
class ClusterRates:
    """Engagement by cluster and send hour; every matrix has shape (clusters, 24).

    Attributes:
        sends: messages sent.
        engaged: of them engaged.
        expected: engagements if the hour did not matter.
        ratio: engaged / expected, shrunk to the account's ratio at that hour, and that to one.
    """

    sends: np.ndarray
    engaged: np.ndarray
    expected: np.ndarray
    ratio: np.ndarray


def exposure(sends: pl.DataFrame, subscriber_key: np.ndarray) -> Exposure:
    """Count sends and engaged sends by subscriber and local hour of sending.

    Args:
        sends: one row per send: `subscriber_key`, `local_hour` (0-23), `is_engaged`.
        subscriber_key: sorted keys; sends to others are left out.
    """
    sends = with_rows(sends.select("subscriber_key", "local_hour", "is_engaged"), subscriber_key)
    cell = sends["row"].to_numpy() * HOURS + sends["local_hour"].to_numpy()
    size = len(subscriber_key) * HOURS
    count = np.bincount(cell, minlength=size).reshape(-1, HOURS).astype(np.float32)
    weights = sends["is_engaged"].to_numpy().astype(np.float32)
    engaged = np.bincount(cell, weights=weights, minlength=size).reshape(-1, HOURS).astype(np.float32)
    overall = engaged.sum() / max(count.sum(), 1.0)
    rate = (engaged.sum(axis=1) + np.float32(PSEUDO_SENDS * overall)) / (count.sum(axis=1) + np.float32(PSEUDO_SENDS))
    return Exposure(count, engaged, rate)


def cluster_rates(exposed: Exposure, cluster: np.ndarray, clusters: int) -> ClusterRates:
    """Engagement of each cluster by send hour against what its receivers' own averages promise."""
    sends, engaged, expected = (
        sum_by_cluster(values, cluster, clusters)
        for values in (exposed.sends, exposed.engaged, exposed.sends * exposed.rate[:, None])
    )
    account = (engaged.sum(axis=0) + PSEUDO_EXPECTED) / (expected.sum(axis=0) + PSEUDO_EXPECTED)
    ratio = (engaged + PSEUDO_EXPECTED * account) / (expected + PSEUDO_EXPECTED)
    return ClusterRates(sends, engaged, expected, ratio)


def membership(exposed: Exposure, profiles: Profiles, rates: ClusterRates) -> np.ndarray:
    """Probability of each cluster for each subscriber, from activity and from which sends were engaged.

    Returns:
        Shape (subscribers, clusters). Activity is multinomial with its weight capped, engagement Poisson by send hour.
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
    return weight / weight.sum(axis=1, keepdims=True)


def pooled_logistic(exposed: Exposure, roots: np.ndarray) -> np.ndarray:
    """Log-ratio of engagement by send hour from one regression over all sends.

    Cyclic splines of the hour x principal components of the activity profiles, and the subscriber's own activity in
    the hours after the send, beside the subscriber's own level.

    Returns:
        Shape (subscribers, 24), each row with mean zero.
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
    # The level is measured better than any shape; a larger scale makes its penalty negligible.
    design.append(LEVEL_SCALE * level[row][:, None])
    model = LogisticRegression(C=1 / RIDGE, solver="newton-cholesky", fit_intercept=False)
    model.fit(np.hstack(design).astype(np.float64), engaged, sample_weight=weight)
    weights = model.coef_[0].astype(np.float32)

    count = shapes.shape[1] * SPLINES
    shape_weights = weights[:count].reshape(-1, SPLINES) @ basis.T
    lag_weights = {-lag: float(weight) for lag, weight in zip(LAGS, weights[count:-1], strict=True)}
    log_odds = shapes @ shape_weights + ahead @ on_circle(lag_weights)
    log_odds -= log_odds.mean(axis=1, keepdims=True)
    # A change of log-odds changes the log-rate by the share of sends not engaged.
    return log_odds * (1 - exposed.rate[:, None])


def _fit_cells(exposed: Exposure) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Row, hour, outcome and number of sends of the cells fitted on: every n-th subscriber, the same every time."""
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
    values, vectors = np.linalg.eigh(np.cov(sample, rowvar=False) + 1e-12 * np.eye(HOURS))
    leading = vectors[:, -COMPONENTS:] / np.sqrt(values[-COMPONENTS:] + 1e-9)
    return ((roots - mean.astype(np.float32)) @ leading.astype(np.float32)).astype(np.float32)


def _cyclic_splines() -> np.ndarray:
    """Cubic B-splines on the circle of 24 hours, shape (24, SPLINES); rows sum to one."""
    spacing = HOURS / SPLINES
    distance = np.abs((np.arange(HOURS)[:, None] - spacing * np.arange(SPLINES) + HOURS / 2) % HOURS - HOURS / 2)
    x = distance / spacing
    inner = 2 / 3 - x**2 + x**3 / 2
    outer = np.clip(2 - x, 0, None) ** 3 / 6
    return np.where(x < 1, inner, outer).astype(np.float32)
