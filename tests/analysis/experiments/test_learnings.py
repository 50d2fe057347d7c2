"""Learnings: what is finished is told with its interval, and like steps elsewhere are named for a test."""

from datetime import date

import polars as pl

from pipeline.analysis.experiments.learnings import MOST_PLACES, learnings
from pipeline.schemas.base import empty
from pipeline.schemas.experiments import Experiments, ExperimentVerdicts
from pipeline.schemas.loop import Optimizations, RealisedLift
from pipeline.schemas.performance import Steps, Workflows
from tests.worlds.published import row

AS_OF = date(2026, 6, 29)
LIFT = {"lift": 0.2, "lift_low": 0.05, "lift_high": 0.4}


def account(*flows: str, archived: str | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Flows of two e-mails each, as `marts.steps` and `marts.workflows`."""
    steps = [
        row("steps", workflow_id=flow, step_id=step, position=position, kind="email", status="active")
        for flow in flows
        for position, step in enumerate(("hello", "tips"), 1)
    ]
    workflows = [
        row("workflows", workflow_id=flow, kind="flow", status="archived" if flow == archived else "active")
        for flow in flows
    ]
    return pl.concat([empty(Steps), *steps]), pl.concat([empty(Workflows), *workflows])


def learnt(verdict: str | None, outcome: str | None = None, flows: tuple[str, ...] = ("a", "b"), archived=None):
    tests = [row("experiments", experiment_id="subject", hypothesis="A task in the subject helps.")]
    verdicts = [
        row("experiment_verdicts", experiment_id="subject", workflow_id="a", step_id="hello", verdict=verdict,
            primary_metric="click", decided_day=date(2026, 6, 1), **LIFT)
    ] if verdict else []  # fmt: skip
    records = [row("optimizations", optimization_id="1f", title="Wait 48 h")]
    ends = {f"realised_{name}": value for name, value in LIFT.items()}
    realised = [
        row("realised_lift", optimization_id="1f", workflow_id="a", step_id="tips", outcome=outcome, is_latest=True,
            metric="conversion", first_day=date(2026, 6, 8), **ends)
    ] if outcome else []  # fmt: skip
    steps, workflows = account(*flows, archived=archived)
    return learnings(
        pl.concat([empty(Experiments), *tests]),
        pl.concat([empty(ExperimentVerdicts), *verdicts]),
        pl.concat([empty(Optimizations), *records]),
        pl.concat([empty(RealisedLift), *realised]),
        steps,
        workflows,
        as_of=AS_OF,
    )


def test_a_finished_test_and_a_measured_change_are_told_with_their_intervals():
    change, test = learnt("winner", "works").to_dicts()
    assert (test["source"], test["question"], test["outcome"]) == ("test", "A task in the subject helps.", "winner")
    assert (change["source"], change["question"], change["outcome"]) == ("change", "Wait 48 h", "works")
    for told in (change, test):
        assert (told["lift"], told["lift_low"], told["lift_high"]) == (0.2, 0.05, 0.4)


def test_like_steps_of_other_flows_are_named_for_a_test_and_promise_nothing():
    change, test = learnt("winner", "works", flows=("a", "b", "c")).to_dicts()
    assert test["could_try"] == "b/hello, c/hello"
    assert change["could_try"] == "b/tips, c/tips"
    assert "test" in test["suggestion"]
    assert "no promise" in test["suggestion"]
    assert not any(character.isdigit() for character in test["suggestion"])
    many = learnt("winner", flows=tuple("abcdefghi")).row(0, named=True)
    assert (many["alike"], many["could_try"].count(", ") + 1) == (8, MOST_PLACES)


def test_where_nothing_is_alike_or_in_use_nothing_is_suggested():
    for told in (learnt("winner", flows=("a",)), learnt("winner", archived="b")):
        assert told.select("could_try", "suggestion").row(0) == (None, None)


def test_what_goes_on_has_taught_nothing_yet():
    assert learnt("continue", "measuring").is_empty()
    assert learnt("futile", "harm").height == 2
    assert learnt(None).is_empty()
