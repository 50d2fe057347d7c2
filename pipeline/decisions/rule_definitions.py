"""Personalization rules as users write them: operators, conditions, groups, and how they are read.

Here: the model of a rule and the reading of its YAML form. Not here: what a rule says about anybody.

Values are strings, numbers (compared as 64-bit floats; NaN is missing), booleans or instants (dates count as midnight
UTC); a value of one type never equals one of another. A field that a subscriber lacks is null. Null satisfies
notEquals, notIn, notExists and notWithinLast, and nothing else. A field that no subscriber can have is an error, and so
is a comparison that its field's type cannot answer. A rule with an error matches nobody, not even under `not`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any


class Operator(StrEnum):
    """The eleven operators."""

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
    """How the members of a group combine; an empty `all` holds, an empty `any` does not."""

    ALL = "all"
    ANY = "any"
    NOT = "not"


UNITS = {"minutes": timedelta(minutes=1), "hours": timedelta(hours=1), "days": timedelta(days=1), "weeks": timedelta(7)}
LONGEST_SPAN = timedelta(days=36_500)


@dataclass(frozen=True)
class Condition:
    """One comparison: a field (nested by dots), an operator, the expected value, and a unit for spans of time."""

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
    """A named condition."""

    rule_id: str
    condition: Condition | ConditionGroup


def parse_rule(rule_id: str, definition: Mapping[str, Any]) -> Rule:
    """Read a rule from its YAML form.

    Args:
        rule_id: name of the rule.
        definition: `{field, operator, value, unit}`, or `{all: [...]}`, `{any: [...]}`, `{not: {...}}`, nested at will.

    Returns:
        The rule.

    Raises:
        ValueError: names the place inside the rule, such as `all[1].operator`, what is wrong and what would be right.
    """
    return Rule(rule_id, _parse(definition, ""))


def rule_definition(rule: Rule) -> dict[str, Any]:
    """The YAML form of a rule: what `parse_rule` reads back."""
    return _written(rule.condition)


def _written(node: Condition | ConditionGroup) -> dict[str, Any]:
    if isinstance(node, ConditionGroup):
        members = [_written(member) for member in node.members]
        return {node.kind.value: members[0] if node.kind is Group.NOT else members}
    value = list(node.value) if isinstance(node.value, tuple) else node.value
    return {"field": node.field, "operator": node.operator.value, "value": value, "unit": node.unit}


def _parse(definition: Any, place: str) -> Condition | ConditionGroup:
    here = place or "the rule"
    if not isinstance(definition, Mapping):
        raise ValueError(f"{here}: expected a condition or a group, found {definition!r}.")
    kinds = [kind for kind in Group if kind in definition]
    if kinds:
        if len(definition) > 1:
            raise ValueError(f"{here}: a group holds one of 'all', 'any', 'not' and nothing beside it.")
        kind = kinds[0]
        inner = definition[kind]
        if kind is Group.NOT:
            return ConditionGroup(kind, (_parse(inner, _below(place, "not")),))
        if not isinstance(inner, Sequence) or isinstance(inner, str):
            raise ValueError(f"{_below(place, kind)}: expected a list of conditions.")
        return ConditionGroup(
            kind, tuple(_parse(item, _below(place, f"{kind}[{index}]")) for index, item in enumerate(inner))
        )
    return _parse_condition(definition, place)


def _below(place: str, part: str) -> str:
    return f"{place}.{part}" if place else part


def _parse_condition(definition: Mapping[str, Any], place: str) -> Condition:
    unknown = set(definition) - {"field", "operator", "value", "unit"}
    if unknown:
        raise ValueError(f"{_below(place, min(unknown))}: not a part of a condition (field, operator, value, unit).")
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
        raise ValueError(f"{_below(place, 'value')}: {operator} needs {wrong}, found {value!r}.")
    if unit not in UNITS:
        raise ValueError(f"{_below(place, 'unit')}: {unit!r} is not a unit. Use one of {', '.join(UNITS)}.")
    if operator in _SPANS and float(value or 0) * UNITS[unit] > LONGEST_SPAN:
        raise ValueError(f"{_below(place, 'value')}: {value} {unit} are more than a hundred years.")
    return Condition(field, operator, tuple(value) if isinstance(value, list) else value, unit)


_SPANS = (Operator.WITHIN_LAST, Operator.NOT_WITHIN_LAST)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _wrong_value(operator: Operator, value: Any) -> str | None:
    """What an operator needs instead of this value; none if it is right."""
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
