"""The day of the week at which each cluster engages best, where days differ at all.

Not here: hours. A day is named only on evidence, since most differences between days are noise and mix of campaigns.
"""

import numpy as np
import polars as pl
from scipy.stats import chi2

from pipeline.analysis.send_time_profiles import HOURS, sum_by_cluster, with_rows

WEEKDAYS = 7
#: A false day in one cluster of a hundred.
SIGNIFICANCE = 0.01


def best_weekdays(hours: pl.DataFrame, subscriber_key: np.ndarray, cluster: np.ndarray, clusters: int) -> np.ndarray:
    """Day of the highest engagement rate of each cluster, -1 where the days do not differ beyond chance.

    Args:
        hours: the histogram over the hour of the week (see `send_time.analyse_send_times`).
        subscriber_key: sorted keys.
        cluster: cluster of each of them.
        clusters: number of clusters.

    A chi-square test of each cluster's engagements by day against those expected from its members' own rates, divided
    by the dispersion between subscribers: people engage in bouts. Most engage on the day of the send.
    """
    rows = with_rows(hours, subscriber_key)
    cell = rows["row"].to_numpy() * WEEKDAYS + rows["local_hour_of_week"].to_numpy() // HOURS
    sends, engaged = (
        np.bincount(cell, weights=weights, minlength=len(subscriber_key) * WEEKDAYS).reshape(-1, WEEKDAYS)
        for weights in (rows["sends"].to_numpy(), (rows["human_clicks"] + rows["human_opens"]).to_numpy())
    )
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
