"""`rules.yaml`, `decision_points.yaml`, `content_blocks.yaml`: which subscribers may get which path or content.

Only shape and sense are checked here. Rules are evaluated in `pipeline/decisions/rules.py`, and arms are chosen in
`pipeline/decisions/selection.py`.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pipeline.config.delivery import Deliver, Described, shared_means, value_mistakes
from pipeline.config.flow_map import FlowMap, journey_workflow_id, load_flow_map
from pipeline.config.reader import Definition, Location, Mistake, Name, load_definition, repeated_ids
from pipeline.decisions.definitions import (
    EVALUATION_FLOOR,
    FLOOR,
    Arm,
    DecisionDefinition,
    DecisionDefinitions,
    DecisionPoint,
    Rule,
    parse_rule,
)
from pipeline.schemas.vocabulary import DecisionMode

RULES_FILE, POINTS_FILE, BLOCKS_FILE = "rules.yaml", "decision_points.yaml", "content_blocks.yaml"
Weight = Annotated[float, Field(gt=0, le=1_000_000)]
_Known = tuple[set[str], FlowMap, tuple[tuple[str, str], ...]]
"""Ids of the rules, the flow map, and (means, id) of what other files deliver, against which a file is checked."""
_NOTHING: _Known = (set(), FlowMap(), ())
_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class NamedRule(Definition):
    """A condition or group with a name."""

    id: Name
    when: Any


class Rules(Definition):
    """The file: a list under `rules`."""

    rules: tuple[NamedRule, ...] = ()

    def mistakes(self, known: Any) -> Iterator[Mistake]:
        """Ids that are written twice, and rules that cannot be read."""
        yield from repeated_ids(self.rules, "rules")
        for number, rule in enumerate(self.rules):
            try:
                parse_rule(rule.id, rule.when)
            except ValueError as error:
                place, _, text = str(error).partition(": ")
                inside = () if place == "the rule" else _location(place)
                yield ("rules", number, "when", *inside), text


class Choice(Definition):
    """An arm: a path or a variation. Without a rule everybody may have it. `weight` decides among equal priorities."""

    id: Name
    rule: Name | None = None
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    weight: Weight = 1.0

    def arm(self, rules: dict[str, Rule]) -> Arm:
        """The arm to be chosen."""
        return Arm(self.id, rules[self.rule] if self.rule else None, self.priority, self.weight)


class PathChoice(Choice):
    """A path and the step that it leads to."""

    to: Name

    def arm(self, rules: dict[str, Rule]) -> Arm:
        """The arm to be chosen."""
        return Arm(self.id, rules[self.rule] if self.rule else None, self.priority, self.weight, self.to)


class Decision(Described):
    """Where one of several arms is chosen. The `default` is taken when no arm is eligible or anything fails."""

    id: Name
    workflow: Name
    step: Name
    mode: DecisionMode = "rules"
    default: Name
    deliver: Deliver | None = None


class Point(Decision):
    """A branch of a workflow."""

    paths: tuple[PathChoice, ...] = Field(min_length=1)


class Points(Definition):
    """The file: a list under `decision_points`."""

    decision_points: tuple[Point, ...] = ()

    def mistakes(self, known: _Known | None) -> Iterator[Mistake]:
        """Ids that are written twice, and rules, steps and targets that do not exist."""
        yield from _decision_mistakes("decision_points", self.decision_points, "paths", known or _NOTHING)
        _, flows, _ = known or _NOTHING
        for number, point in enumerate(self.decision_points):
            targets = _targets(flows, point.workflow, point.step)
            for place, path in enumerate(point.paths):
                if targets is not None and path.to not in targets:
                    advice = f"Write one of {', '.join(targets)}." if targets else "Add a step to flows.yaml."
                    where = ("decision_points", number, "paths", place, "to")
                    yield where, f"'{path.to}' does not come after '{point.step}'. {advice}"


class Block(Decision):
    """A place in the e-mail of a step whose content varies."""

    variations: tuple[Choice, ...] = Field(min_length=1)


class Blocks(Definition):
    """The file: a list under `content_blocks`."""

    content_blocks: tuple[Block, ...] = ()

    def mistakes(self, known: _Known | None) -> Iterator[Mistake]:
        """Ids that are written twice, and rules and steps that do not exist."""
        yield from _decision_mistakes("content_blocks", self.content_blocks, "variations", known or _NOTHING)


def load_decisions(folder: Path) -> DecisionDefinitions:
    """The rules, decision points and content blocks of a definitions folder; none without the files.

    Raises:
        DefinitionsError: names every mistake of a file with line and field.
    """
    named = load_definition(folder / RULES_FILE, Rules, is_typed=True).rules
    rules = {rule.id: parse_rule(rule.id, rule.when) for rule in named}
    flows = load_flow_map(folder)
    points = load_definition(folder / POINTS_FILE, Points, known=(set(rules), flows, ())).decision_points
    taken = tuple((one.deliver.means, one.id) for one in points if one.deliver and one.deliver.means)
    blocks = load_definition(folder / BLOCKS_FILE, Blocks, known=(set(rules), flows, taken)).content_blocks
    return DecisionDefinitions(
        tuple(rules.values()),
        tuple(_definition(point, point.paths, rules, is_path=True) for point in points),
        tuple(_definition(block, block.variations, rules, is_path=False) for block in blocks),
    )


def _definition(
    one: Decision, choices: tuple[Choice, ...], rules: dict[str, Rule], *, is_path: bool
) -> DecisionDefinition:
    arms = tuple(choice.arm(rules) for choice in choices)
    floor = EVALUATION_FLOOR if one.mode == "evaluate" else FLOOR
    point = DecisionPoint(one.id, arms, one.default, one.step if is_path else None, floor)
    return DecisionDefinition(
        point,
        one.workflow,
        one.step,
        one.mode,
        is_path=is_path,
        means=one.deliver.means if one.deliver else None,
        name=one.name,
        description=one.description,
        owner=one.owner,
    )


def _location(place: str) -> Location:
    """The parts of a place such as 'all[1].operator'."""
    return tuple(int(index) if index else name for name, index in _PART.findall(place))


def _decision_mistakes(key: str, decisions: Sequence[Decision], arms: str, known: _Known) -> Iterator[Mistake]:
    rules, flows, taken = known
    yield from repeated_ids(decisions, key)
    yield from shared_means(decisions, key, taken)
    for number, one in enumerate(decisions):
        choices: tuple[Choice, ...] = getattr(one, arms)
        yield from value_mistakes((key, number), one.deliver, (choice.id for choice in choices))
        yield from _choice_mistakes((key, number), arms, one.default, choices, rules)
        yield from _step_mistakes((key, number), one.workflow, one.step, flows)


def _choice_mistakes(
    here: Location, key: str, default: str, choices: tuple[Choice, ...], rules: set[str]
) -> Iterator[Mistake]:
    yield from repeated_ids(choices, *here, key)
    for number, choice in enumerate(choices):
        if choice.rule and choice.rule not in rules:
            text = f"'{choice.rule}' is not a rule of rules.yaml. Correct the id, or add the rule there."
            yield (*here, key, number, "rule"), text
    ids = [choice.id for choice in choices]
    if default not in ids:
        yield (*here, "default"), f"'{default}' is not one of these. Write one of {', '.join(ids)}."


def _step_mistakes(here: Location, workflow: str, step: str, flows: FlowMap) -> Iterator[Mistake]:
    flow = next((flow for flow in flows.flows if flow.id == workflow), None)
    if flow is None:
        # Journeys are workflows without being in the map. Whether this one exists is for the night to tell.
        if not workflow.startswith(journey_workflow_id("")):
            text = (
                f"'{workflow}' is not a workflow of flows.yaml. Write the id of one, or of a journey, as journey-123."
            )
            yield (*here, "workflow"), text
    elif flow.steps and step not in {one.id for one in flow.steps}:
        yield (*here, "step"), f"'{step}' is not a step of {workflow}. Write the id of one."


def _targets(flows: FlowMap, workflow: str, step: str) -> list[str] | None:
    """The steps that come after a step. None if the flow map leaves the steps to Mailchimp."""
    flow = next((flow for flow in flows.flows if flow.id == workflow), None)
    return flow.successors().get(step) if flow and flow.steps else None
