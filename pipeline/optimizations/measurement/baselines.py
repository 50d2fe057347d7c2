"""What is known of the places where a change could be measured: how many people come by, and what they do.

Here: the places, and their people and outcomes before any change. Not here: the plan that is made from them (`sizing`).
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from pipeline.analysis.experiments.exposures import OUTCOMES, Facts, first_outcomes
from pipeline.analysis.experiments.metrics import winsor_cap
from pipeline.optimizations.measurement.sizing import FIRST_SPAN, SECOND_SPAN
from pipeline.schemas.base import conform, empty
from pipeline.schemas.loop import OutcomeBaselines
from pipeline.schemas.vocabulary import MetricName

METHOD = "first message of each person in 56 days whose windows have closed"


@dataclass(frozen=True, order=True)
class Place:
    """Where a change is measured: steps of a workflow, or without any all workflows; and its window in days."""

    workflow_id: str
    step_ids: tuple[str, ...]
    window_days: int


def places_of(
    tests: pl.DataFrame, points: pl.DataFrame, delays: pl.DataFrame, *, windows: tuple[int, int]
) -> list[Place]:
    """The places at which tonight's tables could suggest a change.

    Args:
        tests: rows of `experiments`.
        points: rows of `decision_points`.
        delays: rows of `delay_recommendations`.
        windows: days after a message in which an outcome of the whole account counts, and one of a delay.
    """
    account, delay = windows
    found = {Place("", (), account)}
    for row in tests.iter_rows(named=True):
        found.add(Place(row["workflow_id"], (row["step_id"],), row["window_days"]))
    for row in points.iter_rows(named=True):
        steps = tuple(json.loads(row["mailed_step_ids"])) or (row["step_id"],)
        found.add(Place(row["workflow_id"], steps, row["outcome_days"]))
    for row in delays.filter(pl.col("action") == "change").iter_rows(named=True):
        found.add(Place(row["workflow_id"], (row["from_step_id"],), delay))
    return sorted(found)


def outcome_baselines(places: list[Place], facts: Facts, *, as_of_day: date) -> pl.DataFrame:
    """People and outcomes of each place in the last eight weeks whose windows have closed.

    Args:
        places: where a change could be measured.
        facts: core tables.
        as_of_day: tonight.

    Returns:
        Rows of `outcome_baselines`, one per place and metric. Each person counts once, with the first message, exactly
        as a realised lift will count them. Amounts are winsorised as they are there.
    """
    rows = [row for place in places for row in _rows(place, facts, as_of_day)]
    if not rows:
        return empty(OutcomeBaselines)
    stamped = pl.DataFrame(rows, infer_schema_length=None).with_columns(
        as_of_day=pl.lit(as_of_day), method=pl.lit(METHOD)
    )
    return conform(stamped.sort("workflow_id", "step_ids", "window_days", "metric"), OutcomeBaselines)


def _rows(place: Place, facts: Facts, as_of_day: date) -> Iterator[dict[str, object]]:
    last = as_of_day - timedelta(days=place.window_days)
    of_place = {"workflow_id": place.workflow_id or None, "step_ids": json.dumps(list(place.step_ids))}

    def people(days: int) -> pl.DataFrame:
        first = last - timedelta(days=days - 1)
        return first_outcomes(
            facts,
            place.workflow_id or None,
            place.step_ids,
            first=first,
            last=last,
            window_days=place.window_days,
        )

    early, all_of_them = people(FIRST_SPAN), people(SECOND_SPAN)
    cap = winsor_cap(all_of_them["revenue"])
    for metric in MetricName:
        outcome = all_of_them[OUTCOMES[metric]].cast(pl.Float64)
        is_amount = metric is MetricName.REVENUE
        amounts = outcome.clip(upper_bound=cap) if is_amount and cap is not None else outcome
        yield {
            **of_place,
            "window_days": place.window_days,
            "metric": str(metric),
            "people_28d": early.height,
            "people_56d": all_of_them.height,
            "outcome_mean": amounts.mean(),
            "outcome_deviation": amounts.std() if is_amount else None,
        }
