"""Counts of releases: what the journal says, what was sent since, and who still waits."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import polars as pl

from pipeline.common.time import instant_us
from pipeline.optimizations import review
from pipeline.optimizations.account import apply as applications
from pipeline.optimizations.account.released import released
from pipeline.optimizations.account.releasing import Answer, Terms, release
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.proposals.evidence import Publication
from pipeline.optimizations.proposals.releases import release_proposals
from pipeline.optimizations.record import Record
from pipeline.optimizations.review import Seen
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreMessages
from tests.optimizations.conftest import NOW, POLICY
from tests.worlds.published import nothing
from tests.worlds.releases import FIRST, MORNING, TONIGHT, entry, night, steps
from tests.worlds.writing import InMemoryAccount


class Answers:
    """A door that gives these answers, one to each person."""

    def __init__(self, *answers: str) -> None:
        self.answers = answers

    def let_in(self, keys: Sequence[int]) -> list[Answer]:
        return [Answer(one) for one in self.answers]


def in_effect(ledger: Ledger, tables: dict[str, pl.DataFrame]) -> Record:
    [made] = release_proposals(Publication({**nothing(), **tables}, "v1", "1"))
    ledger.propose([made], now=NOW, approval_policy=POLICY)
    for name in ("noor", "lia"):
        review.approve(ledger, POLICY, Seen.of(ledger.record(made.optimization_id)), actor=name, now=NOW)
    terms = {"approval_policy": POLICY, "standing": [made], "first_day": TONIGHT, "now": NOW}
    return applications.apply(ledger, made.optimization_id, InMemoryAccount(), {}, **terms)  # type: ignore[arg-type]


def message(key: int, sent: datetime) -> pl.DataFrame:
    given = {"subscriber_key": key, "step_key": FIRST, "sent_us": instant_us(sent)}
    return pl.concat([empty(CoreMessages), pl.DataFrame([given])], how="diagonal_relaxed")


def counted(ledger: Ledger, plan: pl.DataFrame, messages: pl.DataFrame) -> dict[tuple[datetime, str], int]:
    rows = released(ledger.records(), ledger.journal.noted, plan, messages.lazy(), steps())
    return {(hour, outcome): people for hour, outcome, people in rows.drop("optimization_id", "workflow_id").rows()}


def test_each_is_counted_once_under_what_became_of_them(ledger: Ledger) -> None:
    tables = night([*(entry(key, 5) for key in range(4)), entry(8, 40), entry(9, -30)])
    record = in_effect(ledger, tables)
    plan, dawn = tables["release_plan"], MORNING.replace(tzinfo=None)
    terms = Terms(plan, 100, lambda: False)
    answers = Answers("released", "refused: No.", "unknown", "not sent: No answer.")
    came = release(ledger, record.optimization_id, lambda record, people: answers, terms, now=MORNING)
    assert str(came) == "1 refused, 1 released, 1 unknown, 1 waiting"
    late = dawn - timedelta(hours=40)
    told = {
        (dawn, "released"): 1,
        (dawn, "refused"): 1,
        (dawn, "unknown"): 1,
        (dawn, "waiting"): 1,
        (dawn + timedelta(hours=30), "waiting"): 1,
        (late, "late"): 1,
    }
    assert counted(ledger, plan, empty(CoreMessages)) == told


def test_an_unknown_one_who_got_the_email_since_was_let_in(ledger: Ledger) -> None:
    tables = night([entry(1, 5)])
    record = in_effect(ledger, tables)
    terms = Terms(tables["release_plan"], 100, lambda: False)
    release(ledger, record.optimization_id, lambda record, people: Answers("unknown"), terms, now=MORNING)
    dawn = MORNING.replace(tzinfo=None)
    before, since = message(1, MORNING - timedelta(days=9)), message(1, MORNING + timedelta(hours=2))
    assert counted(ledger, tables["release_plan"], before) == {(dawn, "unknown"): 1}
    assert counted(ledger, tables["release_plan"], since) == {(dawn, "released"): 1}


def test_where_nothing_was_ever_released_there_are_no_rows(ledger: Ledger) -> None:
    assert counted(ledger, night([entry(1, 5)])["release_plan"], empty(CoreMessages)) == {}
