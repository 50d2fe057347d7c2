"""When to send a step: an hour for every cluster of its audience, under the step's constraints.

Which hour is best for whom is decided in `subscribers`; which hour each subscriber is assigned, in `exploration`.
"""

from datetime import date
from typing import Any

import numpy as np
import polars as pl
from scipy.optimize import linprog

from pipeline.analysis.send_time.counts import HOURS
from pipeline.schemas.base import conform, polars_schema
from pipeline.schemas.timing import SendSchedules

METHOD = "transport of clusters to allowed hours by engagement ratio"
UNKNOWN = 0.0
"""Stands for the ratio of an hour of which nothing is known: less than any that is known."""
WEEKDAY_NAMES = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


def allowed_hours(quiet_from_hour: int | None, quiet_until_hour: int | None) -> list[int]:
    """Local hours outside the quiet ones, which may span midnight; all hours where none are quiet.

    >>> allowed_hours(21, 8)[0], allowed_hours(21, 8)[-1]
    (8, 20)
    """
    if quiet_from_hour is None or quiet_until_hour is None:
        return list(range(HOURS))
    length = (quiet_until_hour - quiet_from_hour) % HOURS
    return [hour for hour in range(HOURS) if (hour - quiet_from_hour) % HOURS >= length]


def schedule_sends(
    audience: pl.DataFrame,
    subscribers: pl.DataFrame,
    profiles: pl.DataFrame,
    constraints: pl.DataFrame,
    *,
    as_of_day: date,
) -> pl.DataFrame:
    """Give each cluster of a step's audience a local hour.

    Args:
        audience: one row per (`workflow_id`, `step_id`, `subscriber_key`) to be mailed.
        subscribers: `subscriber_send_times`.
        profiles: `send_time_profiles`.
        constraints: one row per (`workflow_id`, `step_id`): `quiet_from_hour` and `quiet_until_hour` (nullable, may
            span midnight), `allowed_weekdays` (list of 0-6, Monday = 0) and `hourly_cap` (most recipients per local
            hour, nullable). A step without a row has no constraints.
        as_of_day: tonight.

    Returns:
        One row per step, cluster and hour with the number of `subscribers`. Those without an hour of their own form a
        row with `fallback_level` 'current hour'. `status` is 'ok', 'no allowed hour', 'cap too small' (the audience is
        spread evenly over the hours, above the cap) or 'not enough data' (today's hour is kept).

    The hours are those with the largest sum of engagement ratios over the audience, under the cap: a transport problem.
    """
    step = ["workflow_id", "step_id"]
    members = (
        audience.join(
            subscribers.select("subscriber_key", "cluster_id", "fallback_level"), on="subscriber_key", how="left"
        )
        .with_columns(
            is_own=(pl.col("fallback_level") == "subscriber").fill_null(False),
        )
        .with_columns(cluster_id=pl.when("is_own").then("cluster_id"))
        .group_by(*step, "cluster_id")
        .agg(subscribers=pl.len())
        .join(constraints, on=step, how="left")
        .sort(*step, "cluster_id", nulls_last=True)
    )
    # Hours of which nothing is known come last: they are used only where a cap leaves no other.
    known = profiles.sort("local_hour").with_columns(pl.col("engagement_ratio").fill_null(UNKNOWN))
    ratios = dict(known.group_by("cluster_id").agg("engagement_ratio").iter_rows())
    rows = [row for group in members.partition_by(step, maintain_order=True) for row in _schedule_step(group, ratios)]
    frame = pl.DataFrame(rows, schema={**polars_schema(SendSchedules)})
    return conform(
        frame.with_columns(as_of_day=pl.lit(as_of_day), method=pl.lit(METHOD)).sort(*step, "cluster_id", "local_hour"),
        SendSchedules,
    )


def _schedule_step(group: pl.DataFrame, ratios: dict[int, list[float]]) -> list[dict[str, Any]]:
    first = group.row(0, named=True)
    hours = allowed_hours(first["quiet_from_hour"], first["quiet_until_hour"])
    weekdays = range(7) if first["allowed_weekdays"] is None else sorted(first["allowed_weekdays"])
    step = {
        "workflow_id": first["workflow_id"],
        "step_id": first["step_id"],
        "local_weekdays": ",".join(WEEKDAY_NAMES[weekday] for weekday in weekdays),
    }
    rows = [
        step | {"subscribers": people, "fallback_level": "current hour", "status": "not enough data"}
        for people in group.filter(pl.col("cluster_id").is_null())["subscribers"]
    ]
    own = group.filter(pl.col("cluster_id").is_not_null())
    if own.is_empty():
        return rows
    clusters, people = own["cluster_id"].to_list(), own["subscribers"].to_numpy().astype(np.int64)
    if not hours or not weekdays:
        return rows + [
            step
            | {"cluster_id": cluster, "subscribers": size, "fallback_level": "cluster", "status": "no allowed hour"}
            for cluster, size in zip(clusters, people.tolist(), strict=True)
        ]
    gain = np.array([ratios[cluster] for cluster in clusters])[:, hours]
    even = -(-int(people.sum()) // len(hours))
    cap = first["hourly_cap"]
    assigned = _transport(gain, people, None if cap is None else max(cap, even))
    status = "cap too small" if cap is not None and cap < even else "ok"
    return rows + [
        step
        | {
            "cluster_id": clusters[cluster],
            "local_hour": hours[hour],
            "subscribers": int(assigned[cluster, hour]),
            "engagement_ratio": None if gain[cluster, hour] == UNKNOWN else float(gain[cluster, hour]),
            "fallback_level": "cluster",
            "status": status,
        }
        for cluster, hour in np.argwhere(assigned > 0)
    ]


def _transport(gain: np.ndarray, people: np.ndarray, cap: int | None) -> np.ndarray:
    """Number of people of each cluster at each hour, with the largest gain in sum and at most `cap` people an hour.

    The vertices of a transport problem are whole numbers, and the dual simplex ends on a vertex.
    """
    clusters, hours = gain.shape
    if cap is None:
        assigned = np.zeros(gain.shape, dtype=np.int64)
        assigned[np.arange(clusters), gain.argmax(axis=1)] = people
        return assigned
    everyone = np.kron(np.eye(clusters), np.ones(hours))
    per_hour = np.tile(np.eye(hours), clusters)
    solution = linprog(
        -gain.ravel(), A_eq=everyone, b_eq=people, A_ub=per_hour, b_ub=np.full(hours, cap), method="highs-ds"
    )
    return np.asarray(np.rint(solution.x), dtype=np.int64).reshape(gain.shape)
