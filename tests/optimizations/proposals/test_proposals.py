"""From published tables to proposals: each kind when its evidence is there, none when it is not."""

import json
import math
from collections.abc import Callable
from datetime import date
from typing import Any

import polars as pl
import pytest

from pipeline.config.experiments import LONGEST_TAG
from pipeline.optimizations.proposals import proposals_from
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ApplyKind
from pipeline.schemas.vocabulary import ProposalKind as Kind
from tests.worlds.published import (
    Tables,
    a_conflict,
    a_delay,
    a_policy,
    a_winner,
    an_anomaly,
    harm_done,
    nothing,
    send_times,
    somebody_stuck,
)


def proposed(tables: Tables) -> list[Proposal]:
    found, failures = proposals_from({**nothing(), **tables}, data_version="d", code_version="c")
    assert failures == []
    return found


CASES: list[tuple[Callable[..., Tables], Kind, ApplyKind]] = [
    (a_winner, Kind.EXPERIMENT_WINNER, ApplyKind.MEMBER_FIELDS),
    (a_delay, Kind.DELAY, ApplyKind.MANUAL),
    (send_times, Kind.SEND_TIME, ApplyKind.MEMBER_FIELDS),
    (a_policy, Kind.PATH_POLICY, ApplyKind.MEMBER_FIELDS),
    (a_conflict, Kind.COORDINATION, ApplyKind.MANUAL),
    (somebody_stuck, Kind.STUCK, ApplyKind.API_PATCH),
    (an_anomaly, Kind.ANOMALY, ApplyKind.MANUAL),
    (harm_done, Kind.ROLLBACK, ApplyKind.MEMBER_FIELDS),
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


@pytest.mark.parametrize(
    ("tables", "changes"),
    [
        (a_winner, {"lift": 0.4, "shrunk_lift": 0.28}),
        (a_delay, {"improvement": 0.29, "entrants": 10_800}),
        (send_times, {"randomised_sends": 300}),
        (a_policy, {"gain": 0.021, "decisions": 900}),
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
        (an_anomaly, {"cause_first_day": date(2026, 6, 20)}),
    ],
)
def test_another_base_is_another_record(tables: Callable[..., Tables], changes: dict[str, Any]) -> None:
    [old], [new] = proposed(tables()), proposed(tables(**changes))
    assert old.optimization_id != new.optimization_id


@pytest.mark.parametrize(
    ("tables", "changes"),
    [
        (a_winner, {"verdict": "continue"}),
        (a_delay, {"action": "keep"}),
        (a_delay, {"action": "test", "recommended_delay_hours": None, "improvement": None}),
        (a_policy, {"gain_low": -0.01}),
        (a_policy, {"policy": "rules"}),
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
def test_who_is_kept_out_of_a_change_made_by_hand_is_marked_in_a_field_that_its_steps_name(tables: Tables) -> None:
    [found] = proposed(tables)
    assert (found.apply_kind, found.holdout_share) == (ApplyKind.MANUAL, 0.1)
    assert found.after["holdout_value"] == "out"
    assert any(f"{found.after['field']} = out" in step for step in found.after["instructions"])
    assert len(found.after["field"]) <= LONGEST_TAG


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


def test_a_delay_to_be_tested_promises_nothing() -> None:
    [found] = proposed(a_delay(action="test", identification="observational"))
    assert found.expected_lift is None
    assert (found.holdout_share, found.measure, found.after.get("field")) == (0.0, None, None)


def test_one_broken_table_keeps_no_other_from_being_told() -> None:
    tables = {**nothing(), **a_conflict(), "anomalies": pl.DataFrame()}
    found, failures = proposals_from(tables, data_version="d", code_version="c")
    assert [proposal.kind for proposal in found] == [Kind.COORDINATION]
    assert failures == ["anomaly_proposals: ColumnNotFoundError"]
