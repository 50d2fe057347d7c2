"""The log of decisions: everything comes back as it was written, and a past decision can be made again."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.common.time import DAY_US, HOUR_US, day_number, end_of_day_us, numbered_day
from pipeline.decisions.definitions import EVALUATION_FLOOR, FLOOR, Arm, DecisionPoint, parse_rule
from pipeline.decisions.learning import fit_policy
from pipeline.decisions.log import (
    learning_log,
    logged_decisions,
    model_from_text,
    model_text,
    point_from_text,
    point_text,
    replay,
    served_decisions,
    valued_decisions,
    waiting_before,
)
from pipeline.decisions.profile import FEATURES, FIELDS, from_text, profile_frame, to_text
from pipeline.decisions.selection import decide, decide_one
from pipeline.decisions.targets import chosen_by

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


def test_fifty_subscribers_get_the_same_answer_in_real_time() -> None:
    people = profiles(50)
    model = model_of(profiles(300))
    batch = decide(people, POINT, model, now=NOW, as_of_day=NIGHT).to_dicts()
    singly = [decide_one(row, POINT, model, now=NOW, as_of_day=NIGHT) for row in people.to_dicts()]
    assert singly == batch


def written_at(log: pl.DataFrame, moment_us: int, until_us: int | None = None) -> pl.DataFrame:
    """The arms of a log as they stand in the account from a moment on."""
    return pl.DataFrame(
        {"subscriber_key": log["subscriber_key"], "value": log["arm"], "from_us": moment_us}
    ).with_columns(until_us=pl.lit(until_us, dtype=pl.Int64))


def mailed(log: pl.DataFrame, sent_us: int, *, converted: bool = False) -> pl.DataFrame:
    """A message to everybody of a log, as `message_outcomes` tells it."""
    return log.select("subscriber_key").with_columns(
        sent_us=pl.lit(sent_us, dtype=pl.Int64),
        exposed_day=pl.lit(numbered_day(sent_us // DAY_US)),
        is_converted=pl.lit(converted),
        shows=pl.lit([arm.arm for arm in POINT.arms]),
    )


MORNING_US = end_of_day_us(NIGHT) + 4 * HOUR_US
NOON_US = end_of_day_us(NIGHT) + 12 * HOUR_US


def learnt_from(log: pl.DataFrame, written: pl.DataFrame, outcomes: pl.DataFrame, as_of: date) -> pl.DataFrame:
    return learning_log(served_decisions(log, written, outcomes), as_of=as_of, window_days=HORIZON)


def test_a_decision_is_served_only_if_its_arm_stood_before_the_message() -> None:
    log = log_of(profiles(30))
    messages = mailed(log, NOON_US)
    assert served_decisions(log, written_at(log, MORNING_US), messages).height == log.height
    assert served_decisions(log, written_at(log, NOON_US), messages).is_empty()
    assert served_decisions(log, written_at(log, MORNING_US, NOON_US - 1), messages).is_empty()
    other = written_at(log, MORNING_US).with_columns(value=pl.lit("another"))
    assert served_decisions(log, other, messages).is_empty()
    assert served_decisions(log, written_at(log, MORNING_US).clear(), messages).is_empty()


def test_a_message_of_another_path_serves_nobody() -> None:
    log = log_of(profiles(30))
    messages = mailed(log, NOON_US).with_columns(shows=pl.lit(["wait"]))
    served = served_decisions(log, written_at(log, MORNING_US), messages)
    assert 0 < served.height < log.height
    assert set(served["arm"]) == {"wait"}


def test_what_was_decided_after_the_message_did_not_serve_it() -> None:
    later = log_of(profiles(30), night=NIGHT + timedelta(days=1))
    assert served_decisions(later, written_at(later, MORNING_US), mailed(later, NOON_US)).is_empty()


def test_an_outcome_counts_once_its_window_has_closed() -> None:
    log = log_of(profiles(40)).with_columns(is_default=pl.lit(False))
    written, messages = written_at(log, MORNING_US), mailed(log, NOON_US, converted=True)
    exposed = numbered_day(NOON_US // DAY_US)
    late = learnt_from(log, written, messages, exposed + timedelta(days=HORIZON))
    assert late["outcome"].to_list() == [1.0] * log.height
    assert late["is_matured"].all()
    assert not learnt_from(log, written, messages, exposed + timedelta(days=HORIZON - 1))["is_matured"].any()


def test_a_subscriber_teaches_once_by_the_first_message_that_was_served() -> None:
    log = pl.concat([log_of(profiles(30)), log_of(profiles(30), night=NIGHT + timedelta(days=1))])
    first = log.filter(pl.col("night") == day_number(NIGHT))
    messages = pl.concat([mailed(first, NOON_US), mailed(first, NOON_US + DAY_US)])
    served = served_decisions(log, written_at(first, MORNING_US), messages)
    assert served["subscriber_key"].is_unique().all()
    assert set(served["night"]) == {day_number(NIGHT)}
    assert set(served["sent_us"]) == {NOON_US}


def test_policies_are_valued_by_the_chance_they_would_have_given() -> None:
    people = profiles(400)
    log = log_of(people, model_of(people))
    learnt = learnt_from(log, written_at(log, MORNING_US), mailed(log, NOON_US), NIGHT + timedelta(days=HORIZON + 2))
    valued = valued_decisions(learnt, POINT)
    assert set(valued["policy"]) == {"rules", "learnt", "always call", "always mail", "always wait"}
    arms = dict(learnt.select("subscriber_key", "arm").iter_rows())
    waits = valued.filter(pl.col("policy") == "always wait")
    assert waits["target_probability"].to_list() == [float(arms[key] == "wait") for key in waits["subscriber_key"]]
    chosen = valued.filter(pl.col("policy") == "learnt")
    assert set(chosen["target_probability"]) == {0.0, 1.0}
    other = DecisionPoint("route", (*POINT.arms, Arm("new")), "wait")
    assert valued_decisions(learnt, other).is_empty()


def test_what_the_rules_chose_is_not_valued_because_no_other_arm_had_a_chance() -> None:
    log = log_of(profiles(400))
    learnt = learnt_from(log, written_at(log, MORNING_US), mailed(log, NOON_US), NIGHT + timedelta(days=HORIZON + 2))
    assert valued_decisions(learnt, POINT).is_empty()


@pytest.mark.parametrize("policy", ["rules", "learnt", "always mail"])
def test_what_a_policy_chose_that_was_switched_to_is_repeated_too(policy: str) -> None:
    people = profiles(200)
    model = model_of(people)
    chosen = decide(people, POINT, model, now=NOW, as_of_day=NIGHT, policy=policy)
    log = logged_decisions(chosen, people, POINT, now=NOW, as_of=NIGHT)
    [version] = log["model_version"].unique()
    assert chosen_by(version, [arm.arm for arm in POINT.arms])[0] == policy
    assert replay(log, model if version.endswith(model.version) else None)["arm"].equals(log["arm"])


@given(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(-3, 3)), max_size=12))
def test_those_before_a_step_are_in_it_or_on_their_way(rows: list[tuple[int, int, int, int]]) -> None:
    end_us = end_of_day_us(NIGHT)
    columns = dict.fromkeys(("subscriber_key", "step_key", "to_step_key", "hours"), pl.Int64)
    entries = pl.DataFrame(rows, schema=columns, orient="row").with_columns(outcome_us=end_us + pl.col("hours"))
    found = waiting_before(entries.lazy(), 2, as_of=NIGHT)
    assert set(found["subscriber_key"]) == {row[0] for row in rows if 2 in row[1:3] and row[3] >= 0}
    assert found["subscriber_key"].is_unique().all()
