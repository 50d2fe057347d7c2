"""Deliveries over HTTP: members hold what the record says, by whatever means, and only what changed is written."""

from collections.abc import Iterator
from datetime import timedelta

import polars as pl
import pytest

from pipeline.common.sticky_hash import is_held_out
from pipeline.optimizations.account.apply import keep_in_step
from pipeline.optimizations.account.rollback import roll_back
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Proposal
from tests.mailchimp.loopback import serve
from tests.mailchimp.writable_account import WritableAccount, reached
from tests.optimizations.conftest import NOW
from tests.worlds.served import BETTER, DEFAULT, FIRST_NIGHT, Branch, TestedStep, definition, draft

PEOPLE = 60
RATES = {DEFAULT: 0.1, BETTER: 0.4}
MEANS = ["ROUTE", "tag route"]


@pytest.fixture
def made_up() -> Iterator[tuple[WritableAccount, str]]:
    account = WritableAccount(PEOPLE)
    with serve(account.answer) as url:
        yield account, url


def held(account: WritableAccount, means: str) -> dict[int, str]:
    """What the stand-in itself holds: the field, or what the tags say."""
    if means == "ROUTE":
        return account.values(means)
    told = {number: [tag.removeprefix("route: ") for tag in account.tags(number)] for number in range(PEOPLE)}
    return {number: ", ".join(values) for number, values in told.items() if values}


def wanted(world: Branch, made: Proposal) -> dict[int, str]:
    decided = world.tables["path_decisions"].filter(pl.col("subscriber_key") < PEOPLE)
    out = is_held_out(decided["subscriber_key"], made.optimization_id, made.holdout_share)
    arms = decided.with_columns(arm=pl.when(out).then(pl.lit(DEFAULT)).otherwise("arm"))
    return dict(arms.select("subscriber_key", "arm").iter_rows())


@pytest.mark.parametrize("means", MEANS)
def test_a_delivered_path_stands_at_every_member_and_goes_back_with_its_record(
    ledger: Ledger, made_up: tuple[WritableAccount, str], means: str
) -> None:
    account, url = made_up
    world = Branch(ledger, RATES, per_day=PEOPLE, one=definition(means=means))
    last = world.run(FIRST_NIGHT, 1)
    world.account = reached(url, PEOPLE, keys=range(PEOPLE))
    made = world.take(lambda one: "source" in one.after, last)
    assert held(account, means) == wanted(world, made)
    assert ledger.record(made.optimization_id).details["writes"] == {"written": PEOPLE}
    # The next night chooses anew: only what has changed is written.
    before, account.writes = wanted(world, made), []
    other = definition("rules", means)
    world.one = other
    world.writes_until = FIRST_NIGHT
    world.close(last + timedelta(days=1))
    changed = sum(before[key] != arm for key, arm in wanted(world, made).items())
    reached_now = keep_in_step(ledger, made.optimization_id, world.account, world.tables, now=NOW)
    assert (reached_now.written, len(account.writes)) == (changed, changed)
    assert 0 < changed < PEOPLE
    assert held(account, means) == wanted(world, made)
    terms = {"actor": "mara", "reason": "No.", "first_day": NOW.date(), "now": NOW}
    roll_back(ledger, made.optimization_id, world.account, **terms)
    assert held(account, means) == {}


def test_the_arms_of_a_test_stand_at_every_member(ledger: Ledger, made_up: tuple[WritableAccount, str]) -> None:
    account, url = made_up
    world = TestedStep(ledger, RATES, per_day=PEOPLE)
    world.draft = draft("ROUTE")
    last = world.run(FIRST_NIGHT, 8)
    world.account = reached(url, PEOPLE, keys=range(PEOPLE))
    made = world.take(lambda one: "source" in one.after, last)
    drawn = world.tables["experiment_assignments"].filter(pl.col("subscriber_key") < PEOPLE)
    assert held(account, "ROUTE") == dict(drawn.select("subscriber_key", "arm").iter_rows())
    # Those who are no members in Mailchimp are counted.
    done = ledger.record(made.optimization_id).details
    assert done["unreachable"] == len(world.people) - PEOPLE
