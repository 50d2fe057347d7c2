"""The day of the week on which each cluster engages best, if days differ at all.

A day is named only on evidence, because most differences between days come from chance and from what was mailed.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import chdtrc

from pipeline.analysis.send_time.counts import HourCounts, single, sum_by_cluster
from pipeline.analysis.send_time.profiles import Profiles

SIGNIFICANCE = 0.01
"""A day is named wrongly for one cluster in a hundred."""


def best_weekdays(blocks: Sequence[HourCounts], profiles: Profiles) -> np.ndarray:
    """Day with the highest engagement rate of each cluster; -1 where days do not differ beyond chance.

    Args:
        blocks: counts of every subscriber by day of the week.
        profiles: the clusters.

    This is a chi-square test of a cluster's engagements by day against those expected from its members' own rates. The
    statistic is divided by the dispersion between subscribers, because one person's engagements come in bouts.
    """
    clusters, sums, mailed = len(profiles.centres), [], []
    for block, cluster in zip(blocks, profiles.clusters, strict=True):
        sends, engaged = single(block.weekday_sends), single(block.weekday_engagements)
        expected = sends * (engaged.sum(axis=1) / np.maximum(sends.sum(axis=1), 1))[:, None]
        counted = (sends, engaged, expected, (engaged - expected) ** 2, (sends > 0).astype(np.float64))
        sums.append([sum_by_cluster(values, cluster, clusters) for values in counted])
        mailed.append(np.bincount(cluster, weights=(sends > 0).any(axis=1), minlength=clusters))
    sent, observed, promised, scatter, days = np.sum(sums, axis=0)
    # The estimate of each subscriber's own rate takes one degree of freedom.
    members, cells = np.sum(mailed, axis=0), days.sum(axis=1)
    freedom = np.maximum(cells - members, 1) / np.maximum(cells, 1)
    dispersion = np.maximum(scatter.sum(axis=1) / np.maximum(promised.sum(axis=1), 1) / freedom, 1)
    deviation = np.divide((observed - promised) ** 2, promised, out=np.zeros_like(promised), where=promised > 0)
    used = (sent > 0).sum(axis=1)
    is_real = chdtrc(np.maximum(used - 1, 1), deviation.sum(axis=1) / dispersion) < SIGNIFICANCE
    ratio = np.divide(observed, promised, out=np.zeros_like(observed), where=promised > 0)
    return np.where(is_real & (used > 1), ratio.argmax(axis=1), -1)
