"""Delays that convert better than today's."""

from collections.abc import Iterator, Mapping
from typing import Any

import polars as pl

from pipeline.analysis.delays.recommendations import MINIMUM_CONVERSIONS
from pipeline.charts.figures import delay_chart
from pipeline.common.means import condition
from pipeline.common.words import lift
from pipeline.optimizations.proposals.evidence import BY_HAND, HELD_OUT, Publication, hold_out
from pipeline.optimizations.record import Measure, Proposal
from pipeline.schemas.vocabulary import ApplyKind, MetricName, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind

#: From the step before the wait: longer than any delay compared, as in the curves.
DELAY_OUTCOME_DAYS = 14
#: Delays to draw in a test where only one was used, as parts of today's.
_DRAWN = (0.5, 1.0, 2.0)
_HOURS_PER_DAY = 24
_TRANSITION = ["workflow_id", "from_step_id", "to_step_id"]


def delay_proposals(publication: Publication) -> Iterator[Proposal]:
    """One proposal per transition whose delay should change or be tested.

    Mailchimp's API cannot write the delay between two steps, so a person makes the change. It can write the delay of an
    e-mail in some classic automations, for everybody at once: there driptune makes the change, and nobody is kept out.
    Where only today's delay was used and enough people enter, a test of several delays is proposed.
    """
    alone = (pl.col("action") == "test") & (pl.col("status") == "single delay")
    for row in publication["delay_recommendations"].filter(alone).sort(_TRANSITION).iter_rows(named=True):
        yield _first_test(publication, row)
    recommended = publication["delay_recommendations"].filter(
        pl.col("action").is_in(["change", "test"]) & pl.col("recommended_delay_hours").is_not_null()
    )
    gains = {row["opportunity_id"]: row["expected_gain"] for row in publication["opportunities"].iter_rows(named=True)}
    for row in recommended.sort(_TRANSITION).iter_rows(named=True):
        workflow, start, end = (row[name] for name in _TRANSITION)
        curve = publication["delay_curves"].filter(pl.all_horizontal(pl.col(name) == row[name] for name in _TRANSITION))
        now, best = round(row["current_delay_hours"]), round(row["recommended_delay_hours"])
        is_change = row["action"] == "change"
        names = f"{publication.step_name(workflow, start)} and {publication.step_name(workflow, end)}"
        verb = "wait" if is_change else "test waiting"
        target = f"{workflow}/{start}/{end}"
        written = _written(publication, workflow, end, best) if is_change else None
        marked = hold_out(f"delay {target}") if is_change and not written else {}
        whom = (
            f"Split before it: where {condition(marked['field'], marked['holdout_value'])}, the {now} hours stay; set "
            f"it to {best} hours for all others."
            if marked
            else f"Set it to {best} hours for half of the entrants, drawn by lot."
        )
        yield Proposal(
            kind=Kind.DELAY,
            target=target,
            title=f"{publication.workflow_name(workflow)}: {verb} {best} h instead of {now} h between {names}",
            workflow_id=workflow,
            step_id=start,
            before={"delay_hours": now},
            after=written
            or {
                "delay_hours": best,
                "instructions": [
                    _place(publication, row),
                    whom,
                    "Change the delay in flows.yaml too, and mark this record as done.",
                ],
                **marked,
            },
            apply_kind=ApplyKind.API_PATCH if written else ApplyKind.MANUAL,
            base_version=f"{now} h",
            evidence=publication.evidence(
                summary=_summary(row, best, now),
                source=f"marts.delay_curves where workflow_id = '{workflow}' and from_step_id = '{start}' "
                f"and to_step_id = '{end}'",
                rows=curve.sort("delay_hours").select(
                    "delay_hours", "entrants", "conversions", "conversion_rate", "conversion_rate_low",
                    "conversion_rate_high",
                ),
                chart=delay_chart(curve),
                at=(workflow, end),
                n=row["entrants"],
                effect=row["improvement"],
                effect_low=row["improvement_low"],
                effect_high=row["improvement_high"],
                effect_unit="relative change of conversion",
                method=row["method"],
                identification=row["identification"],
                window="conversions within the horizon after the step, matured entrants",
            ),
            expected_lift=row["improvement"] if is_change else None,
            expected_lift_low=row["improvement_low"] if is_change else None,
            expected_lift_high=row["improvement_high"] if is_change else None,
            expected_gain=gains.get(f"delay/{workflow}/{start}/{end}"),
            holdout_share=HELD_OUT if marked else BY_HAND,
            measure=Measure(metric=MetricName.CONVERSION, window_days=DELAY_OUTCOME_DAYS) if is_change else None,
            risk=Risk.MEDIUM if row["identification"] == "randomised" else Risk.HIGH,
        )  # fmt: skip


def _place(publication: Publication, row: Mapping[str, Any]) -> str:
    """The instruction that leads to the wait."""
    workflow, *steps = (row[name] for name in _TRANSITION)
    start, end = (publication.step_name(workflow, step) for step in steps)
    return f"Open '{publication.workflow_name(workflow)}' in your sender, at the wait between '{start}' and '{end}'."


def _written(publication: Publication, workflow: str, step: str, hours: int) -> dict[str, Any] | None:
    """The change as Mailchimp's API can write it; none where it cannot."""
    is_step = (pl.col("workflow_id") == workflow) & (pl.col("step_id") == step)
    found = publication["steps"].filter(is_step & pl.col("writable_delay_action").is_not_null())
    if found.is_empty():
        return None
    days, rest = divmod(hours, _HOURS_PER_DAY)
    length = {"type": "hour", "amount": hours} if rest else {"type": "day", "amount": days}
    return {
        "delay_hours": hours,
        "operation": "delay",
        "workflow_id": workflow,
        "email_id": found.item(0, "campaign_id"),
        "delay": {
            "action": found.item(0, "writable_delay_action"),
            "direction": "after",
            **(length if hours else {"type": "now"}),
        },
        "instructions": [
            "driptune sets the delay of the e-mail in Mailchimp, for everybody who comes to it from then on. Nobody is "
            "kept out, so what it brings is not compared with anybody.",
            "If flows.yaml names this delay, change it there too.",
        ],
    }


def _summary(row: Mapping[str, Any], best: int, now: int) -> str:
    """What is known of the delays. Of a delay that is yet to be tested no improvement is told: it is mostly luck."""
    told = (
        f"Of {row['entrants']:,} entrants with {row['delays_compared']} delays {row['conversions']:,} converted. "
        f"{best} h is better than {now} h with probability {row['better_probability']:.2f}"
    )
    if row["action"] == "change":
        return f"{told}: {lift(row['improvement'], row['improvement_low'], row['improvement_high'])}."
    return f"{told}, which is too little for a change. {_plan(row)} No improvement is promised before."


def _plan(row: Mapping[str, Any]) -> str:
    return f"A test takes {MINIMUM_CONVERSIONS} conversions, at today's pace about {row['test_days']:,} days."


def _first_test(publication: Publication, row: Mapping[str, Any]) -> Proposal:
    """A test of delays where none but today's was ever used: it promises nothing, because nothing is known yet."""
    workflow, start, end = (row[name] for name in _TRANSITION)
    now = round(row["current_delay_hours"])
    delays = sorted({max(1, round(now * part)) for part in _DRAWN})
    drawn = ", ".join(f"{hours} h" for hours in delays)
    names = f"{publication.step_name(workflow, start)} and {publication.step_name(workflow, end)}"
    return Proposal(
        kind=Kind.DELAY,
        target=f"{workflow}/{start}/{end}",
        title=f"{publication.workflow_name(workflow)}: test waiting {drawn} between {names}",
        workflow_id=workflow,
        step_id=start,
        before={"delay_hours": now},
        after={
            "delays_hours": delays,
            "instructions": [
                _place(publication, row),
                f"Split the entrants by lot into {len(delays)} equal parts, who wait {drawn}.",
                "Let the event `step_entered` tell `assigned_delay_hours` and `is_delay_randomised: true`.",
                "Save, and mark this record as done: `delay_curves` compares the delays every night.",
            ],
        },
        apply_kind=ApplyKind.MANUAL,
        base_version=f"{now} h alone",
        evidence=publication.evidence(
            summary=f"All {row['entrants']:,} entrants waited {now} h, so nothing is known of another delay. "
            f"{_plan(row)}",
            source=f"marts.delay_recommendations where workflow_id = '{workflow}' and from_step_id = '{start}' "
            f"and to_step_id = '{end}'",
            rows=pl.DataFrame([{name: row[name] for name in (*_TRANSITION, "entrants", "conversions")}]),
            at=(workflow, end),
            n=row["entrants"],
            effect=None,
            method=row["method"],
            identification="not identified",
            window="conversions within the horizon after the step, matured entrants",
        ),
        holdout_share=BY_HAND,
        risk=Risk.MEDIUM,
    )
