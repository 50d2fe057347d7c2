"""What the recommended hours are worth, estimated from messages whose hour was drawn with a known probability.

Here: the lift, by two off-policy estimators. The hours are learnt in `subscribers`, from other messages than these:
earlier ones, or those of other subscribers.
"""

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtri

from pipeline.analysis.send_time.counts import HOURS
from pipeline.analysis.statistics.intervals import NORMAL_95
from pipeline.schemas.base import conform, polars_schema
from pipeline.schemas.timing import SendTimeLift

LOGGED = ("subscriber_key", "local_hour", "is_engaged", "propensity")
"""What is read of each message."""
MINIMUM_EFFECTIVE = 100
"""With fewer effective messages the normal interval does not hold."""
PRECISE_ERROR = math.log(1.1) / NORMAL_95
"""Standard error of the log of the lift whose 95% interval reaches 10% to either side."""
USUAL_RATE = 0.2
"""Share of messages that people open or click, until the account has sent any."""
# A lift is shown if the lower end of its 90% interval is above zero.
SHOW_Z = float(ndtri(0.95))
EXPLORATION_BOUNDS = (0.05, 0.30)
"""Least and largest share of messages whose hour is drawn while the lift is not known."""


@dataclass(frozen=True)
class _Value:
    """Engagement rate under one choice of hours.

    Attributes:
        rate: the estimate.
        influence: what each message contributes to the error of the rate, shape (messages,).
        effective: Kish's effective number of messages.
        matched: number of messages that were sent at the chosen hour.
    """

    rate: float
    influence: np.ndarray
    effective: float
    matched: int


def evaluate_send_times(
    logged: pl.DataFrame, subscribers: pl.DataFrame, profiles: pl.DataFrame, *, hours: int = HOURS, as_of_day: date
) -> pl.DataFrame:
    """Lift of the recommended hours over today's hours.

    Args:
        logged: one row per message with `LOGGED`: `local_hour` is that of sending, `is_engaged` is by a person, and
            `propensity` is the probability with which the hour was chosen. Messages without one are not used.
        subscribers: `subscriber_send_times` as it was before these messages.
        profiles: `send_time_profiles` as it was before these messages.
        hours: number of hours from which is drawn.
        as_of_day: tonight.

    Returns:
        One row per `estimator`: engagement rates at the recommended and at today's hours, the relative
        `engagement_lift` with its 95% interval, `is_lift_shown` (whether the lower end of its 90% interval is above
        zero), `status` ('ok' or 'cannot be estimated'), `randomised_sends_needed`, and `exploration_share`, the share
        of as many messages as in `logged` whose hours must be drawn next for a lift to be shown (0 once it is shown).
        `randomised_sends_needed` is the number of further messages at drawn hours until the 95% interval of the lift is
        no wider than 10% to either side, not until an estimate first exists.

    'snips' is the self-normalised estimator of Swaminathan and Joachims (2015). 'doubly robust' is that of Dudik,
    Langford and Li (2011), with its correction self-normalised, too. Intervals are on the log scale, with the messages
    of one subscriber as a cluster.
    """
    # Of an hour that is unknown the model says that it is as good as any.
    known = pl.col("engagement_ratio").fill_null(1.0)
    ratios = profiles.select("cluster_id", known, hour=pl.col("local_hour"))
    rows = logged.filter(pl.col("propensity") > 0).join(
        subscribers.select("subscriber_key", "cluster_id", "recommended_local_hour", "current_local_hour").drop_nulls(),
        on="subscriber_key",
        how="inner",
    )
    for name in ("local_hour", "recommended_local_hour", "current_local_hour"):
        looked_up = ratios.rename({"hour": name, "engagement_ratio": f"{name}_ratio"})
        rows = rows.join(looked_up, on=["cluster_id", name], how="left", maintain_order="left")
    stamp = {"as_of_day": as_of_day, "method": "off-policy estimate from randomised hours"}
    level = logged["is_engaged"].mean() if len(logged) else None
    planned = _planned(float(level) if isinstance(level, float) and level > 0 else USUAL_RATE, hours)
    results = [stamp | _exploring(_estimate(rows, is_robust, planned), len(logged)) for is_robust in (False, True)]
    return conform(pl.DataFrame(results, schema=polars_schema(SendTimeLift)), SendTimeLift)


def _estimate(rows: pl.DataFrame, is_robust: bool, planned: int) -> dict[str, Any]:
    outcome = rows["is_engaged"].cast(pl.Float64).to_numpy()
    expected = {name: np.zeros(len(rows)) for name in ("local_hour", "recommended_local_hour", "current_local_hour")}
    if is_robust and len(rows):
        level = outcome.sum() / rows["local_hour_ratio"].sum()
        expected = {name: level * rows[f"{name}_ratio"].to_numpy() for name in expected}
    new, now = (
        _value(rows, outcome, expected["local_hour"], expected[name], name)
        for name in ("recommended_local_hour", "current_local_hour")
    )
    effective = min(new.effective, now.effective)
    row: dict[str, Any] = {
        "estimator": "doubly robust" if is_robust else "snips",
        "randomised_sends": len(rows),
        "recommended_sends": new.matched,
        "current_sends": now.matched,
        "effective_sends": effective,
        "randomised_sends_needed": max(planned - len(rows), MINIMUM_EFFECTIVE),
        "is_lift_shown": False,
        "status": "cannot be estimated",
    }
    if effective < MINIMUM_EFFECTIVE or new.rate <= 0 or now.rate <= 0:
        return row
    _, subscriber = np.unique(rows["subscriber_key"].to_numpy(), return_inverse=True)
    clustered = np.bincount(subscriber, weights=new.influence / new.rate - now.influence / now.rate)
    error = float(np.linalg.norm(clustered))
    log_ratio = float(np.log(new.rate / now.rate))
    return row | {
        "recommended_engagement_rate": min(new.rate, 1.0),
        "current_engagement_rate": min(now.rate, 1.0),
        "engagement_lift": float(np.expm1(log_ratio)),
        "engagement_lift_low": float(np.expm1(log_ratio - NORMAL_95 * error)),
        "engagement_lift_high": float(np.expm1(log_ratio + NORMAL_95 * error)),
        "is_lift_shown": log_ratio - SHOW_Z * error > 0,
        "randomised_sends_needed": max(math.ceil(len(rows) * ((error / PRECISE_ERROR) ** 2 - 1)), 0),
        "status": "ok",
    }


def _exploring(row: dict[str, Any], messages: int) -> dict[str, Any]:
    least, most = EXPLORATION_BOUNDS
    wanted = min(max(row["randomised_sends_needed"] / max(messages, 1), least), most)
    return row | {"exploration_share": 0.0 if row["is_lift_shown"] else wanted}


def _value(
    rows: pl.DataFrame, outcome: np.ndarray, expected_logged: np.ndarray, expected_chosen: np.ndarray, choice: str
) -> _Value:
    """The model's mean at the chosen hours, corrected by what messages at these hours did beyond the model."""
    matches = (rows["local_hour"] == rows[choice]).to_numpy()
    weight = matches / rows["propensity"].to_numpy()
    total = weight.sum()
    if total == 0:
        return _Value(0.0, np.zeros(len(rows)), 0.0, 0)
    residual = outcome - expected_logged
    correction = float((weight * residual).sum() / total)
    base = float(expected_chosen.mean())
    influence = (expected_chosen - base) / len(rows) + weight * (residual - correction) / total
    return _Value(base + correction, influence, float(total**2 / (weight**2).sum()), int(matches.sum()))


def _planned(rate: float, hours: int) -> int:
    """Messages at drawn hours for an error of `PRECISE_ERROR`: one in `hours` of them is sent at either hour compared.

    The variance of the log ratio of two rates is the sum of (1 - rate) / (rate x messages) of both.
    """
    return math.ceil(2 * hours * (1 - rate) / rate / PRECISE_ERROR**2)
