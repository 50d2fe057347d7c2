"""The ledger on SQLite and PostgreSQL: idempotent, append-only, one winner, and every edit found."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from pipeline.common.errors import LedgerError
from pipeline.optimizations import review
from pipeline.optimizations.approval_policy import AutomaticApproval
from pipeline.optimizations.ledger import Ledger, StaleRecordError
from pipeline.optimizations.record import Kind, Risk, Status
from pipeline.optimizations.review import DecisionRefusedError, Seen
from pipeline.optimizations.states import EventType, IllegalTransitionError
from pipeline.optimizations.tables import MIGRATIONS, metadata
from tests.optimizations.conftest import NOW, POLICY, TOMORROW, proposal

APPROVERS = 8
RACES = 25


def test_fifty_proposals_make_one_record(ledger: Ledger) -> None:
    created = [ledger.propose([proposal()], now=NOW + timedelta(hours=hour), policy=POLICY) for hour in range(50)]
    assert created == [[proposal().optimization_id], *[[]] * 49]
    assert [event.event_type for event in ledger.events()] == [EventType.PROPOSED]


def test_newer_evidence_is_renewed_and_another_change_supersedes(ledger: Ledger) -> None:
    ledger.propose([proposal()], now=NOW, policy=POLICY)
    seen = Seen.of(ledger.record(proposal().optimization_id))
    newer = proposal(evidence={"n": 11_000, "effect": 0.28})
    assert ledger.propose([newer], now=TOMORROW, policy=POLICY) == []
    with pytest.raises(DecisionRefusedError, match="has changed since you saw it"):
        review.approve(ledger, POLICY, seen, actor="noor", now=TOMORROW)
    other = proposal(after={"delay_hours": 24})
    assert ledger.propose([other], now=TOMORROW, policy=POLICY) == [other.optimization_id]
    assert {record.optimization_id: record.status for record in ledger.records()} == {
        newer.optimization_id: Status.SUPERSEDED,
        other.optimization_id: Status.PENDING,
    }


def test_what_was_rejected_rests_until_the_cool_down_and_new_evidence(ledger: Ledger) -> None:
    ledger.propose([proposal()], now=NOW, policy=POLICY)
    seen = Seen.of(ledger.record(proposal().optimization_id))
    review.reject(ledger, POLICY, seen, actor="mara", reason="The holidays are near.", now=NOW)
    later = NOW + timedelta(days=POLICY.cool_down_days)
    same = proposal(base_version="2")
    other = proposal(base_version="2", evidence={"n": 12_000})
    assert ledger.propose([other], now=later - timedelta(seconds=1), policy=POLICY) == []
    assert ledger.propose([same], now=later, policy=POLICY) == []
    assert ledger.propose([other], now=later, policy=POLICY) == [other.optimization_id]


def test_while_a_change_is_being_applied_its_target_takes_no_other(ledger: Ledger) -> None:
    ledger.propose([proposal()], now=NOW, policy=POLICY)
    approved = review.approve(ledger, POLICY, Seen.of(ledger.record(proposal().optimization_id)), actor="mara", now=NOW)
    assert approved.status is Status.APPROVED
    assert ledger.propose([proposal(after={"delay_hours": 24})], now=NOW, policy=POLICY) == []


def test_an_event_needs_the_revision_and_the_state(ledger: Ledger) -> None:
    ledger.propose([proposal()], now=NOW, policy=POLICY)
    subject = proposal().optimization_id
    with pytest.raises(StaleRecordError, match="revision 1, you saw 7"):
        ledger.append(subject, EventType.APPROVED, actor="noor", now=NOW, expected_revision=7)
    with pytest.raises(IllegalTransitionError, match="pending cannot be applied"):
        ledger.append(subject, EventType.APPLIED, actor="noor", now=NOW, expected_revision=1)
    with pytest.raises(LedgerError, match="There is no record 'nothing'"):
        ledger.record("nothing")


def test_of_eight_approvers_at_once_one_wins(open_ledger: Callable[[], Ledger]) -> None:
    ledgers = [open_ledger() for _ in range(APPROVERS)]

    def approve(ledger: Ledger, seen: Seen) -> bool:
        try:
            review.approve(ledger, POLICY, seen, actor="mara", now=NOW)
        except (DecisionRefusedError, StaleRecordError, IllegalTransitionError):
            return False
        return True

    with ThreadPoolExecutor(APPROVERS) as pool:
        for race in range(RACES):
            contested = proposal(target=f"step {race}")
            ledgers[0].propose([contested], now=NOW, policy=POLICY)
            seen = Seen.of(ledgers[0].record(contested.optimization_id))
            assert sum(pool.map(approve, ledgers, [seen] * APPROVERS)) == 1
    assert ledgers[0].verify() == []
    assert len(ledgers[0].records(Status.APPROVED)) == RACES


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("UPDATE ledger_events SET actor = 'mallory' WHERE sequence = 2", "Event 2 of"),
        ("UPDATE ledger_events SET payload = '{}' WHERE sequence = 2", "Event 2 of"),
        ("DELETE FROM ledger_events WHERE sequence = 2", "Before event 3"),
        ("DELETE FROM ledger_events WHERE sequence = 3", "is not what its events say"),
        ("UPDATE ledger_states SET status = 'rejected'", "is not what its events say"),
        ("DELETE FROM ledger_states", "only one of events and states"),
    ],
)
def test_an_edited_row_is_found(ledger: Ledger, ledger_url: str, edit: str, said: str) -> None:
    ledger.propose([proposal(risk=Risk.HIGH)], now=NOW, policy=POLICY)
    for actor in ("noor", "lia"):
        seen = Seen.of(ledger.record(proposal(risk=Risk.HIGH).optimization_id))
        review.approve(ledger, POLICY, seen, actor=actor, now=NOW)
    assert ledger.verify() == []
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        connection.execute(sa.text(edit))
    engine.dispose()
    problems = ledger.verify()
    assert problems
    assert said in problems[0]


def test_low_risk_within_the_bounds_passes_by_itself_and_says_so(ledger: Ledger) -> None:
    policy = POLICY.__class__(automatic=AutomaticApproval(frozenset({Kind.DELAY}), largest_lift=0.3))
    ledger.propose([proposal(), proposal(target="more", expected_lift=0.31)], now=NOW, policy=policy)
    [approved] = ledger.records(Status.APPROVED)
    assert (approved.proposal.target, approved.decided_by) == (proposal().target, "approvals.yaml")


def test_an_older_ledger_opens_at_todays_tables_with_every_record(ledger_url: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    Ledger.open(ledger_url).close()
    engine = sa.create_engine(ledger_url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    engine.dispose()
    ledger = Ledger.open(ledger_url)
    ledger.propose([proposal()], now=NOW, policy=POLICY)
    ledger.close()
    again = Ledger.open(ledger_url)
    assert [record.optimization_id for record in again.records()] == [proposal().optimization_id]
    again.close()


def test_the_migrations_make_the_declared_tables(ledger: Ledger, ledger_url: str) -> None:
    engine = sa.create_engine(ledger_url)
    inspector = sa.inspect(engine)
    for table in metadata.tables.values():
        assert {column["name"] for column in inspector.get_columns(table.name)} == set(table.columns.keys())
    engine.dispose()


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    Ledger.open(f"sqlite:///{tmp_path}/new/ledger.sqlite").close()
    assert (tmp_path / "new" / "ledger.sqlite").stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_no_ledger_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite").write_text("something else, long enough to be looked at as a database header")
    with pytest.raises(LedgerError, match=r"cannot be opened .*DRIPTUNE_LEDGER_URL"):
        Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")


def test_a_database_whose_driver_is_not_installed_is_told_in_words() -> None:
    with pytest.raises(LedgerError, match=r"needs the Python package 'MySQLdb', which is not installed"):
        Ledger.open("mysql://nobody@127.0.0.1:1/ledger")
