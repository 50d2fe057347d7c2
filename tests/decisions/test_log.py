"""The log of decisions: everything comes back as it was written, and a past decision can be made again."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common.time import day_number, end_of_day_us
from pipeline.decisions.learning import EVALUATION_FLOOR, FLOOR, fit_policy
from pipeline.decisions.log import (
    against_rules,
    learning_log,
    logged_decisions,
    model_from_text,
    model_text,
    point_from_text,
    point_text,
    replay,
    waiting_before,
)
from pipeline.decisions.profile import FEATURES, FIELDS, from_text, profile_frame, to_text
from pipeline.decisions.rule_definitions import parse_rule
from pipeline.decisions.selection import Arm, DecisionPoint, decide, decide_one

NIGHT = date(2026, 6, 1)
NOW = datetime(2026, 6, 2)
HORIZON = 14
PRO = parse_rule("pro", {"field": "plan", "operator": "equals", "value": "pro"})
RECENT = parse_rule(
    "recent",
    {"any": [{"field": "last_open_at", "operator": "withinLast", "value": 2, "unit": "weeks"},
             {"not": {"field": "merge.TIER", "operator": "in", "value": ["gold", "silver"]}},
             {"field": "signup_at", "operator": "equals", "value": date(2026, 3, 1)}]},
)  # fmt: skip
POINT = DecisionPoint("route", (Arm("call", PRO, 2), Arm("mail", RECENT, 2, 3.0), Arm("wait")), "wait", "branch")


def profiles(size: int, seed: int = 1) -> pl.DataFrame:
    generator = np.random.default_rng(seed)
    rows = [
        {
            "subscriber_key": number,
            "plan": str(generator.choice(["pro", "free"])),
            "last_open_at": NOW - timedelta(days=float(generator.integers(0, 60)))
            if generator.random() < 0.7
            else None,
            "merge": {"TIER": str(generator.choice(["gold", "tin"]))},
            **{name: int(generator.integers(0, 9)) for name in FEATURES},
        }
        for number in range(size)
    ]
    return profile_frame(rows)


def log_of(people: pl.DataFrame, model=None, night: date = NIGHT, point: DecisionPoint = POINT) -> pl.DataFrame:
    chosen = decide(people, point, model, now=NOW, as_of_day=night)
    return logged_decisions(chosen, people, point, now=NOW, as_of=night)


def model_of(people: pl.DataFrame):
    generator = np.random.default_rng(3)
    log = people.with_columns(
        arm=pl.Series(generator.choice(["call", "mail", "wait"], people.height)),
        is_matured=pl.lit(True),
        outcome=pl.Series(generator.random(people.height) < 0.2).cast(pl.Float64),
    )
    return fit_policy(log, arms=[arm.arm for arm in POINT.arms], features=FEATURES)


def test_profiles_come_back_from_text_as_they_were() -> None:
    people = profiles(50)
    assert from_text(to_text(people).to_list()).equals(people)
    assert set(people.columns) == {"subscriber_key", *FIELDS, "merge", "in_workflow"}


def test_points_and_policies_come_back_from_text_as_they_were() -> None:
    assert point_from_text(point_text(POINT)) == POINT
    model = model_of(profiles(300))
    assert model_from_text(model_text(model)).version == model.version


@pytest.mark.parametrize("floor", [FLOOR, EVALUATION_FLOOR])
@pytest.mark.parametrize("learns", [False, True], ids=["rules", "policy"])
def test_a_past_decision_is_repeated_from_what_was_known_then(learns: bool, floor: float) -> None:
    people = profiles(200)
    model = model_of(people) if learns else None
    log = log_of(people, model, point=replace(POINT, floor=floor))
    kept = model_from_text(model_text(model)) if model else None
    again = replay(log, kept)
    same = ["subscriber_key", "arm", "is_default", "model_version"]
    assert again.select(same).equals(log.select(same))
    assert again["choice_probability"].to_list() == pytest.approx(log["choice_probability"].to_list())


def test_a_thousand_subscribers_get_the_same_answer_in_real_time() -> None:
    people = profiles(1_000)
    model = model_of(people)
    batch = decide(people, POINT, model, now=NOW, as_of_day=NIGHT).to_dicts()
    singly = [decide_one(row, POINT, model, now=NOW, as_of_day=NIGHT) for row in people.to_dicts()]
    assert singly == batch


def test_outcomes_count_within_the_horizon_and_once_it_has_passed() -> None:
    people = profiles(4)
    log = log_of(people).with_columns(is_default=pl.lit(False))
    night = day_number(NIGHT)
    days = [night, night + 1, night + HORIZON, night + HORIZON + 1]
    conversions = pl.DataFrame({"subscriber_key": [0, 1, 2, 3], "day": days})
    known = learning_log(log, conversions, as_of=NIGHT + timedelta(days=HORIZON), horizon_days=HORIZON)
    assert known.sort("subscriber_key")["outcome"].to_list() == [0.0, 1.0, 1.0, 0.0]
    assert known["is_matured"].all()
    early = learning_log(log, conversions, as_of=NIGHT + timedelta(days=HORIZON - 1), horizon_days=HORIZON)
    assert not early["is_matured"].any()


def test_a_subscriber_teaches_once_by_the_first_decision() -> None:
    log = pl.concat([log_of(profiles(30)), log_of(profiles(30), night=NIGHT + timedelta(days=1))])
    learnt = learning_log(log, pl.DataFrame(schema={"subscriber_key": pl.Int64, "day": pl.Int64}),
                          as_of=NIGHT, horizon_days=HORIZON)  # fmt: skip
    assert learnt["subscriber_key"].is_unique().all()
    assert set(learnt["night"]) == {day_number(NIGHT)}


def test_rules_are_valued_by_the_chance_they_would_have_given() -> None:
    people = profiles(400)
    log = log_of(people)
    learnt = learning_log(log, pl.DataFrame(schema={"subscriber_key": pl.Int64, "day": pl.Int64}),
                          as_of=NIGHT + timedelta(days=HORIZON), horizon_days=HORIZON)  # fmt: skip
    valued = against_rules(learnt, POINT, model_of(people))
    # Logged by the rules themselves: what they would have done is what was done.
    assert valued["target_probability"].to_list() == pytest.approx(valued["choice_probability"].to_list())
    other = DecisionPoint("route", (*POINT.arms, Arm("new")), "wait")
    assert against_rules(learnt, other, None).is_empty()


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(-3, 3)), max_size=12))
def test_those_before_a_step_are_in_it_or_on_their_way(rows: list[tuple[int, int, int, int]]) -> None:
    end_us = end_of_day_us(NIGHT)
    columns = dict.fromkeys(("subscriber_key", "step_key", "to_step_key", "hours"), pl.Int64)
    entries = pl.DataFrame(rows, schema=columns, orient="row").with_columns(outcome_us=end_us + pl.col("hours"))
    found = waiting_before(entries, 2, as_of=NIGHT)
    assert set(found["subscriber_key"]) == {row[0] for row in rows if 2 in row[1:3] and row[3] >= 0}
    assert found["subscriber_key"].is_unique().all()
