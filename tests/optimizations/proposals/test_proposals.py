"""From published tables to proposals: each kind when its evidence is there, none when it is not."""

import json
import math
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.analysis.delays.recommendations import analyse_delays
from pipeline.common.means import LONGEST_TAG, tag_name, tag_prefix
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.proposals import proposals_from
from pipeline.optimizations.published import optimizations
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ApplyKind
from pipeline.schemas.vocabulary import ProposalKind as Kind
from tests.optimizations.conftest import NOW, POLICY
from tests.worlds.published import (
    Tables,
    a_conflict,
    a_delay,
    a_delivery,
    a_planned_test,
    a_policy,
    a_winner,
    a_written_delay,
    an_anomaly,
    harm_done,
    nothing,
    row,
    send_times,
    somebody_stuck,
)
from tests.worlds.releases import entry, night


def proposed(tables: Tables) -> list[Proposal]:
    found, failures = proposals_from({**nothing(), **tables}, data_version="d", code_version="c")
    assert failures == []
    return found


def somebody_to_release() -> Tables:
    return night([entry(1, 5)])


CASES: list[tuple[Callable[..., Tables], Kind, ApplyKind]] = [
    (a_winner, Kind.EXPERIMENT_WINNER, ApplyKind.MEMBER_FIELDS),
    (a_delay, Kind.DELAY, ApplyKind.MANUAL),
    (a_written_delay, Kind.DELAY, ApplyKind.API_PATCH),
    (send_times, Kind.SEND_TIME, ApplyKind.MEMBER_FIELDS),
    (a_delivery, Kind.PATH_POLICY, ApplyKind.MEMBER_FIELDS),
    (a_planned_test, Kind.EXPERIMENT_START, ApplyKind.MEMBER_FIELDS),
    (a_conflict, Kind.COORDINATION, ApplyKind.MANUAL),
    (somebody_stuck, Kind.STUCK, ApplyKind.API_PATCH),
    (an_anomaly, Kind.ANOMALY, ApplyKind.MANUAL),
    (harm_done, Kind.ROLLBACK, ApplyKind.MEMBER_FIELDS),
    (somebody_to_release, Kind.RELEASE, ApplyKind.RELEASE),
]


def test_where_nothing_is_found_nothing_is_proposed() -> None:
    assert proposed({}) == []


@pytest.mark.parametrize(("tables", "kind", "apply_kind"), CASES)
def test_each_kind_is_proposed_with_evidence_that_is_json(
    tables: Callable[..., Tables], kind: Kind, apply_kind: ApplyKind
) -> None:
    [found] = proposed(tables())
    assert (found.kind, found.apply_kind) == (kind, apply_kind)
    text = json.dumps(found.model_dump(mode="json"), allow_nan=False)
    assert Proposal.model_validate(json.loads(text)) == found
    for wanted in ("summary", "source", "n", "method", "identification", "window", "data_version", "code_version"):
        assert wanted in found.evidence
    assert found.evidence["summary"]
    assert all(math.isfinite(value) for value in found.evidence.values() if isinstance(value, float))


def test_one_person_and_one_day_are_told_in_the_singular() -> None:
    [stuck], [met] = proposed(somebody_stuck(stuck_hours=24.0)), proposed(a_conflict(subscribers=1, collision_days=1))
    assert stuck.evidence["summary"].startswith("1 person is in this step beyond its planned wait and grace")
    assert " for 1 day. Cause: " in stuck.evidence["summary"]
    assert "1 subscriber was in both, on 1 subscriber-day. " in met.evidence["summary"]


@pytest.mark.parametrize(
    ("tables", "changes"),
    [
        (a_winner, {"lift": 0.4, "shrunk_lift": 0.28}),
        (a_delay, {"improvement": 0.29, "entrants": 10_800}),
        (send_times, {"randomised_sends": 300}),
        (a_delivery, {"mode": "evaluate"}),
        (a_planned_test, {"planned_exposures": 4_100, "baseline_mean": 0.11}),
        (a_conflict, {"subscribers": 51}),
        (somebody_stuck, {"stuck_hours": 123.0}),
        (an_anomaly, {"value": 3.0, "tail_probability": 1e-4}),
    ],
)
def test_newer_evidence_is_the_same_record(tables: Callable[..., Tables], changes: dict[str, Any]) -> None:
    [old], [new] = proposed(tables()), proposed(tables(**changes))
    assert old.optimization_id == new.optimization_id
    assert old.evidence_hash != new.evidence_hash


@pytest.mark.parametrize(
    ("tables", "changes"),
    [
        (a_winner, {"plan_hash": "p2"}),
        (a_delay, {"current_delay_hours": 96.0}),
        (a_conflict, {"resolution": "delay"}),
        (an_anomaly, {"cause_id": "welcome/hello@2026-06-20"}),
    ],
)
def test_another_base_is_another_record(tables: Callable[..., Tables], changes: dict[str, Any]) -> None:
    [old], [new] = proposed(tables()), proposed(tables(**changes))
    assert old.optimization_id != new.optimization_id


def test_a_cause_that_is_found_to_have_begun_earlier_is_the_one_on_record(tmp_path: Path) -> None:
    """A later night reads more, and joins the alarms of which people were told to others before them."""
    [told] = proposed(an_anomaly())
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    ledger.propose([told], now=NOW, approval_policy=POLICY)
    on_record = {"optimizations": optimizations(ledger.records())}
    cause = {"cause_id": "welcome/hello@2026-06-10", "cause_first_day": date(2026, 6, 10)}
    of_that_night, since = an_anomaly(**cause, is_latest=False), an_anomaly(**cause, day=date(2026, 7, 2))
    longer = {"anomalies": pl.concat([of_that_night["anomalies"], since["anomalies"]])}
    [found] = proposed(longer | on_record)
    assert found.optimization_id == told.optimization_id
    later = an_anomaly(cause_id="welcome/hello@2026-07-20", day=date(2026, 7, 20))
    elsewhere = an_anomaly(cause_id="welcome/tips@2026-06-26")
    for other in (later, elsewhere):
        [new] = proposed(other | on_record)
        assert new.optimization_id != told.optimization_id


@pytest.mark.parametrize(
    ("tables", "changes"),
    [
        (a_winner, {"verdict": "continue"}),
        (a_delay, {"action": "keep"}),
        (a_delay, {"action": "test", "recommended_delay_hours": None, "improvement": None}),
        (a_planned_test, {"status": "running"}),
        (a_planned_test, {"assigned_by": "field"}),
        (a_planned_test, {"planned_days": 210}),
        (a_planned_test, {"planned_days": None}),
        (a_conflict, {"resolution": "allow"}),
        (an_anomaly, {"is_muted": True}),
        (an_anomaly, {"is_latest": False}),
        (an_anomaly, {"severity": "low"}),
    ],
)
def test_what_asks_for_no_change_is_not_proposed(tables: Callable[..., Tables], changes: dict[str, Any]) -> None:
    assert proposed(tables(**changes)) == []


def test_a_winner_promises_the_shrunk_lift_and_keeps_the_control_for_comparison() -> None:
    [found] = proposed(a_winner())
    assert (found.expected_lift, found.expected_lift_low, found.expected_lift_high) == (0.25, 0.05, 0.5)
    assert found.after == {"field": "SUBJECT", "value": "B", "holdout_value": "A"}
    assert found.holdout_share == 0.1


@pytest.mark.parametrize("tables", [a_winner(arm_field=None), a_delay()])
def test_who_is_kept_out_of_a_change_made_by_hand_is_marked_by_a_tag_that_its_steps_name(tables: Tables) -> None:
    [found] = proposed(tables)
    assert (found.apply_kind, found.holdout_share) == (ApplyKind.MANUAL, 0.1)
    prefix = tag_prefix(found.after["field"])
    assert prefix is not None
    tag = tag_name(prefix, found.after["holdout_value"])
    assert any(f"the tag is '{tag}'" in step for step in found.after["instructions"])
    assert len(tag) <= LONGEST_TAG


@pytest.mark.parametrize(
    ("hours", "told"),
    [(48.0, {"type": "day", "amount": 2}), (30.0, {"type": "hour", "amount": 30}), (0.0, {"type": "now"})],
)
def test_a_delay_that_the_api_can_write_is_written_for_everybody(hours: float, told: dict[str, Any]) -> None:
    [found] = proposed(a_written_delay(recommended_delay_hours=hours))
    assert found.after["delay"] == {"action": "signup", "direction": "after", **told}
    assert (found.after["operation"], found.after["email_id"], found.holdout_share) == ("delay", "mail1", 0.0)
    assert found.expected_lift == 0.3


def test_a_test_of_a_delay_is_made_by_hand_even_where_the_api_can_write_it() -> None:
    [found] = proposed(a_written_delay(action="test"))
    assert found.apply_kind is ApplyKind.MANUAL


@pytest.mark.parametrize(
    "tables",
    [a_delivery(name="Call or voucher"), a_delivery(name="Call or voucher", means=None),
     a_policy() | {"decision_points": a_delivery(name="Call or voucher")["decision_points"]},
     a_planned_test(name="Call or voucher"), a_planned_test(name="Call or voucher", arm_field=None)],
)  # fmt: skip
def test_a_proposal_calls_a_point_or_test_by_its_name(tables: Tables) -> None:
    for one in proposed(tables):
        assert "Call or voucher" in one.title
        assert f"'{one.target}'" not in one.title


def test_a_release_says_only_of_those_there_are_how_many_wait_or_are_late() -> None:
    tables = somebody_to_release()
    for planned, late, held in ((0, 0, 0), (3, 1, 0), (1, 0, 2)):
        counts = {"planned": pl.lit(planned), "late": pl.lit(late), "held_back": pl.lit(held)}
        tables |= {"release_starts": tables["release_starts"].with_columns(**counts)}
        [first, *_] = proposed(tables)
        told = re.findall(r"\d+", first.evidence["summary"])
        assert [int(number) for number in told] == [number for number in (planned, late, held) if number]


def test_a_point_with_a_fault_is_not_delivered() -> None:
    fault = {"decision_lint": row("decision_lint", decision_point_id="path", severity="error")}
    assert proposed({**a_delivery(), **fault}) == []
    assert len(proposed({**a_delivery(), "decision_lint": fault["decision_lint"].clear()})) == 1


def test_a_delivery_promises_nothing_and_its_hold_out_keeps_the_default() -> None:
    [found] = proposed(a_delivery())
    assert (found.expected_lift, found.holdout_share, found.after["holdout_value"]) == (None, 0.1, "a")
    assert "No lift is promised" in found.evidence["summary"]
    assert found.measure is not None
    assert (found.measure.window_days, found.measure.step_ids) == (14, ("left", "right"))
    assert any("'b' if the merge field ROUTE is b" in step for step in found.after["instructions"])


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        (a_delivery(means=None), "deliver: {field: PATH}"),
        (a_planned_test(arm_field=None), "deliver: {field: SUBJECT}"),
    ],
)
def test_without_a_means_the_record_says_what_to_write_down_first(tables: Tables, said: str) -> None:
    [found] = proposed(tables)
    assert found.is_all_by_hand
    assert said in found.after["instructions"][0]


def test_a_switch_is_proposed_beside_the_delivery_with_the_promise_that_is_measured() -> None:
    [delivery, switch] = proposed(a_policy())
    assert switch.after["policy"] == "always b"
    assert (switch.kind, switch.target) == (delivery.kind, delivery.target)
    assert (switch.workflow_id, switch.step_id, switch.measure) == ("welcome", "route", delivery.measure)
    assert (switch.expected_lift, switch.expected_lift_low) == (pytest.approx(0.2), pytest.approx(0.1))
    assert switch.optimization_id != delivery.optimization_id


@pytest.mark.parametrize(
    "tables", [a_policy(gain_low=-0.01), {**a_policy(), **a_delivery(means=None)}, a_policy(status="cannot")]
)
def test_no_switch_is_proposed_where_the_gain_is_not_sure_or_nothing_carries_it(tables: Tables) -> None:
    assert [found.after.get("policy") for found in proposed(tables)] == [None]


def test_harm_done_by_hand_is_taken_back_by_hand() -> None:
    tables = harm_done()
    by_hand = {"apply_kind": pl.lit("manual"), "before": pl.lit('{"delay_hours": 72}')}
    [found] = proposed({**tables, "optimizations": tables["optimizations"].with_columns(**by_hand)})
    assert (found.apply_kind, found.kind) == (ApplyKind.MANUAL, Kind.ROLLBACK)
    assert "delay hours 72" in found.after["instructions"][1]


def test_a_lift_of_hours_is_promised_only_once_it_is_known() -> None:
    [exploring], [known] = proposed(send_times()), proposed(send_times(is_lift_shown=True))
    assert exploring.expected_lift is None
    assert exploring.evidence["identification"] == "not identified"
    assert known.expected_lift == 0.1
    assert exploring.optimization_id != known.optimization_id


def test_where_no_better_hour_is_known_hours_are_drawn_and_nothing_more() -> None:
    """All mail went out at 9, so nobody knows what another hour would bring."""
    tables = send_times(randomised_sends_needed=81_000)
    unknown = {"fallback_level": pl.lit("current hour"), "recommended_local_hour": pl.lit(9, dtype=pl.Int64)}
    [found] = proposed({**tables, "subscriber_send_times": tables["subscriber_send_times"].with_columns(**unknown)})
    [moving] = proposed(tables)
    assert found.title == "Draw the hour of mail for 1 subscribers"
    assert (found.after["column"], moving.after["column"]) == ("drawn_local_hour", "assigned_local_hour")
    assert found.expected_lift is None
    assert "81,000 further messages at hours drawn by lot until the lift is known" in found.evidence["summary"]
    assert found.optimization_id != moving.optimization_id


def test_hours_come_with_the_steps_to_build_and_the_day_to_write_down() -> None:
    [found] = proposed(send_times())
    told = " ".join(found.after["instructions"])
    assert "split the flow by the merge field SENDHOUR" in told
    assert "`send_hours_from: " in told


def test_a_delay_to_be_tested_promises_nothing() -> None:
    untold = {"improvement": None, "improvement_low": None, "improvement_high": None}
    [found] = proposed(a_delay(action="test", identification="observational", **untold))
    assert found.expected_lift is found.evidence["effect"] is None
    assert (
        "takes 900 conversions, at today's pace about 40 days. No improvement is promised" in found.evidence["summary"]
    )
    assert (found.holdout_share, found.measure, found.after.get("field")) == (0.0, None, None)


def test_where_one_delay_alone_was_used_and_enough_enter_a_test_of_several_is_proposed() -> None:
    """The rows are those of the analysis itself: 12,000 people who all waited 48 hours, of whom 1,230 converted."""
    outcomes = pl.DataFrame(
        {
            "workflow_id": "welcome", "from_step_id": "hello", "to_step_id": "tips", "assigned_delay_hours": 48,
            "segment": "all", "entry_block": [0, 1], "is_randomised": False, "entrants": [6_000, 6_000],
            "conversions": [600, 630],
        }
    )  # fmt: skip
    now = outcomes.head(1).select("workflow_id", "from_step_id", "to_step_id", current_delay_hours=pl.lit(48.0))
    found = analyse_delays(outcomes, now, as_of_day=date(2026, 6, 29))
    [made] = proposed({"delay_recommendations": found.recommendations, "delay_curves": found.curves})
    assert made.after["delays_hours"] == [24, 48, 96]
    assert (made.expected_lift, made.holdout_share, made.is_all_by_hand) == (None, 0.0, True)
    assert "at today's pace about 41 days" in made.evidence["summary"]
    fewer = outcomes.with_columns(pl.col("conversions") // 6)
    few = analyse_delays(fewer, now, as_of_day=date(2026, 6, 29))
    assert proposed({"delay_recommendations": few.recommendations, "delay_curves": few.curves}) == []


def test_one_broken_table_keeps_no_other_from_being_told() -> None:
    tables = {**nothing(), **a_conflict(), "anomalies": pl.DataFrame()}
    found, failures = proposals_from(tables, data_version="d", code_version="c")
    assert [proposal.kind for proposal in found] == [Kind.COORDINATION]
    assert failures == ["anomaly_proposals: ColumnNotFoundError"]
