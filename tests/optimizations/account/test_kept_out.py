"""A hold-out of holdouts.yaml over HTTP: whoever is in it gets no write of any kind, and is counted."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest

from pipeline.analysis.experiments.holdouts import Holdout, holdout_members
from pipeline.optimizations.account.apply import keep_in_step
from pipeline.optimizations.account.writing import plan
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Proposal
from pipeline.schemas.core import CoreSubscribers
from tests.mailchimp.loopback import serve
from tests.mailchimp.writable_account import WritableAccount, reached
from tests.optimizations.conftest import NOW
from tests.worlds.facts import rows
from tests.worlds.holdouts import holdouts
from tests.worlds.served import BETTER, DEFAULT, FIRST_NIGHT, Branch, definition
from tests.worlds.writing import apply, approved, by_hand, hours, tables_tonight, winner

PEOPLE = 60
TONIGHT = date(2026, 6, 29)
OF_ACCOUNT = Holdout("nobody", None, 0.3, date(2026, 6, 1))
OF_FLOW = Holdout("no welcome", "flow", 0.3, date(2026, 6, 1))
MADE = {"hours": hours(), "winner": winner(), "by hand": by_hand()}


@pytest.fixture
def made_up() -> Iterator[tuple[WritableAccount, str]]:
    account = WritableAccount(PEOPLE)
    with serve(account.answer) as url:
        yield account, url


def out_of(one: Holdout) -> set[int]:
    """Who is published as held out."""
    people = rows(CoreSubscribers, *({"subscriber_key": key} for key in range(PEOPLE))).lazy()
    return set(holdout_members([one], people, as_of=TONIGHT)["subscriber_key"])


def in_flow(made: Proposal) -> Proposal:
    return made.model_copy(update={"workflow_id": "flow"})


def in_another_flow(made: Proposal) -> Proposal:
    return made.model_copy(update={"workflow_id": "another"})


@pytest.mark.parametrize("made", MADE.values(), ids=MADE)
@pytest.mark.parametrize("one", [OF_ACCOUNT, OF_FLOW], ids=["of the account", "of the flow"])
def test_nobody_who_is_kept_out_is_written_to_and_they_are_counted(
    ledger: Ledger, made_up: tuple[WritableAccount, str], made: Proposal, one: Holdout
) -> None:
    account, url = made_up
    made, out = in_flow(made), out_of(one)
    tables = {**tables_tonight(), "holdouts": holdouts(one)}
    there = reached(url, PEOPLE, keys=range(PEOPLE))
    record = approved(ledger, made)
    told = plan(ledger, record, there, tables)
    assert 0 < told.kept_out == len(out) < PEOPLE
    assert f"{len(out)} kept out by holdouts.yaml" in told.lines()[0]
    done = apply(ledger, made, there, tables=tables)  # type: ignore[arg-type]
    written = set(account.values(made.field))
    assert written
    assert not written & out
    assert done.details["kept_out"] == len(out)
    keep_in_step(ledger, made.optimization_id, there, tables, now=NOW)
    assert not set(account.values(made.field)) & out


@pytest.mark.parametrize("made", [in_another_flow(winner()), winner()], ids=["another flow", "several flows"])
def test_a_hold_out_of_one_flow_keeps_nobody_out_of_another(
    ledger: Ledger, made_up: tuple[WritableAccount, str], made: Proposal
) -> None:
    account, url = made_up
    approved(ledger, made)
    tables: dict[str, Any] = {**tables_tonight(), "holdouts": holdouts(OF_FLOW)}
    apply(ledger, made, reached(url, PEOPLE, keys=range(PEOPLE)), tables=tables)  # type: ignore[arg-type]
    assert len(account.values("ARM")) == PEOPLE


@pytest.mark.parametrize(("start", "is_kept_out"), [(TONIGHT + timedelta(days=1), True), (date(2026, 7, 1), False)])
def test_a_hold_out_keeps_people_out_from_its_first_day_on(
    ledger: Ledger, made_up: tuple[WritableAccount, str], start: date, is_kept_out: bool
) -> None:
    account, url = made_up
    one = Holdout("later", None, 0.3, start)
    approved(ledger, winner())
    tables = {**tables_tonight(), "holdouts": holdouts(one)}
    apply(ledger, winner(), reached(url, PEOPLE, keys=range(PEOPLE)), tables=tables)  # type: ignore[arg-type]
    assert (len(account.values("ARM")) < PEOPLE) is is_kept_out


@pytest.mark.parametrize("means", ["ROUTE", "tag route"])
def test_a_delivery_leaves_out_those_kept_out_by_whatever_means(
    ledger: Ledger, made_up: tuple[WritableAccount, str], means: str
) -> None:
    account, url = made_up
    one = Holdout("nobody", "flow", 0.3, FIRST_NIGHT)
    world = Branch(ledger, {DEFAULT: 0.1, BETTER: 0.4}, per_day=PEOPLE, one=definition(means=means))
    world.holdouts = (one,)
    last = world.run(FIRST_NIGHT, 1)
    world.account = reached(url, PEOPLE, keys=range(PEOPLE))
    made = world.take(lambda proposed: "source" in proposed.after, last)
    held = account.values(means) if means == "ROUTE" else {n for n in range(PEOPLE) if account.tags(n)}
    assert set(held) == set(range(PEOPLE)) - out_of(one)
    details = ledger.record(made.optimization_id).details
    assert (details["kept_out"], details["writes"]) == (len(out_of(one)), {"written": len(held)})
