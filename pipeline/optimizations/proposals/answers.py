"""When what a proposal would bring will be known: told before anybody approves it.

Here: the hold-out, the plan and the date of every proposal that is measured, in words. Not here: how they are computed
(`measurement.sizing`).
"""

import json
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import polars as pl

from pipeline.common.words import lift, share
from pipeline.optimizations.measurement.sizing import (
    LONGEST_DAYS,
    POWER,
    Baseline,
    needed_people,
    reachable_lift,
    sized,
    watch_share,
)
from pipeline.optimizations.proposals.evidence import Publication
from pipeline.optimizations.record import LiftPlan, Measure, Proposal
from pipeline.schemas.vocabulary import MetricName

UNTIL_FIRST_DAY = 2
"""Days from tonight to the first whole day of a change that is approved and applied tomorrow."""


def with_answer(proposal: Proposal, publication: Publication) -> Proposal:
    """The proposal with its hold-out sized, and in its evidence as `answer` and `answer_day` when it will be answered.

    A proposal that keeps nobody out, or is not measured, stays as it is.
    """
    measure, promise = proposal.measure, proposal.expected_lift
    if measure is None or not proposal.holdout_share:
        return proposal
    known = _known(proposal, measure, publication)
    if promise is None or promise <= 0:
        return _told(proposal, "No lift is promised, so no date can be told. " + _open_ended())
    found = known.get(measure.metric)
    if found is None:
        where = "nobody was mailed here" if not known else f"there was no {measure.metric} here"
        return _told(proposal, f"No date can be told, because {where} in the last eight weeks. {_open_ended()}")
    window = measure.window_days
    kept_out, plan = sized(found, promise, window_days=window, least_share=proposal.holdout_share)
    planned = proposal.model_copy(update={"holdout_share": kept_out, "plan": plan})
    if plan.days is None:
        return _told(planned, _too_long(plan, found, promise, measure, known))
    tonight: date = publication["outcome_baselines"].item(0, "as_of_day")
    day = tonight + timedelta(days=UNTIL_FIRST_DAY + plan.days - 1 + window)
    text = (
        f"If it is applied tomorrow, the answer is expected by {day}: {plan.people:,} people, {share(kept_out)} of "
        f"them kept out, show {lift(promise)} of {measure.metric} ({_level(found)}) "
        f"with a chance of {POWER:.0%}. "
        f"After the answer {share(watch_share(kept_out))} stay kept out."
    )
    return _told(planned, text, day)


def _told(proposal: Proposal, text: str, day: date | None = None) -> Proposal:
    answer = {"answer": text, "answer_day": day.isoformat() if day else None}
    return proposal.model_copy(update={"evidence": {**proposal.evidence, **answer}})


def _open_ended() -> str:
    return "The effect is measured all the same, by an interval that holds on all nights at once."


def _known(proposal: Proposal, measure: Measure, publication: Publication) -> dict[str, Baseline]:
    """What is known of the place, by metric; without the metrics that never happened there."""
    if "outcome_baselines" not in publication.tables:
        return {}
    steps = measure.step_ids or ((proposal.step_id,) if proposal.step_id else ())
    here = publication["outcome_baselines"].filter(
        pl.col("workflow_id").eq_missing(proposal.workflow_id)
        & (pl.col("step_ids") == json.dumps(list(steps)))
        & (pl.col("window_days") == measure.window_days)
        & (pl.col("people_28d") > 0)
        & (pl.col("outcome_mean") > 0)
    )
    return {row["metric"]: _baseline(row) for row in here.iter_rows(named=True)}


def _baseline(row: Mapping[str, Any]) -> Baseline:
    return Baseline(row["people_28d"], row["people_56d"], row["outcome_mean"], row["outcome_deviation"])


def _level(found: Baseline) -> str:
    level = share(found.mean) if found.deviation is None else f"{found.mean:.2f} a person"
    return f"{level} in the last eight weeks"


def _too_long(plan: LiftPlan, found: Baseline, promise: float, measure: Measure, known: Mapping[str, Baseline]) -> str:
    """That no plan ends in time, and what could be known instead."""
    window = measure.window_days
    people = found.people_within(LONGEST_DAYS - window)
    offers = []
    reachable = reachable_lift(found, window_days=window)
    if reachable is not None:
        offers.append(f"a lift of {lift(reachable)} or more, with half of the people kept out")
    nearer = known.get(MetricName.CLICK) if measure.metric != MetricName.CLICK else None
    if nearer is not None:
        days = sized(nearer, promise, window_days=window, least_share=0.1)[1].days
        if days is not None:
            offers.append(f"the same lift of clicks ({_level(nearer)}), in {days + window} days")
    offers.append("several such changes together, approved as one")
    return (
        f"No answer can be expected within {LONGEST_DAYS} days. To show {lift(promise)} of {measure.metric} "
        f"({_level(found)}) it takes {needed_people(found, promise, 0.5):,} people with half of them kept out, "
        f"and {people:,.0f} come by. What could be known by then: {'; '.join(offers)}. {_open_ended()}"
    )
