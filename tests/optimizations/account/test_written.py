"""What the journal says that members hold, and for how long; and which of several records is in charge of a field."""

from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from pipeline.common.time import instant_us
from pipeline.common.written import standing, stood_when_sent
from pipeline.optimizations.account.written import deliveries, written_values
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Record, ends_of, in_charge
from pipeline.schemas.vocabulary import RecordStatus as Status
from tests.optimizations.conftest import NOW
from tests.worlds.applied import APPLIED_DAY, record
from tests.worlds.writing import LATER, REFUSED, InMemoryAccount, apply, approved, expected, hours, roll_back

LATER_NOW = NOW + timedelta(days=14)


def told(ledger: Ledger) -> pl.DataFrame:
    return written_values(ledger.journal.settled(), ledger.records())


def test_a_value_stands_from_when_the_account_was_read_back_until_another_one_is(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    apply(ledger, hours(), account)
    stands = standing(told(ledger), NOW.date())
    assert dict(stands.select("subscriber_key", "value").iter_rows()) == expected(hours())
    assert set(stands["from_us"]) == {instant_us(NOW)}
    assert standing(told(ledger), NOW.date() - timedelta(days=1)).is_empty()
    account.clock = LATER_NOW
    roll_back(ledger, hours(), account, now=LATER_NOW, first_day=LATER)
    after = told(ledger)
    assert set(after.filter(pl.col("value") != "")["until_us"]) == {instant_us(LATER_NOW)}
    assert set(standing(after, LATER_NOW.date())["value"]) == {""}
    # What stood on an earlier night is what it was then.
    assert (
        standing(after, NOW.date()).select("subscriber_key", "value").equals(stands.select("subscriber_key", "value"))
    )


def test_what_was_refused_never_stood_and_is_counted_with_its_reason(ledger: Ledger) -> None:
    approved(ledger, hours())
    unlucky = next(iter(expected(hours())))
    apply(ledger, hours(), InMemoryAccount(refused=frozenset({unlucky})))
    assert unlucky not in told(ledger)["subscriber_key"]
    counts = deliveries(ledger.journal.settled(), ledger.records())
    by_outcome = dict(counts.group_by("outcome").agg(pl.col("subscribers").sum()).iter_rows())
    assert by_outcome == {"written": len(expected(hours())) - 1, REFUSED: 1}
    assert set(counts["day"]) == {NOW.date()}


def test_a_message_at_the_moment_of_the_reading_was_not_served_and_the_one_after_it_was(ledger: Ledger) -> None:
    approved(ledger, hours())
    apply(ledger, hours(), InMemoryAccount())
    key = next(iter(expected(hours())))
    moments = [instant_us(NOW) + shift for shift in (-1, 0, 1)]
    messages = pl.DataFrame({"subscriber_key": [key] * 3, "sent_us": moments})
    assert stood_when_sent(messages, told(ledger))["sent_us"].to_list() == moments[2:]


def applied_on(number: int, day: date, **changes: Any) -> Record:
    after = {"field": "ARM", "value": str(number)}
    return record(number, after=after, applied_day=day, **changes)


def test_of_records_that_write_one_field_the_last_is_in_charge_until_it_is_taken_back() -> None:
    first, second = applied_on(1, APPLIED_DAY), applied_on(2, APPLIED_DAY + timedelta(days=5))
    assert in_charge([second, first]) == [second]
    assert ends_of([second, first]) == {first.optimization_id: APPLIED_DAY + timedelta(days=5)}
    back = applied_on(2, APPLIED_DAY + timedelta(days=5), status=Status.ROLLED_BACK, rolled_back_day=date(2026, 6, 20))
    assert in_charge([back, first]) == [first]
    assert ends_of([back, first]) == {
        first.optimization_id: APPLIED_DAY + timedelta(days=5),
        back.optimization_id: date(2026, 6, 20),
    }


def test_records_of_several_fields_are_all_in_charge() -> None:
    several = [record(1), record(2)]
    assert in_charge(several) == several
    assert ends_of(several) == {}


def test_the_clock_of_the_account_tells_when_a_value_stood(ledger: Ledger) -> None:
    approved(ledger, hours())
    account = InMemoryAccount()
    account.clock = datetime(2020, 1, 1, tzinfo=NOW.tzinfo)
    apply(ledger, hours(), account)
    assert set(told(ledger)["from_us"]) == {instant_us(account.clock)}
