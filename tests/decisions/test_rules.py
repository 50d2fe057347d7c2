import json
import math
import os
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.decisions.definitions import UNITS, Operator, parse_rule
from pipeline.decisions.rules import compile_rule, evaluate_rules, explain_rules

# Every run of the tests tries the first of them; RULE_EXAMPLES=10000 takes two minutes.
EXAMPLES = int(os.environ.get("RULE_EXAMPLES", "150"))
NOW = datetime(2026, 6, 1, 12)
SCHEMA = {
    "subscriber_key": pl.Int64,
    "plan": pl.String,
    "orders": pl.Int64,
    "spent": pl.Float64,
    "is_member": pl.Boolean,
    "last_visit": pl.Datetime("us"),
    "last_visit_utc": pl.Datetime("us", "UTC"),
    "birthday": pl.Date,
    "tags": pl.List(pl.String),
    "profile": pl.Struct({"city": pl.String, "score": pl.Float64, "deep": pl.Struct({"flag": pl.Boolean})}),
}
FIELDS = [*SCHEMA, "profile.city", "profile.score", "profile.deep.flag", "profile.none", "plan.none", "nowhere", "a.b"]
FIELDS.remove("subscriber_key")


class WrongTypeError(Exception):
    """The oracle's sign that a condition cannot be answered."""


# --- the oracle: one subscriber, one condition at a time, in plain Python -------------------------------------------


def type_name(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    return "instant" if isinstance(value, date) else "other"


def instant(value: date) -> datetime:
    if not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value


def same(actual: Any, expected: Any) -> bool:
    if actual is None or expected is None or type_name(actual) != type_name(expected):
        return False
    if type_name(actual) == "number":
        return float(actual) == float(expected)
    if type_name(actual) == "instant":
        return instant(actual) == instant(expected)
    return type_name(actual) != "other" and actual == expected


def look_up(row: dict[str, Any], field: str) -> Any:
    value: Any = row
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return None if isinstance(value, float) and math.isnan(value) else value


def declared_type(field: str) -> str:
    dtype: Any = pl.Struct(SCHEMA)
    for part in field.split("."):
        if not isinstance(dtype, pl.Struct):
            return "missing"
        dtype = dict(dtype).get(part)
    names = {pl.String: "text", pl.Int64: "number", pl.Float64: "number", pl.Boolean: "boolean"}
    if dtype is None:
        return "missing"
    if dtype in (pl.Date, pl.Datetime):
        return "instant"
    return next((name for kind, name in names.items() if dtype == kind), "other")


def judge(row: dict[str, Any], field: str, operator: str, expected: Any, unit: str) -> bool:
    needed = {
        "contains": "text",
        "greaterThan": "number",
        "lessThan": "number",
        "withinLast": "instant",
        "notWithinLast": "instant",
    }.get(operator)
    if declared_type(field) == "missing" or (needed and declared_type(field) != needed):
        raise WrongTypeError
    actual = look_up(row, field)
    match operator:
        case "equals":
            return same(actual, expected)
        case "notEquals":
            return not same(actual, expected)
        case "in":
            return any(same(actual, item) for item in expected)
        case "notIn":
            return not any(same(actual, item) for item in expected)
        case "exists":
            return actual is not None
        case "notExists":
            return actual is None
    if operator in ("withinLast", "notWithinLast"):
        recent = actual is not None and NOW - expected * UNITS[unit] <= instant(actual) <= NOW
        return recent is (operator == "withinLast")
    if actual is None:
        return False
    return {"contains": lambda: expected in actual, "greaterThan": lambda: actual > expected}.get(
        operator, lambda: actual < expected
    )()


def judge_all(row: dict[str, Any], node: dict[str, Any]) -> bool:
    for kind, combine in (("all", all), ("any", any)):
        if kind in node:
            answers = [judge_all(row, member) for member in node[kind]]  # no short cut: every error counts
            return combine(answers)
    if "not" in node:
        return not judge_all(row, node["not"])
    return judge(row, node["field"], node["operator"], node.get("value"), node.get("unit", "days"))


# --- examples --------------------------------------------------------------------------------------------------------

texts = st.sampled_from(["", "pro", "free", "pro plan", "1", "true", "ö", ".*", "2026-06-01"])
numbers = st.one_of(st.integers(-3, 3), st.sampled_from([0.5, 1.0, -0.0, 1e300, 2.0**53]))
moments = st.one_of(
    st.datetimes(NOW - timedelta(days=20), NOW + timedelta(days=5)),
    st.sampled_from([NOW, NOW - timedelta(days=1), NOW - timedelta(hours=2), datetime(2026, 6, 1)]),
)
scalars = st.one_of(
    texts,
    numbers,
    st.booleans(),
    st.none(),
    moments,
    moments.map(datetime.date),
    moments.map(lambda m: m.replace(tzinfo=UTC)),
)


def maybe(values: st.SearchStrategy) -> st.SearchStrategy:
    return st.none() | values


rows = st.fixed_dictionaries(
    {
        "subscriber_key": st.just(1),
        "plan": maybe(texts),
        "orders": maybe(st.integers(-3, 3)),
        "spent": maybe(st.one_of(numbers.map(float), st.just(math.nan))),
        "is_member": maybe(st.booleans()),
        "last_visit": maybe(moments),
        "last_visit_utc": maybe(moments.map(lambda moment: moment.replace(tzinfo=UTC))),
        "birthday": maybe(moments.map(datetime.date)),
        "tags": maybe(st.lists(texts, max_size=2)),
        "profile": maybe(
            st.fixed_dictionaries(
                {
                    "city": maybe(texts),
                    "score": maybe(numbers.map(float)),
                    "deep": maybe(st.fixed_dictionaries({"flag": maybe(st.booleans())})),
                }
            )
        ),
    }
)


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    operator = draw(st.sampled_from([item.value for item in Operator]))
    node: dict[str, Any] = {"field": draw(st.sampled_from(FIELDS)), "operator": operator}
    match operator:
        case "equals" | "notEquals":
            node["value"] = draw(scalars)
        case "in" | "notIn":
            node["value"] = draw(st.lists(scalars, max_size=4))
        case "contains":
            node["value"] = draw(texts)
        case "greaterThan" | "lessThan":
            node["value"] = draw(numbers)
        case "withinLast" | "notWithinLast":
            node["value"] = draw(st.sampled_from([0, 0.5, 1, 7, 30]))
            node["unit"] = draw(st.sampled_from(list(UNITS)))
    return node


nodes = st.recursive(
    conditions(),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda members: {"all": members}),
        st.lists(inner, max_size=3).map(lambda members: {"any": members}),
        inner.map(lambda member: {"not": member}),
    ),
    max_leaves=4,
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(nodes, min_size=6, max_size=8), st.lists(rows, min_size=12, max_size=14))
def test_the_compiled_rules_agree_with_the_oracle_row_by_row(definitions, people):
    """Each example is at least 72 pairs of a rule and a subscriber."""
    frame = pl.DataFrame(people, schema=SCHEMA)
    rules = [parse_rule(f"rule {number}", node) for number, node in enumerate(definitions)]
    answers = evaluate_rules(frame, rules, NOW)
    for rule, node in zip(rules, definitions, strict=True):
        try:
            expected = [judge_all(person, node) for person in people]
            is_error = False
        except WrongTypeError:
            expected, is_error = [False] * len(people), True
        assert (compile_rule(rule, frame.schema, NOW).error is not None) == is_error
        assert answers[rule.rule_id].to_list() == expected


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes, st.lists(rows, min_size=2, max_size=5))
def test_one_subscriber_at_a_time_gets_the_answer_of_the_batch(node, people):
    frame = pl.DataFrame(people, schema=SCHEMA)
    rule = parse_rule("rule", node)
    batch = evaluate_rules(frame, [rule], NOW)["rule"].to_list()
    assert [evaluate_rules(frame[index], [rule], NOW)["rule"].item() for index in range(frame.height)] == batch


# --- the written semantics, case by case -----------------------------------------------------------------------------

NOBODY = pl.DataFrame([{"subscriber_key": 1}], schema=SCHEMA)


@pytest.mark.parametrize("operator", [item.value for item in Operator])
@pytest.mark.parametrize("field", ["plan", "orders", "last_visit", "nowhere", "profile.city", "profile.none"])
def test_null_satisfies_only_the_four_negative_operators(operator, field):
    values = {"in": [1], "notIn": [1], "contains": "a", "exists": None, "notExists": None}
    rule = parse_rule("rule", {"field": field, "operator": operator, "value": values.get(operator, 1)})
    compiled = compile_rule(rule, NOBODY.schema, NOW)
    expected = operator in ("notEquals", "notIn", "notExists", "notWithinLast") and compiled.error is None
    assert evaluate_rules(NOBODY, [rule], NOW)["rule"].item() is expected


def test_a_string_never_equals_a_number_nor_a_boolean_one():
    frame = pl.DataFrame({"subscriber_key": [1], "text": ["1"], "number": [1], "truth": [True]})
    for field, wrong in (("text", [1, True]), ("number", ["1", True]), ("truth", [1, "true"])):
        rule = parse_rule("rule", {"field": field, "operator": "in", "value": wrong})
        assert evaluate_rules(frame, [rule], NOW)["rule"].item() is False


def test_a_rule_with_an_error_matches_nobody_even_negated_and_says_why():
    frame = pl.DataFrame({"subscriber_key": [1, 2], "plan": ["pro", None]})
    broken = {"field": "plan", "operator": "greaterThan", "value": 3}
    rules = [parse_rule("plain", broken), parse_rule("negated", {"not": broken}), parse_rule("fine", {"all": []})]
    assert evaluate_rules(frame, rules, NOW).rows() == [(1, False, False, True), (2, False, False, True)]
    explained = explain_rules(frame, rules[:1], NOW)
    assert explained["error"].to_list() == ["greaterThan needs a number, but 'plan' is a text"] * 2


@pytest.mark.parametrize(
    ("field", "nearest"),
    [
        ("last_visitd", "last_visit"),
        ("Last_Visit", "last_visit"),
        ("last_visit\u200b", "last_visit"),
        ("profile.citty", "profile.city"),
        ("profile.deep.flg", "profile.deep.flag"),
        ("city", "profile.city"),
    ],
)
@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize("operator", ["notWithinLast", "notEquals", "notExists", "exists"])
def test_a_misspelt_field_matches_nobody_and_the_nearest_is_named(field, nearest, negated, operator):
    condition = {"field": field, "operator": operator, "value": None if operator.endswith("xists") else 30}
    rule = parse_rule("rule", {"not": condition} if negated else condition)
    assert evaluate_rules(NOBODY, [rule], NOW)["rule"].item() is False
    error = compile_rule(rule, NOBODY.schema, NOW).error
    assert error is not None
    assert error.startswith("no subscriber has the field '")
    assert error.endswith(f"; the nearest is '{nearest}'")


def test_each_result_carries_expected_actual_and_match():
    frame = pl.DataFrame({"subscriber_key": [1, 2], "profile": [{"plan": "pro"}, None]})
    rule = parse_rule("rule", {"any": [{"field": "profile.plan", "operator": "in", "value": ["pro", "max"]}]})
    explained = explain_rules(frame, [rule], NOW).to_dicts()
    assert [json.loads(row["expected"]) for row in explained] == [["pro", "max"]] * 2
    assert [(row["actual"], row["matches"], row["error"]) for row in explained] == [
        ("pro", True, None),
        (None, False, None),
    ]
    assert explain_rules(frame, [], NOW).is_empty()


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"field": "a", "operator": "like"}, "operator: 'like' is not an operator. Use one of equals,"),
        ({"all": [{"field": "a", "operator": "in", "value": 3}]}, r"all\[0\]\.value: 3 does not fit in\. Write a list"),
        (
            {"not": {"field": "a", "operator": "lessThan", "value": "3"}},
            r"not\.value: '3' does not fit lessThan\. Write a number",
        ),
        ({"field": "a..b", "operator": "exists"}, "is not a field"),
        ({"field": "a", "operator": "withinLast", "value": 1, "unit": "moons"}, "unit: 'moons' is not a unit"),
        ({"field": "a", "operator": "withinLast", "value": -1}, "0 or more"),
        ({"field": "a", "operator": "withinLast", "value": 10**8, "unit": "weeks"}, "hundred years"),
        ({"all": [], "any": []}, "exactly one of 'all', 'any' and 'not'"),
        ({"field": "a", "operator": "exists", "valeu": 1}, "valeu: is not a part"),
        ({"any": "a"}, "any: is not a list"),
        ([], "neither a condition nor a group"),
    ],
)
def test_a_wrong_definition_is_refused_with_its_place(definition, message):
    with pytest.raises(ValueError, match=message):
        parse_rule("rule", definition)


def test_an_empty_audience_has_no_answers():
    assert evaluate_rules(NOBODY.clear(), [parse_rule("rule", {"all": []})], NOW).is_empty()


def test_twenty_rules_over_everyone_cost_a_fiftieth_of_row_by_row():
    rng = np.random.default_rng(1)
    size, sample = 200_000, 2_000
    frame = pl.DataFrame(
        {
            "subscriber_key": np.arange(size),
            "plan": rng.choice(["free", "pro", "max"], size),
            "orders": rng.integers(0, 20, size),
            "last_visit": np.datetime64(NOW, "us") - rng.integers(0, 90, size).astype("timedelta64[D]"),
        }
    )
    definition = {
        "all": [
            {"field": "plan", "operator": "in", "value": ["pro", "max"]},
            {"field": "orders", "operator": "greaterThan", "value": 3},
            {"not": {"field": "last_visit", "operator": "withinLast", "value": 30}},
        ]
    }
    rules = [parse_rule(f"rule {number}", definition) for number in range(20)]
    started = time.process_time()
    evaluate_rules(frame, rules, NOW)
    compiled = (time.process_time() - started) / size
    people = frame.head(sample).to_dicts()
    started = time.process_time()
    for person in people:
        for _ in rules:
            judge_all(person, definition)
    assert compiled <= (time.process_time() - started) / sample / 50
