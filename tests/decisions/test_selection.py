from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from pipeline.decisions.definitions import Arm, DecisionPoint, parse_rule
from pipeline.decisions.learning import fit_policy
from pipeline.decisions.selection import decide
from pipeline.schemas.decisions import PathDecisions

NOW, NIGHT = datetime(2026, 6, 1), date(2026, 6, 1)
PRO = parse_rule("is pro", {"field": "plan", "operator": "equals", "value": "pro"})
BUYER = parse_rule("has bought", {"field": "orders", "operator": "greaterThan", "value": 0})
POINT = DecisionPoint(
    "welcome", (Arm("upsell", PRO, priority=2), Arm("cross", BUYER, weight=3), Arm("plain", BUYER)), "quiet"
)


def people_of(size: int, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "subscriber_key": np.arange(size),
            "plan": rng.choice(["pro", "free"], size),
            "orders": rng.integers(0, 3, size),
            "spent": rng.normal(size=size),
        }
    )


def model_of(size: int = 2_000):
    rng = np.random.default_rng(2)
    log = people_of(size).with_columns(
        arm=pl.Series(rng.choice(["upsell", "cross", "plain"], size)), is_matured=pl.lit(True)
    )
    log = log.with_columns(
        outcome=pl.Series(rng.random(size)) < pl.when(pl.col("arm") == "plain").then(0.4).otherwise(0.1)
    )
    return fit_policy(log, arms=[arm.arm for arm in POINT.arms], features=["orders", "spent"])


def decided(people: pl.DataFrame, model=None, point: DecisionPoint = POINT) -> pl.DataFrame:
    return PathDecisions.validate(decide(people, point, model, now=NOW, as_of_day=NIGHT))


@pytest.mark.parametrize("model", [None, model_of()], ids=["rules", "policy"])
def test_a_batch_and_one_subscriber_at_a_time_decide_alike(model):
    people = people_of(1_000)
    batch = decided(people, model)
    some = range(0, 1_000, 13)
    singly = [decide(people[index], POINT, model, now=NOW, as_of_day=NIGHT) for index in some]
    assert pl.concat(singly).equals(batch[list(some)])


@pytest.mark.parametrize("model", [None, model_of()], ids=["rules", "policy"])
def test_everybody_is_served_and_nobody_what_their_rules_forbid(model):
    people = people_of(5_000)
    result = decided(people, model)
    assert result["subscriber_key"].equals(people["subscriber_key"])
    joined = people.join(result, on="subscriber_key")
    assert (joined.filter(arm="upsell")["plan"] == "pro").all()
    assert (joined.filter(pl.col("arm").is_in(["cross", "plain"]))["orders"] > 0).all()
    nothing = (pl.col("plan") != "pro") & (pl.col("orders") == 0)
    assert joined.filter(nothing)["arm"].unique().to_list() == ["quiet"]
    assert joined.filter(nothing)["is_default"].all()
    assert not joined.filter(~nothing)["is_default"].any()


def test_without_a_policy_priority_decides_and_weights_share_ties():
    result = people_of(20_000).join(decided(people_of(20_000)), on="subscriber_key")
    assert (result.filter(plan="pro")["arm"] == "upsell").all()
    tied = result.filter(pl.col("plan") == "free", pl.col("orders") > 0)
    assert (tied["arm"] == "cross").mean() == pytest.approx(0.75, abs=0.02)
    assert set(tied["choice_probability"]) == {0.75, 0.25}


def test_arms_are_drawn_as_often_as_the_logged_probability_says():
    model = model_of(300)
    result = decided(people_of(40_000), model)
    for arm in ("upsell", "cross", "plain"):
        taken = result.filter(arm=arm)
        # The mean of 1 / p over those who got the arm, times its count, estimates how many could have got it.
        could = result.filter(pl.col("eligible_arms").str.split(",").list.contains(arm)).height
        assert (1 / taken["choice_probability"]).sum() == pytest.approx(could, rel=0.1)


def test_the_policy_prefers_what_works_and_says_why():
    result = decided(people_of(3_000), model_of())
    free = result.filter(pl.col("eligible_arms") == "cross,plain")
    assert (free["arm"] == "plain").mean() > 0.9
    told = free.filter(arm="plain")["reasoning"]
    assert told.str.starts_with("rule has bought holds; base rate +").all()


def test_a_broken_rule_serves_the_rest_and_is_named():
    broken = parse_rule("broken", {"field": "plan", "operator": "greaterThan", "value": 1})
    point = DecisionPoint("welcome", (Arm("upsell", broken), Arm("plain", PRO)), "quiet")
    result = decided(people_of(100), point=point)
    assert set(result["arm"]) == {"plain", "quiet"}
    assert result["rule_errors"].str.starts_with("broken: greaterThan needs a number").all()
    assert "broken" in result.filter(arm="quiet")["default_reason"][0]


def test_a_policy_that_cannot_be_used_serves_the_default_with_the_reason():
    result = decided(people_of(10).drop("spent"), model_of())
    assert result["is_default"].all()
    assert result["default_reason"][0] == "the policy reads spent, which the subscribers' data do not have"
    other = DecisionPoint("welcome", (Arm("new"),), "quiet")
    assert "the policy knows the arms" in decided(people_of(10), model_of(), other)["default_reason"][0]


def test_an_empty_audience_and_a_point_without_arms():
    assert decided(people_of(10).clear(), model_of()).is_empty()
    bare = decided(people_of(10), point=DecisionPoint("bare", (), "quiet"))
    assert (bare["arm"] == "quiet").all()
    assert bare["is_default"].all()
