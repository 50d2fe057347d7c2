"""What users write about decisions: rules with their conditions and groups, and points with their arms.

Here are their types, and how the YAML form of a rule is read. Nothing here takes long to import, so a name that is
unknown is refused at once. Which subscribers match a rule is computed in `rules`, and arms are chosen in `selection`.

Values are strings, numbers, booleans or instants. Numbers are compared as 64-bit floats, and NaN is taken as missing. A
date is taken as midnight UTC. A value of one type never equals a value of another. A field that a subscriber lacks is
null. Null satisfies notEquals, notIn, notExists and notWithinLast, and no other operator. A field that no subscriber
can have is an error, and so is an operator that does not fit the type of its field. A rule with an error matches
nobody, even under `not`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, TypeVar

from pipeline.common.errors import SourceError
from pipeline.common.names import with_nearest
from pipeline.schemas.vocabulary import DecisionMode

_Named = TypeVar("_Named")

FLOOR = 0.01
"""Smallest choice probability of an eligible arm, so that every arm can still be measured."""

EVALUATION_FLOOR = 0.05
"""The same while a policy is compared with the rules. It gives five times the effective sample."""


class Operator(StrEnum):
    """How a condition compares its field with its value."""

    EQUALS = "equals"
    NOT_EQUALS = "notEquals"
    CONTAINS = "contains"
    GREATER_THAN = "greaterThan"
    LESS_THAN = "lessThan"
    IN = "in"
    NOT_IN = "notIn"
    EXISTS = "exists"
    NOT_EXISTS = "notExists"
    WITHIN_LAST = "withinLast"
    NOT_WITHIN_LAST = "notWithinLast"


class Group(StrEnum):
    """How the members of a group combine. An empty `all` matches everybody, an empty `any` nobody."""

    ALL = "all"
    ANY = "any"
    NOT = "not"


UNITS = {"minutes": timedelta(minutes=1), "hours": timedelta(hours=1), "days": timedelta(days=1), "weeks": timedelta(7)}
LONGEST_SPAN = timedelta(days=36_500)


@dataclass(frozen=True)
class Condition:
    """One comparison: a field (dots lead into groups), an operator, a value, and the unit of a span of time."""

    field: str
    operator: Operator
    value: Any = None
    unit: str = "days"


@dataclass(frozen=True)
class ConditionGroup:
    """Conditions or groups combined by `all`, `any` or `not` (one member)."""

    kind: Group
    members: tuple["Condition | ConditionGroup", ...]


@dataclass(frozen=True)
class Rule:
    """A condition or group with a name."""

    rule_id: str
    condition: Condition | ConditionGroup


@dataclass(frozen=True)
class Arm:
    """A path or a content variation.

    Attributes:
        arm: name of the arm.
        rule: which subscribers may have it; all, if there is none.
        priority: without a policy, the eligible arm of the highest priority is chosen.
        weight: share among eligible arms of equal priority, above 0.
        target_step_id: the step that a path leads to; content has none.
    """

    arm: str
    rule: Rule | None = None
    priority: int = 0
    weight: float = 1.0
    target_step_id: str | None = None


@dataclass(frozen=True)
class DecisionPoint:
    """A branch of a workflow, or a content block.

    Attributes:
        default_arm: the arm that is served when no arm is eligible or anything fails.
        step_id: the branching step; a content block has none.
        floor: smallest choice probability of an eligible arm where a policy chooses.
    """

    decision_point_id: str
    arms: tuple[Arm, ...]
    default_arm: str
    step_id: str | None = None
    floor: float = FLOOR


@dataclass(frozen=True)
class DecisionDefinition:
    """A decision point or content block with the step that it belongs to and the way arms are chosen.

    Attributes:
        is_path: whether it is a decision point, which has paths; a content block has variations.
        means: what carries the chosen arm to the flow, as `pipeline.common.means` writes it; none where nothing does.
        name, description, owner: what people call it, what it is for, and who answers for it.
    """

    point: DecisionPoint
    workflow_id: str
    step_id: str
    mode: DecisionMode
    is_path: bool = True
    means: str | None = None
    name: str | None = None
    description: str | None = None
    owner: str | None = None

    @property
    def mailed_step_ids(self) -> tuple[str, ...]:
        """The steps whose messages an arm is served with: those that the paths lead to, or that of the block."""
        targets = dict.fromkeys(arm.target_step_id for arm in self.point.arms if arm.target_step_id)
        return tuple(targets) if self.is_path else (self.step_id,)


@dataclass(frozen=True)
class DecisionDefinitions:
    """Everything that the user's files say about decisions."""

    rules: tuple[Rule, ...]
    paths: tuple[DecisionDefinition, ...]
    content: tuple[DecisionDefinition, ...]

    def rule(self, rule_id: str) -> Rule:
        """The rule of this name.

        Raises:
            SourceError: if there is none.
        """
        return _named("RULE", rule_id, {rule.rule_id: rule for rule in self.rules}, "rules.yaml")

    def point(self, point_id: str) -> DecisionDefinition:
        """The decision point or content block of this name.

        Raises:
            SourceError: if there is none.
        """
        points = {one.point.decision_point_id: one for one in (*self.paths, *self.content)}
        return _named("POINT", point_id, points, "decision_points.yaml or content_blocks.yaml")


def parse_rule(rule_id: str, definition: Mapping[str, Any]) -> Rule:
    """Read a rule from its YAML form.

    Args:
        rule_id: name of the rule.
        definition: `{field, operator, value, unit}`, or `{all: [...]}`, `{any: [...]}`, `{not: {...}}`, nested freely.

    Raises:
        ValueError: names the place inside the rule, such as `all[1].operator`, what is wrong there and what to write.
    """
    return Rule(rule_id, _parse(definition, ""))


def rule_definition(rule: Rule) -> dict[str, Any]:
    """The YAML form of a rule. `parse_rule` reads it back."""
    return _written(rule.condition)


def _named(argument: str, name: str, known: Mapping[str, _Named], file: str) -> _Named:
    if name not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise SourceError(argument, f"{with_nearest(name, known)} is not in {file}", f"Known are: {listed}.")
    return known[name]


def _written(node: Condition | ConditionGroup) -> dict[str, Any]:
    if isinstance(node, ConditionGroup):
        members = [_written(member) for member in node.members]
        return {node.kind.value: members[0] if node.kind is Group.NOT else members}
    value = list(node.value) if isinstance(node.value, tuple) else node.value
    return {"field": node.field, "operator": node.operator.value, "value": value, "unit": node.unit}


def _parse(definition: Any, place: str) -> Condition | ConditionGroup:
    here = place or "the rule"
    if not isinstance(definition, Mapping):
        raise ValueError(f"{here}: {definition!r} is neither a condition nor a group. Write one of both.")
    kinds = [kind for kind in Group if kind in definition]
    if kinds:
        if len(definition) > 1:
            raise ValueError(f"{here}: a group has exactly one of 'all', 'any' and 'not'. Remove everything else.")
        kind = kinds[0]
        inner = definition[kind]
        if kind is Group.NOT:
            return ConditionGroup(kind, (_parse(inner, _below(place, "not")),))
        if not isinstance(inner, Sequence) or isinstance(inner, str):
            raise ValueError(f"{_below(place, kind)}: is not a list. Write a list of conditions.")
        return ConditionGroup(
            kind, tuple(_parse(item, _below(place, f"{kind}[{index}]")) for index, item in enumerate(inner))
        )
    return _parse_condition(definition, place)


def _below(place: str, part: str) -> str:
    return f"{place}.{part}" if place else part


def _parse_condition(definition: Mapping[str, Any], place: str) -> Condition:
    unknown = set(definition) - set(_PARTS)
    if unknown:
        raise ValueError(
            f"{_below(place, min(unknown))}: is not a part of a condition. Its parts are {', '.join(_PARTS)}."
        )
    field = definition.get("field")
    if not isinstance(field, str) or not all(field.split(".")):
        raise ValueError(f"{_below(place, 'field')}: {field!r} is not a field. Write a name such as 'profile.plan'.")
    try:
        operator = Operator(definition.get("operator", ""))
    except ValueError:
        known = ", ".join(Operator)
        raise ValueError(
            f"{_below(place, 'operator')}: {definition.get('operator')!r} is not an operator. Use one of {known}."
        ) from None
    value, unit = definition.get("value"), definition.get("unit", "days")
    wrong = _wrong_value(operator, value)
    if wrong:
        raise ValueError(f"{_below(place, 'value')}: {value!r} does not fit {operator}. Write {wrong}.")
    if unit not in UNITS:
        raise ValueError(f"{_below(place, 'unit')}: {unit!r} is not a unit. Use one of {', '.join(UNITS)}.")
    if operator in _SPANS and float(value or 0) * UNITS[unit] > LONGEST_SPAN:
        raise ValueError(f"{_below(place, 'value')}: {value} {unit} are over a hundred years. Write a shorter span.")
    return Condition(field, operator, tuple(value) if isinstance(value, list) else value, unit)


_PARTS = ("field", "operator", "value", "unit")
_SPANS = (Operator.WITHIN_LAST, Operator.NOT_WITHIN_LAST)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong_value(operator: Operator, value: Any) -> str | None:
    """What to write instead of this value, or None if it fits the operator."""
    match operator:
        case Operator.CONTAINS if not isinstance(value, str):
            return "a text"
        case Operator.GREATER_THAN | Operator.LESS_THAN if not _is_number(value):
            return "a number"
        case Operator.IN | Operator.NOT_IN if not isinstance(value, list | tuple):
            return "a list"
        case Operator.WITHIN_LAST | Operator.NOT_WITHIN_LAST if not _is_number(value) or not 0 <= value <= 1e9:
            return "a number of units, 0 or more"
        case Operator.EXISTS | Operator.NOT_EXISTS if value is not None:
            return "no value"
    return None
