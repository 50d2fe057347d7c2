"""The day of the week at which each cluster engages best, where days differ at all.

Not here: hours. A day is named only on evidence, since most differences between days are noise and mix of campaigns.
"""

import numpy as np
from scipy.stats import chi2

from pipeline.analysis.send_time.profiles import HourCounts, sum_by_cluster

#: A false day in one cluster of a hundred.
SIGNIFICANCE = 0.01


def best_weekdays(counts: HourCounts, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """Day of the highest engagement rate of each cluster, -1 where the days do not differ beyond chance.

    Args:
        counts: of every subscriber, by day of the week.
        cluster: cluster of each of them, shape (subscribers,).
        clusters: number of clusters.

    A chi-square test of each cluster's engagements by day against those expected from its members' own rates, divided
    by the dispersion between subscribers: people engage in bouts. Most engage on the day of the send.
    """
    sends, engaged = counts.weekday_sends, counts.weekday_engagements
    expected = sends * (engaged.sum(axis=1) / np.maximum(sends.sum(axis=1), 1))[:, None]
    totals = (
        sum_by_cluster(values, cluster, clusters) for values in (sends, engaged, expected, (engaged - expected) ** 2)
    )
    sent, observed, promised, scatter = totals
    # Each subscriber's own rate takes one of the days.
    members = np.bincount(cluster, weights=(sends > 0).any(axis=1), minlength=clusters)
    cells = sum_by_cluster((sends > 0).astype(np.float64), cluster, clusters).sum(axis=1)
    freedom = np.maximum(cells - members, 1) / np.maximum(cells, 1)
    dispersion = np.maximum(scatter.sum(axis=1) / np.maximum(promised.sum(axis=1), 1) / freedom, 1)
    deviation = np.divide((observed - promised) ** 2, promised, out=np.zeros_like(promised), where=promised > 0)
    used = (sent > 0).sum(axis=1)
    is_real = chi2.sf(deviation.sum(axis=1) / dispersion, np.maximum(used - 1, 1)) < SIGNIFICANCE
    ratio = np.divide(observed, promised, out=np.zeros_like(observed), where=promised > 0)
    return np.where(is_real & (used > 1), ratio.argmax(axis=1), -1)
