"""Rules over subscribers: each rule becomes one Polars expression, evaluated for all subscribers at once.

Here are types, the meaning of null, and evaluation. The form of rules is in `definitions`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from functools import reduce
from typing import Any

import polars as pl

from pipeline.common.names import nearest_name, quoted
from pipeline.decisions.definitions import UNITS, Condition, ConditionGroup, Group, Operator, Rule


@dataclass(frozen=True)
class CompiledCondition:
    """A condition for a given table: the value it reads, whether it matches, and why it cannot be answered, if so."""

    condition: Condition
    actual: pl.Expr
    matches: pl.Expr
    error: str | None


@dataclass(frozen=True)
class CompiledRule:
    """A rule for a given table: one boolean expression without nulls."""

    rule_id: str
    matches: pl.Expr
    conditions: tuple[CompiledCondition, ...]

    @property
    def error(self) -> str | None:
        """Why conditions cannot be answered, or None if all can."""
        return "; ".join(part.error for part in self.conditions if part.error) or None


def compile_rule(rule: Rule, schema: Mapping[str, pl.DataType], now: datetime) -> CompiledRule:
    """Turn a rule into one expression.

    Args:
        rule: the rule.
        schema: columns and types of the subscriber table. Structs hold nested fields.
        now: the moment from which `withinLast` counts back (UTC, aware or naive).

    Returns:
        The compiled rule. Its expression is false for everybody if one of its conditions cannot be answered.
    """
    conditions: list[CompiledCondition] = []
    matches = _compile(rule.condition, schema, _naive(now), conditions)
    compiled = CompiledRule(rule.rule_id, matches, tuple(conditions))
    return compiled if compiled.error is None else CompiledRule(rule.rule_id, pl.lit(False), compiled.conditions)


def evaluate_rules(subscribers: pl.DataFrame, rules: Sequence[Rule], now: datetime) -> pl.DataFrame:
    """Which subscribers match which rule.

    Args:
        subscribers: one row per subscriber: `subscriber_key` and the data that rules read.
        rules: the rules.
        now: the end of tonight, or the moment of a real-time decision.

    Returns:
        `subscriber_key` and a boolean column named by each `rule_id`, in the order of the input.
    """
    compiled = [compile_rule(rule, subscribers.schema, now) for rule in rules]
    renamed = subscribers.with_columns(rule.matches.alias(_column(rule.rule_id)) for rule in compiled)
    return renamed.select("subscriber_key", *(pl.col(_column(rule.rule_id)).alias(rule.rule_id) for rule in compiled))


def explain_rules(subscribers: pl.DataFrame, rules: Sequence[Rule], now: datetime) -> pl.DataFrame:
    """Why rules match or do not: every condition beside the value that it compared.

    Args:
        subscribers: as for `evaluate_rules`. Give few: the result has a row per subscriber and condition.
        rules: the rules.
        now: as for `evaluate_rules`.

    Returns:
        `subscriber_key`, `rule_id`, `condition` (its number in the rule, from 1), `field`, `operator`, `expected`
        (JSON), `unit` (of time, null without one), `actual` (text, null if missing), `matches`, `error`.
    """
    parts = []
    for rule in rules:
        for number, part in enumerate(compile_rule(rule, subscribers.schema, now).conditions, start=1):
            condition = part.condition
            unit = condition.unit if _NEEDED_KIND.get(condition.operator) is _Kind.INSTANT else None
            parts.append(
                subscribers.with_columns(
                    pl.lit(rule.rule_id).alias(_column("rule_id")),
                    pl.lit(number, dtype=pl.Int64).alias(_column("condition")),
                    pl.lit(condition.field).alias(_column("field")),
                    pl.lit(condition.operator.value).alias(_column("operator")),
                    pl.lit(json.dumps(condition.value, default=str)).alias(_column("expected")),
                    pl.lit(unit, dtype=pl.String).alias(_column("unit")),
                    part.actual.cast(pl.String).alias(_column("actual")),
                    part.matches.alias(_column("matches")),
                    pl.lit(part.error, dtype=pl.String).alias(_column("error")),
                ).select("subscriber_key", *(pl.col(_column(name)).alias(name) for name in _EXPLAINED))
            )
    if not parts:
        return (
            subscribers.select("subscriber_key")
            .clear()
            .with_columns(pl.lit(None, dtype=kind).alias(name) for name, kind in _EXPLAINED.items())
        )
    return pl.concat(parts)


_EXPLAINED = {
    "rule_id": pl.String,
    "condition": pl.Int64,
    "field": pl.String,
    "operator": pl.String,
    "expected": pl.String,
    "unit": pl.String,
    "actual": pl.String,
    "matches": pl.Boolean,
    "error": pl.String,
}


def _column(name: str) -> str:
    """A column name that cannot be that of a subscriber field."""
    return f"\x00{name}"


class _Kind(StrEnum):
    """The types of values that rules distinguish."""

    STRING = "text"
    NUMBER = "number"
    BOOLEAN = "boolean"
    INSTANT = "date or time"
    MISSING = "missing"
    OTHER = "list or structure"


def _kind_of_column(dtype: pl.DataType) -> _Kind:
    if dtype == pl.Null:
        return _Kind.MISSING
    if dtype in (pl.String, pl.Categorical, pl.Enum):
        return _Kind.STRING
    if dtype.is_numeric():
        return _Kind.NUMBER
    if dtype == pl.Boolean:
        return _Kind.BOOLEAN
    if dtype in (pl.Date, pl.Datetime):
        return _Kind.INSTANT
    return _Kind.OTHER


def _kind_of_value(value: Any) -> _Kind:
    if isinstance(value, bool):
        return _Kind.BOOLEAN
    if isinstance(value, int | float):
        return _Kind.NUMBER
    if isinstance(value, str):
        return _Kind.STRING
    if isinstance(value, date):
        return _Kind.INSTANT
    return _Kind.MISSING if value is None else _Kind.OTHER


def _naive(moment: date) -> datetime:
    """The instant as naive UTC."""
    if not isinstance(moment, datetime):
        return datetime(moment.year, moment.month, moment.day)
    return moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment


_DTYPES: dict[_Kind, pl.DataType] = {
    _Kind.STRING: pl.String(),
    _Kind.NUMBER: pl.Float64(),
    _Kind.BOOLEAN: pl.Boolean(),
    _Kind.INSTANT: pl.Datetime("us"),
}


def _unknown_field(field: str, schema: Mapping[str, pl.DataType]) -> str | None:
    """Why a field cannot be read, with the nearest that can; none if it can."""
    known = _fields(schema)
    if field in known:
        return None
    # Of a nested field people tend to write the last part alone.
    last_parts = {name.rpartition(".")[2]: name for name in known}
    nearest = nearest_name(field, known) or last_parts.get(nearest_name(field, last_parts) or "")
    hint = f"; the nearest is {quoted(nearest)}" if nearest else ""
    return f"no subscriber has the field {quoted(field)}{hint}"


def _fields(
    schema: Mapping[str, pl.DataType], above: tuple[str, ...] = ()
) -> dict[str, tuple[tuple[str, ...], pl.DataType]]:
    """Every field that a rule can name, nested ones by dots, with its path and type. A name may hold dots itself."""
    found: dict[str, tuple[tuple[str, ...], pl.DataType]] = {}
    for name, dtype in schema.items():
        path = (*above, name)
        found[".".join(path)] = path, dtype
        if isinstance(dtype, pl.Struct):
            found |= _fields(pl.Schema(dtype.to_schema()), path)
    return found


def _read(field: str, schema: Mapping[str, pl.DataType]) -> tuple[pl.Expr, _Kind]:
    """A known field as an expression of the type of its kind. It is null where a part of its path is missing."""
    (first, *rest), dtype = _fields(schema)[field]
    value = reduce(lambda outer, part: outer.struct.field(part), rest, pl.col(first))
    kind = _kind_of_column(dtype)
    if kind is _Kind.MISSING:
        return pl.lit(None, dtype=pl.String), _Kind.MISSING
    if kind is _Kind.NUMBER:
        return value.cast(pl.Float64).fill_nan(None), kind
    if kind is _Kind.STRING:
        return value.cast(pl.String), kind
    if kind is _Kind.INSTANT:
        zone = dtype.time_zone if isinstance(dtype, pl.Datetime) else None
        universal = value.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if zone else value
        return universal.cast(pl.Datetime("us")), kind
    return value, kind


def _compile(
    node: Condition | ConditionGroup,
    schema: Mapping[str, pl.DataType],
    now: datetime,
    found: list[CompiledCondition],
) -> pl.Expr:
    if isinstance(node, Condition):
        compiled = _compile_condition(node, schema, now)
        found.append(compiled)
        return compiled.matches
    members = [_compile(member, schema, now, found) for member in node.members]
    match node.kind:
        case Group.ALL:
            return reduce(pl.Expr.and_, members, pl.lit(True))
        case Group.ANY:
            return reduce(pl.Expr.or_, members, pl.lit(False))
        case Group.NOT:
            return members[0].not_()


_NEEDED_KIND = {
    Operator.CONTAINS: _Kind.STRING,
    Operator.GREATER_THAN: _Kind.NUMBER,
    Operator.LESS_THAN: _Kind.NUMBER,
    Operator.WITHIN_LAST: _Kind.INSTANT,
    Operator.NOT_WITHIN_LAST: _Kind.INSTANT,
}


def _compile_condition(condition: Condition, schema: Mapping[str, pl.DataType], now: datetime) -> CompiledCondition:
    if unknown := _unknown_field(condition.field, schema):
        return CompiledCondition(condition, pl.lit(None, dtype=pl.String), pl.lit(False), unknown)
    actual, kind = _read(condition.field, schema)
    needed = _NEEDED_KIND.get(condition.operator)
    shown = actual if kind is not _Kind.OTHER else pl.when(actual.is_not_null()).then(pl.lit(f"({kind})"))
    if needed and kind not in (needed, _Kind.MISSING):
        error = f"{condition.operator} needs a {needed}, but '{condition.field}' is a {kind}"
        return CompiledCondition(condition, shown, pl.lit(False), error)
    matches = _matches(condition, actual, kind, now).fill_null(False)
    return CompiledCondition(condition, shown, matches, None)


def _matches(condition: Condition, actual: pl.Expr, kind: _Kind, now: datetime) -> pl.Expr:
    """The comparison. It may be null where the field is null."""
    value = condition.value
    missing = kind is _Kind.MISSING
    match condition.operator:
        case Operator.EQUALS:
            return _equals_any(actual, kind, [value])
        case Operator.NOT_EQUALS:
            return _equals_any(actual, kind, [value]).not_()
        case Operator.IN:
            return _equals_any(actual, kind, value)
        case Operator.NOT_IN:
            return _equals_any(actual, kind, value).not_()
        case Operator.EXISTS:
            return pl.lit(False) if missing else actual.is_not_null()
        case Operator.NOT_EXISTS:
            return pl.lit(True) if missing else actual.is_null()
        case Operator.CONTAINS:
            return pl.lit(False) if missing else actual.str.contains(value, literal=True)
        case Operator.GREATER_THAN:
            return pl.lit(False) if missing else actual > float(value)
        case Operator.LESS_THAN:
            return pl.lit(False) if missing else actual < float(value)
        case Operator.WITHIN_LAST:
            return pl.lit(False) if missing else _happened_within(actual, value * UNITS[condition.unit], now)
        case Operator.NOT_WITHIN_LAST:
            return pl.lit(True) if missing else _happened_within(actual, value * UNITS[condition.unit], now).not_()


def _equals_any(actual: pl.Expr, kind: _Kind, values: Sequence[Any]) -> pl.Expr:
    """Whether the field equals one of the values in type and value. Never null."""
    same = [value for value in values if _kind_of_value(value) is kind and kind not in (_Kind.MISSING, _Kind.OTHER)]
    if not same:
        return pl.lit(False)
    if kind is _Kind.INSTANT:
        same = [_naive(value) for value in same]
    return actual.is_in(pl.Series(same, dtype=_DTYPES[kind]).implode()).fill_null(False)


def _happened_within(actual: pl.Expr, span: timedelta, now: datetime) -> pl.Expr:
    """Whether the field lies between now - span and now, both included. Never null. The future does not count."""
    latest, earliest = (pl.lit(moment, dtype=pl.Datetime("us")) for moment in (now, now - span))
    return ((actual >= earliest) & (actual <= latest)).fill_null(False)
