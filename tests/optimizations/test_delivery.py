"""Decisions that reach people: delivered, served, switched and measured, in a world whose truth is known."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.analysis.experiments.exposures import Facts
from pipeline.common.sticky_hash import is_held_out
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.realised import in_a_word, realised_lift
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ProposalKind as Kind
from tests.worlds.served import (
    BETTER,
    DEFAULT,
    FIRST_NIGHT,
    MAIL_HOUR,
    WRITE_HOUR,
    Branch,
    TestedStep,
    definition,
    draft,
)

RATES = {DEFAULT: 0.1, BETTER: 0.4}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


def is_delivery(made: Proposal) -> bool:
    return made.kind is Kind.PATH_POLICY and "policy" not in made.after


def is_switch(made: Proposal) -> bool:
    return made.kind is Kind.PATH_POLICY and "policy" in made.after


def learnt(world: Branch) -> pl.DataFrame:
    assert world.tonight is not None
    return world.tonight.learnt["route"]


def measured(world: Branch, made: Proposal) -> dict[str, object]:
    facts = world.facts()
    read = Facts(facts.steps, facts.workflows, facts.messages, facts.conversions, facts.subscribers)
    assert world.tonight is not None
    rows = realised_lift(world.ledger.records(), read, world.written, as_of_day=world.tonight.as_of)
    return in_a_word(rows).row(by_predicate=pl.col("optimization_id") == made.optimization_id, named=True)


def test_before_a_delivery_is_applied_nothing_is_served_and_nothing_is_learnt(ledger: Ledger) -> None:
    world = Branch(ledger, RATES)
    world.run(FIRST_NIGHT, 6)
    decided = world.tables["path_decisions"]
    assert decided.height == len(world.people)
    assert not decided["is_served"].any()
    assert world.log.height > 0
    assert learnt(world).is_empty()
    assert [is_delivery(made) for made in world.proposals()] == [True]


@pytest.mark.parametrize("status", ["unsubscribed", "cleaned", "archived", "pending", "no address"])
def test_who_cannot_be_mailed_is_in_no_decision_and_no_count(ledger: Ledger, status: str) -> None:
    world = Branch(ledger, RATES, per_day=20)
    world.live(FIRST_NIGHT)
    for person in world.people[:5]:
        person["status"] = status
    world.close(FIRST_NIGHT)
    assert set(world.tables["path_decisions"]["subscriber_key"]) == set(range(5, 20))
    assert set(world.log["subscriber_key"]) == set(range(5, 20))
    [made] = world.proposals()
    assert made.evidence["n"] == 15


def test_a_delivery_writes_tonights_choice_and_the_hold_out_keeps_the_default(ledger: Ledger) -> None:
    world = Branch(ledger, RATES)
    last = world.run(FIRST_NIGHT, 3)
    made = world.take(is_delivery, last)
    last = world.run(last + timedelta(days=1), 3)
    decided = world.tables["path_decisions"]
    out = is_held_out(decided["subscriber_key"], made.optimization_id, made.holdout_share)
    wanted = decided.with_columns(arm=pl.when(out).then(pl.lit(DEFAULT)).otherwise("arm"))
    assert world.account.fields["ROUTE"] == dict(wanted.select("subscriber_key", "arm").iter_rows())
    assert 0 < int(out.sum()) < 0.2 * decided.height


def test_what_is_served_is_what_was_held_when_the_mail_went_out(ledger: Ledger) -> None:
    """The world's own record: the arm that each person held at the moment of the mail."""
    world = Branch(ledger, RATES, writes_until=FIRST_NIGHT + timedelta(days=9))
    last = world.run(FIRST_NIGHT, 3)
    made = world.take(is_delivery, last)
    world.run(last + timedelta(days=1), 12)
    held = {one["subscriber_key"]: BETTER if one["step_key"] == 3 else DEFAULT for one in world.mailed}
    served = learnt(world)
    assert served.height > 300
    assert [held[key] for key in served["subscriber_key"]] == served["arm"].to_list()
    # Who is kept out holds the default whatever is chosen, and teaches nothing.
    assert not is_held_out(served["subscriber_key"], made.optimization_id, made.holdout_share).any()
    # Nobody is served who came when nothing was written any more.
    written_last = FIRST_NIGHT + timedelta(days=9)
    assert max(served["exposed_day"]) <= written_last + timedelta(days=1)
    assert WRITE_HOUR < MAIL_HOUR


def test_a_better_policy_is_found_switched_to_and_measured(ledger: Ledger) -> None:
    world = Branch(ledger, RATES, per_day=80)
    last = world.run(FIRST_NIGHT, 2)
    delivery = world.take(is_delivery, last)
    assert delivery.expected_lift is None
    last = world.run(last + timedelta(days=1), 16)
    values = world.tables["policy_values"].filter(pl.col("method") == "doubly robust")
    told = {row["policy"]: row for row in values.iter_rows(named=True)}
    for policy, truth in ((f"always {DEFAULT}", RATES[DEFAULT]), (f"always {BETTER}", RATES[BETTER])):
        if told[policy]["status"] == "ok":
            assert told[policy]["value_mean_low"] < truth < told[policy]["value_mean_high"]
    switch = world.take(is_switch, last)
    assert switch.after["policy"] in ("learnt", f"always {BETTER}")
    assert switch.expected_lift is not None
    assert switch.measure == delivery.measure
    last = world.run(last + timedelta(days=1), 14)
    decided = world.tables["path_decisions"]
    out = is_held_out(decided["subscriber_key"], switch.optimization_id, switch.holdout_share)
    switched = decided.filter(~pl.lit(out))
    assert switched["model_version"].str.starts_with(switch.after["policy"]).all()
    assert not decided.filter(pl.lit(out))["model_version"].str.starts_with(switch.after["policy"]).any()
    held = world.account.fields["ROUTE"]
    assert [held[key] for key in decided["subscriber_key"]] == decided["arm"].to_list()
    row = measured(world, switch)
    assert row["promised_lift"] == switch.expected_lift
    assert row["exposures"] > 500
    assert row["realised_lift_low"] < switch.expected_lift < row["realised_lift_high"]
    # The delivery ended when the switch took its field over.
    assert measured(world, delivery)["last_day"] == ledger.record(switch.optimization_id).applied_day - timedelta(
        days=1
    )


def test_no_switch_is_proposed_where_the_arms_do_the_same(ledger: Ledger) -> None:
    world = Branch(ledger, {DEFAULT: 0.3, BETTER: 0.3})
    last = world.run(FIRST_NIGHT, 2)
    world.take(is_delivery, last)
    world.run(last + timedelta(days=1), 14)
    assert learnt(world).height > 500
    assert not any(is_switch(made) for made in world.proposals())


def test_rules_are_delivered_too_and_value_no_other_policy(ledger: Ledger) -> None:
    world = Branch(ledger, RATES, one=definition("rules", "tag route"))
    last = world.run(FIRST_NIGHT, 2)
    world.take(is_delivery, last)
    world.run(last + timedelta(days=1), 6)
    assert set(world.account.fields["tag route"].values()) == {DEFAULT}
    assert world.tables["policy_values"].is_empty()


def is_start(made: Proposal) -> bool:
    return made.kind is Kind.EXPERIMENT_START


def test_a_test_that_driptune_draws_starts_when_its_arms_are_written_and_finds_its_winner(ledger: Ledger) -> None:
    world = TestedStep(ledger, RATES)
    last = world.run(FIRST_NIGHT, 12)
    assert world.tables["experiments"]["status"].to_list() == ["planned"]
    arms = world.tables["experiment_assignments"]
    assert arms.height == len(world.people)
    assert not arms["is_served"].any()
    world.take(is_start, last)
    assert world.account.fields["SETUP_TEST"] == dict(arms.select("subscriber_key", "arm").iter_rows())
    start_day = last + timedelta(days=1)
    last = world.run(start_day, 21)
    [test] = world.tables["experiments"].to_dicts()
    assert (test["status"], test["start_day"]) == ("running", start_day)
    [verdict] = world.tables["experiment_verdicts"].to_dicts()
    assert (verdict["verdict"], verdict["winner_arm"]) == ("winner", BETTER)
    assert verdict["lift_low"] < RATES[BETTER] / RATES[DEFAULT] - 1 < verdict["lift_high"]
    served = world.tables["experiment_assignments"].filter("is_served")
    # Those of the last day are written to in the morning after their first night.
    assert served.height == len(world.people) - world.per_day
    assert not any(is_start(made) for made in world.proposals())


class WaitingStep(TestedStep):
    """The same people, who wait as many hours as the test's field holds before they are mailed."""

    wait_fields = ("SETUP_TEST",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.draft = replace(self.draft, shares=(("0", 0.5), ("96", 0.5)))

    def days_until_mail(self, key: int) -> int:
        return 1 + int(self.held(key) or 0) // 24


def test_a_test_of_waits_is_not_invalid_while_the_longer_wait_lasts(ledger: Ledger) -> None:
    world = WaitingStep(ledger, {**RATES, "0": 0.1, "96": 0.1})
    last = world.run(FIRST_NIGHT, 12)
    world.take(is_start, last)
    for night in range(21):
        world.run(last + timedelta(days=1 + night), 1)
        assert world.tables["experiment_verdicts"]["verdict"].to_list() != ["invalid"]
    results = world.tables["experiment_results"]
    assert results.select(pl.min_horizontal("exposures", "control_exposures").max()).item() > 200


def test_nobody_is_exposed_to_an_arm_that_was_never_written(ledger: Ledger) -> None:
    world = TestedStep(ledger, RATES)
    last = world.run(FIRST_NIGHT, 12)
    world.writes_until = last
    world.take(is_start, last)
    world.run(last + timedelta(days=1), 10)
    results = world.tables["experiment_results"]
    exposed = results.filter(pl.col("as_of_day") == pl.col("as_of_day").max())
    # Only those who had entered before the arms were written once, and were mailed after it.
    assert exposed.select(pl.sum_horizontal("exposures", "control_exposures").max()).item() == world.per_day


def test_the_arms_of_a_test_without_a_means_are_written_to_nobody(ledger: Ledger) -> None:
    world = TestedStep(ledger, RATES)
    world.draft = draft(means=None)
    world.run(FIRST_NIGHT, 12)
    [made] = world.proposals()
    assert is_start(made)
    assert made.is_all_by_hand
    assert world.tables["member_field_values"].is_empty()
