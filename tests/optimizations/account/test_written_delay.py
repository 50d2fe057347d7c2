"""A delay that Mailchimp's API can write, over HTTP: proposed, approved, written, read back, and put back."""

from collections.abc import Iterator
from typing import Any

import polars as pl
import pytest

from pipeline.optimizations.account.writing import NotConfirmedError, plan
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.proposals.delays import delay_proposals
from pipeline.optimizations.proposals.evidence import Publication
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.mailchimp.loopback import serve
from tests.mailchimp.writable_account import AUTOMATION, WORKFLOW, WritableAccount, reached
from tests.worlds.published import a_written_delay, nothing
from tests.worlds.writing import apply, approved, roll_back, tables_tonight

STOOD = {"amount": 1, "type": "day", "direction": "after", "action": "signup"}


def two_days() -> Proposal:
    """Two days before an e-mail of the stand-in's automation, which waits a day."""
    here = pl.lit(WORKFLOW).alias("workflow_id")
    tables = {name: table.with_columns(here) for name, table in a_written_delay().items()}
    [made] = delay_proposals(Publication({**nothing(), **tables}, "v1", "1"))
    return made


@pytest.fixture
def made_up() -> Iterator[tuple[WritableAccount, str]]:
    account = WritableAccount(3)
    with serve(account.answer) as url:
        yield account, url


def stands(account: WritableAccount) -> Any:
    email: Any = account.found[AUTOMATION]
    return email["delay"]


def test_it_is_written_read_back_and_put_back(ledger: Ledger, made_up: tuple[WritableAccount, str]) -> None:
    account, url = made_up
    there, made = reached(url, 3), two_days()
    told = plan(ledger, approved(ledger, made), there, tables_tonight())
    assert len(told.changes) == 1
    done = apply(ledger, made, there)  # type: ignore[arg-type]
    assert (done.status, done.details["writes"]) == (Status.APPLIED, {"written": 1})
    assert stands(account) == {"amount": 2, "type": "day", "direction": "after", "action": "signup"}
    back = roll_back(ledger, made, there)  # type: ignore[arg-type]
    assert back.status is Status.ROLLED_BACK
    assert stands(account) == STOOD


def test_what_somebody_has_set_since_is_left(ledger: Ledger, made_up: tuple[WritableAccount, str]) -> None:
    account, url = made_up
    there, made = reached(url, 3), two_days()
    approved(ledger, made)
    apply(ledger, made, there)  # type: ignore[arg-type]
    theirs = {**STOOD, "amount": 5}
    stands(account).update(theirs)
    roll_back(ledger, made, there)  # type: ignore[arg-type]
    assert stands(account) == theirs


def test_a_delay_that_does_not_stand_when_read_back_is_not_applied(
    ledger: Ledger, made_up: tuple[WritableAccount, str]
) -> None:
    account, url = made_up
    there, made = reached(url, 3), two_days()
    approved(ledger, made)
    account.is_deaf = True
    with pytest.raises(NotConfirmedError):
        apply(ledger, made, there)  # type: ignore[arg-type]
    assert ledger.record(made.optimization_id).status is Status.APPLYING
