from datetime import date, datetime

import polars as pl
import pytest

from pipeline.decisions.definitions import Arm, DecisionPoint, parse_rule
from pipeline.decisions.lint import lint_decision_points, rule_coverage, rule_matches
from pipeline.schemas.decisions import DecisionLint, RuleCoverage

NOW, NIGHT = datetime(2026, 6, 1), date(2026, 6, 1)
PEOPLE = pl.DataFrame({"subscriber_key": range(10), "plan": ["pro"] * 3 + ["free"] * 7})
PRO = parse_rule("pro", {"field": "plan", "operator": "equals", "value": "pro"})
TWIN = parse_rule("twin", {"field": "plan", "operator": "equals", "value": "pro"})
DEAD = parse_rule("dead", {"field": "plan", "operator": "equals", "value": "max"})
BROKEN = parse_rule("broken", {"field": "plan", "operator": "lessThan", "value": 1})
EVERYBODY = parse_rule("everybody", {"all": []})
MISSPELT = parse_rule("misspelt", {"field": "plann", "operator": "notEquals", "value": "pro"})
RULES = [PRO, TWIN, DEAD, BROKEN, EVERYBODY, MISSPELT]


def coverage(people: pl.DataFrame = PEOPLE) -> pl.DataFrame:
    return RuleCoverage.validate(rule_coverage([rule_matches(people, RULES, now=NOW)], as_of_day=NIGHT))


def findings(*arms: Arm, default: str | None = None, step: str | None = "branch") -> set[tuple[str, str]]:
    point = DecisionPoint("point", arms, arms[0].arm if default is None else default, step)
    found = lint_decision_points(
        [point],
        steps=["branch", "a", "b", "c"],
        edges=[("branch", "a"), ("branch", "b"), ("b", "c"), ("c", "branch")],
        coverage=coverage(),
        as_of_day=NIGHT,
    )
    return set(DecisionLint.validate(found).select("finding", "subject").rows())


def test_coverage_counts_matches_and_names_dead_and_broken_rules():
    rows = {row["rule_id"]: row for row in coverage().to_dicts()}
    assert (rows["pro"]["matches"], rows["pro"]["status"]) == (3, "ok")
    assert rows["pro"]["match_rate"] == pytest.approx(0.3)
    assert rows["pro"]["match_rate_low"] < 0.3 < rows["pro"]["match_rate_high"]
    assert rows["dead"]["is_dead"]
    assert rows["broken"]["error"].startswith("lessThan needs a number")
    assert rows["everybody"]["is_universal"]
    assert rows["everybody"]["matches"] == 10


def test_a_misspelt_field_is_told_with_the_nearest_by_coverage_and_lint():
    told = "no subscriber has the field 'plann'; the nearest is 'plan'"
    row = coverage().filter(pl.col("rule_id") == "misspelt").row(0, named=True)
    assert (row["matches"], row["is_universal"], row["status"], row["error"]) == (0, False, "error", told)
    point = DecisionPoint("point", (Arm("x", MISSPELT),), "x")
    found = lint_decision_points([point], steps=[], edges=[], coverage=coverage(), as_of_day=NIGHT)
    assert (found["finding"].item(), found["severity"].item()) == ("rule in error", "error")
    assert told in found["description"].item()


def test_an_empty_audience_has_no_rate_and_no_dead_rule():
    rows = coverage(PEOPLE.clear())
    assert rows["match_rate"].is_null().all()
    assert not rows["is_dead"].any()
    assert (rows["status"] == "no subscribers").all()


def test_a_sound_point_has_no_finding():
    assert findings(Arm("x", PRO, 1, target_step_id="a"), Arm("y", target_step_id="a")) == set()


@pytest.mark.parametrize(
    ("arms", "options", "expected"),
    [
        ([Arm("x", target_step_id="a")], {"default": ""}, ("missing default", "default")),
        ([Arm("x", target_step_id="a")], {"default": "z"}, ("missing default", "z")),
        ([Arm("x")], {}, ("dead end", "x")),
        ([Arm("x", target_step_id="gone")], {}, ("dead end", "x")),
        ([Arm("x", target_step_id="b")], {}, ("loop", "x")),
        ([Arm("x", target_step_id="branch")], {}, ("loop", "x")),
        ([Arm("x", None, 2, target_step_id="a"), Arm("y", PRO, 1, target_step_id="a")], {}, ("unreachable", "y")),
        ([Arm("x", PRO, target_step_id="a"), Arm("y", TWIN, target_step_id="a")], {}, ("overlapping", "y")),
        ([Arm("x", DEAD, target_step_id="a")], {}, ("dead rule", "dead")),
        ([Arm("x", BROKEN, target_step_id="a")], {}, ("rule in error", "broken")),
        ([Arm("x", MISSPELT, target_step_id="a")], {}, ("rule in error", "misspelt")),
    ],
)
def test_each_fault_is_found_alone(arms, options, expected):
    assert findings(*arms, **options) == {expected}


def test_content_has_no_steps_to_check():
    assert findings(Arm("x", PRO), step=None) == set()
