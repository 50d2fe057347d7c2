from datetime import date
from pathlib import Path

import pytest

from pipeline.analysis.experiments.draft import ExperimentDraft
from pipeline.config.experiments import load_experiments
from pipeline.config.reader import DefinitionsError
from pipeline.schemas.vocabulary import Assigner, GuardrailName

FILE = """\
experiments:
  - id: subject
    hypothesis: A short subject is clicked more.
    owner: ann
    workflow: welcome
    step: hello
    arms: {old: 0.5, new: 0.5}
    primary_metric: click
    minimum_lift: 0.1
    window_days: 5
    start: 2026-03-02
    end: 2026-04-05
  - id: offer-amount
    hypothesis: Twenty percent sell more than ten.
    owner: bob
    workflow: cart
    step: offer
    arms: {ten: 0.6, twenty: 0.2, thirty: 0.2}
    primary_metric: revenue
    secondary_metrics: [click, conversion]
    guardrails: [complaint]
    minimum_lift: 0.2
    window_days: 7
    start: 2026-03-02
    open_ended: true
    assigned_by: field
    arm_field: OFFER
"""
SECOND = FILE.replace("id: offer-amount", "id: next").replace("workflow: cart", "workflow: welcome")
MEETING = SECOND.replace("step: offer", "step: hello")


def load(folder: Path, text: str) -> tuple[ExperimentDraft, ...]:
    (folder / "experiments.yaml").write_text(text, encoding="utf-8")
    return load_experiments(folder)


def test_without_a_file_there_are_no_tests(tmp_path: Path) -> None:
    assert load_experiments(tmp_path) == ()


def test_a_test_is_read_as_it_is_written(tmp_path: Path) -> None:
    first, second = load(tmp_path, FILE)
    assert (first.start_day, first.end_day) == (date(2026, 3, 2), date(2026, 4, 5))
    assert first.shares == (("old", 0.5), ("new", 0.5))
    assert [metric.name for metric in first.metrics] == ["click", *GuardrailName]
    assert (first.assigned_by, first.arm_field) == (Assigner.DRIPTUNE, None)
    assert [(metric.name, metric.role.value) for metric in second.metrics] == [
        ("revenue", "primary"),
        ("click", "secondary"),
        ("conversion", "secondary"),
        ("complaint", "guardrail"),
    ]
    assert (second.assigned_by, second.arm_field, second.is_open_ended) == (Assigner.FIELD, "OFFER", True)


@pytest.mark.parametrize(
    ("written", "means"),
    [("arm_field: ARM", "ARM"), ("deliver: {field: SETUP_TEST}", "SETUP_TEST"), ("deliver: {tag: hello}", "tag hello")],
)
def test_a_test_says_what_its_arms_are_written_to(tmp_path: Path, written: str, means: str) -> None:
    [first, _] = load(tmp_path, FILE.replace("owner: ann", f"owner: ann\n    {written}\n    name: Subject", 1))
    assert (first.arm_field, first.name) == (means, "Subject")


@pytest.mark.parametrize(
    ("text", "old", "new", "said"),
    [
        (FILE, "old: 0.5", "old: 0.4", "line 7, subject.arms: the shares sum to 0.9"),
        (FILE, "{old: 0.5, new: 0.5}", "{old: 0.5}", "line 7, subject.arms"),
        (FILE, "primary_metric: click", "primary_metric: open", "line 8, subject.primary_metric: 'open' does not fit"),
        (FILE, "minimum_lift: 0.1\n", "minimum_lift: -1\n", "line 9, subject.minimum_lift"),
        (FILE, "end: 2026-04-05", "end: 2026-02-05", "line 12, subject.end: 2026-02-05 is before the start"),
        (FILE, "start: 2026-03-02\n    end", "start: soon\n    end", "line 11, subject.start: 'soon' does not fit"),
        (FILE, "id: offer-amount", "id: subject", "line 13, subject.id: 'subject' is used twice"),
        (FILE, "secondary_metrics: [click,", "secondary_metrics: [revenue,", "line 20, offer-amount.secondary_metrics"),
        (FILE, "guardrails: [complaint]", "guardrails: [bounce]", "line 21, offer-amount.guardrails[0]"),
        (FILE, "arm_field: OFFER", "arm_field: offer amount", "line 27, offer-amount.arm_field: 'offer amount' is no"),
        (FILE, "\n    arm_field: OFFER", "", "offer-amount.arm_field: is missing"),
        (FILE, "open_ended: true", "open_ended: true\n    end: 2026-09-01", "line 26, offer-amount.end: an open-ended"),
        (FILE, "owner: ann", "owner: ann\n    salt: x", "line 5, subject.salt: is not a known field"),
        (FILE, "owner: ann", "owner: ann\n    deliver: {event: go}", "line 5, subject.deliver: an event or a trigger"),
        (
            FILE,
            "arm_field: OFFER",
            "arm_field: OFFER\n    deliver: {field: A}",
            "offer-amount.arm_field: says the same",
        ),
        (MEETING, "", "", "line 24, next.start: 'subject' runs on the same step at that time"),
    ],
)
def test_a_mistake_is_told_with_line_and_field(tmp_path: Path, text: str, old: str, new: str, said: str) -> None:
    assert old in text
    with pytest.raises(DefinitionsError) as mistake:
        load(tmp_path, text.replace(old, new, 1))
    [problem] = mistake.value.problems
    assert problem.startswith("experiments.yaml, ")
    assert said in problem


def test_two_tests_on_a_step_may_follow_each_other(tmp_path: Path) -> None:
    after = MEETING.replace("start: 2026-03-02\n    open", "start: 2026-04-06\n    open")
    assert len(load(tmp_path, after)) == len(load(tmp_path, SECOND)) == 2


def test_two_tests_do_not_write_one_merge_field(tmp_path: Path) -> None:
    one = FILE.replace("owner: ann", "owner: ann\n    deliver: {field: ARM}", 1)
    both = one.replace("assigned_by: field\n    arm_field: OFFER", "arm_field: ARM")
    with pytest.raises(DefinitionsError, match="'subject' uses the merge field ARM already"):
        load(tmp_path, both)
