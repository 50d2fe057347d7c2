"""rules.yaml, decision_points.yaml, content_blocks.yaml: read with the types of their values, every mistake placed."""

from datetime import date
from pathlib import Path

import pytest

from pipeline.config.decisions import load_decisions
from pipeline.config.reader import DefinitionsError

FLOWS = """\
flows:
  - id: f
    steps:
      - {id: start}
      - {id: fork, kind: branch}
      - {id: left, after: [fork]}
      - {id: right, after: [fork], default: true}
"""
RULES = """\
rules:
  - id: paying
    when: {field: plan, operator: equals, value: pro}
  - id: several
    when:
      all:
        - {field: purchases, operator: greaterThan, value: 2}
        - {field: signup_at, operator: notEquals, value: 2026-03-01}
"""
POINTS = """\
decision_points:
  - id: fork
    workflow: f
    step: fork
    mode: learn
    default: b
    paths:
      - {id: a, to: left, rule: paying, priority: 5}
      - {id: b, to: right, weight: 2.5}
"""
BLOCKS = """\
content_blocks:
  - id: hero
    workflow: f
    step: start
    default: plain
    variations:
      - {id: big, rule: several}
      - {id: plain}
"""


def load(folder: Path, *, rules: str = RULES, points: str = POINTS, blocks: str = BLOCKS):
    for name, text in (("flows", FLOWS), ("rules", rules), ("decision_points", points), ("content_blocks", blocks)):
        (folder / f"{name}.yaml").write_text(text)
    return load_decisions(folder)


def test_definitions_are_read_as_written(tmp_path: Path) -> None:
    found = load(tmp_path)
    values = [member.value for member in found.rules[1].condition.members]
    assert values == [2, date(2026, 3, 1)]
    [fork], [hero] = found.paths, found.content
    assert (fork.mode, fork.point.default_arm, fork.point.step_id) == ("learn", "b", "fork")
    assert [(arm.arm, arm.priority, arm.weight, arm.target_step_id) for arm in fork.point.arms] == [
        ("a", 5, 1.0, "left"),
        ("b", 0, 2.5, "right"),
    ]
    assert hero.point.arms[0].rule == found.rules[1]
    assert hero.point.step_id is None


def test_without_files_nothing_is_decided(tmp_path: Path) -> None:
    found = load_decisions(tmp_path)
    assert (found.rules, found.paths, found.content) == ((), (), ())


@pytest.mark.parametrize(
    ("kind", "old", "new", "message"),
    [
        ("rules", "operator: greaterThan", "operator: moreThan", "rules.yaml, line 7, several.when.all[0].operator:"),
        (
            "rules",
            "value: 2}",
            "value: two}",
            "line 7, several.when.all[0].value: 'two' does not fit greaterThan. Write a number",
        ),
        ("rules", "id: several", "id: paying", "line 4, paying.id: 'paying' is used twice"),
        ("points", "to: left", "to: start", "line 8, fork.paths[0].to: 'start' does not come after 'fork'"),
        ("points", "to: left, ", "", "line 8, fork.paths[0].to: is missing"),
        ("points", "rule: paying", "rule: payng", "line 8, fork.paths[0].rule: 'payng' is not a rule of rules.yaml"),
        ("points", "default: b", "default: c", "line 6, fork.default: 'c' is not one of these. Write one of a, b."),
        ("points", "weight: 2.5", "weight: 0", "line 9, fork.paths[1].weight"),
        ("points", "workflow: f", "workflow: g", "line 3, fork.workflow: 'g' is not a workflow of flows.yaml"),
        ("points", "mode: learn", "mode: guess", "line 5, fork.mode: 'guess' is not known"),
        ("blocks", "step: start", "step: begin", "line 4, hero.step: 'begin' is not a step of f"),
        ("blocks", "id: plain}", "id: big}", "line 8, hero.variations[1].id: 'big' is used twice"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_field(
    tmp_path: Path, kind: str, old: str, new: str, message: str
) -> None:
    text = {"rules": RULES, "points": POINTS, "blocks": BLOCKS}[kind]
    with pytest.raises(DefinitionsError) as told:
        load(tmp_path, **{kind: text.replace(old, new, 1)})
    assert message in str(told.value)


def test_a_journey_needs_no_entry_of_the_map(tmp_path: Path) -> None:
    points = POINTS.replace("workflow: f", "workflow: journey-7", 1)
    assert load(tmp_path, points=points).point("fork").workflow_id == "journey-7"


@pytest.mark.parametrize(
    ("deliver", "message"),
    [
        ("{field: route}", "line 5, fork.deliver.field: 'route' is not a merge field's name"),
        ("{field: LONGERTHAN10}", "line 5, fork.deliver.field: 'LONGERTHAN10' is not a merge field's name"),
        ("{tag: 'a: b'}", "line 5, fork.deliver.tag: 'a: b' is not the beginning of a tag"),
        ("{field: A, tag: a}", "line 5, fork.deliver: names field and tag. Write one of field, tag, event and trigger"),
        ("{}", "line 5, fork.deliver: names none of them. Write one of field, tag, event and trigger"),
        ("{event: go}", "line 5, fork.deliver: an event or a trigger carries no value. Write a field or a tag"),
        ("{event: x}", "line 5, fork.deliver.event: 'x' is not an event's name"),
        ("{trigger: {journey: 0, step: 1}}", "line 5, fork.deliver.trigger.journey: '0' does not fit"),
    ],
)
def test_a_means_that_mailchimp_cannot_carry_is_told(tmp_path: Path, deliver: str, message: str) -> None:
    with pytest.raises(DefinitionsError) as told:
        load(tmp_path, points=POINTS.replace("mode: learn", f"deliver: {deliver}"))
    assert message in str(told.value)


def test_a_value_that_is_too_long_for_its_means_is_told(tmp_path: Path) -> None:
    long = POINTS.replace("mode: learn", "deliver: {field: ROUTE}").replace("id: a,", f"id: {'a' * 256},")
    with pytest.raises(DefinitionsError, match="is too long: the value has 256 bytes, and a merge field takes 255"):
        load(tmp_path, points=long)


def test_one_means_carries_one_decision(tmp_path: Path) -> None:
    blocks = BLOCKS.replace("default: plain", "default: plain\n    deliver: {field: ROUTE}")
    points = POINTS.replace("mode: learn", "deliver: {field: ROUTE}")
    with pytest.raises(DefinitionsError, match=r"line 6, hero\.deliver: 'fork' is delivered by the"):
        load(tmp_path, points=points, blocks=blocks)


@pytest.mark.parametrize(
    ("written", "means"), [("{field: ROUTE}", "ROUTE"), ("{tag: the route}", "tag the route"), (None, None)]
)
def test_a_point_says_what_carries_its_arm(tmp_path: Path, written: str | None, means: str | None) -> None:
    extra = f"deliver: {written}\n    name: Which way\n    owner: ann\n    default: b" if written else "default: b"
    [point] = load(tmp_path, points=POINTS.replace("default: b", extra)).paths
    assert point.means == means
    assert (point.name, point.owner) == (("Which way", "ann") if written else (None, None))
    assert point.mailed_step_ids == ("left", "right")


def test_a_block_is_served_with_the_messages_of_its_step(tmp_path: Path) -> None:
    [block] = load(tmp_path).content
    assert block.mailed_step_ids == ("start",)
