"""The ledger on SQLite and PostgreSQL: idempotent, append-only, one winner, and every edit found."""

import dataclasses
import sqlite3
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
from pipeline.optimizations.binding import terms
from pipeline.optimizations.chain import StaleRecordError, append_event
from pipeline.optimizations.changes import Outcome
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.review import DecisionRefusedError, Seen
from pipeline.optimizations.states import IllegalTransitionError
from pipeline.optimizations.tables import MIGRATIONS, metadata
from pipeline.schemas.vocabulary import LedgerEventType as EventType
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.schemas.vocabulary import Risk
from tests.optimizations.conftest import NOW, POLICY, TOMORROW, proposal
from tests.worlds.writing import InMemoryAccount, hours, roll_back

APPROVERS = 8
RACES = 25


def test_fifty_proposals_make_one_record(ledger: Ledger) -> None:
    created = [
        ledger.propose([proposal()], now=NOW + timedelta(hours=hour), approval_policy=POLICY) for hour in range(50)
    ]
    assert created == [[proposal().optimization_id], *[[]] * 49]
    assert [event.event_type for event in ledger.events()] == [EventType.PROPOSED]


def test_newer_evidence_is_renewed_and_another_change_supersedes(ledger: Ledger) -> None:
    ledger.propose([proposal()], now=NOW, approval_policy=POLICY)
    seen = Seen.of(ledger.record(proposal().optimization_id))
    newer = proposal(evidence={"n": 11_000, "effect": 0.28})
    assert ledger.propose([newer], now=TOMORROW, approval_policy=POLICY) == []
    with pytest.raises(DecisionRefusedError, match="has changed since you saw it"):
        review.approve(ledger, POLICY, seen, actor="noor", now=TOMORROW)
    other = proposal(after={"delay_hours": 24})
    assert ledger.propose([other], now=TOMORROW, approval_policy=POLICY) == [other.optimization_id]
    assert {record.optimization_id: record.status for record in ledger.records()} == {
        newer.optimization_id: Status.SUPERSEDED,
        other.optimization_id: Status.PENDING,
    }
    reason = ledger.record(newer.optimization_id).reason
    assert reason == f"Another change is proposed in its place: {other.title}."


def test_what_is_no_longer_proposed_waits_for_nobody_and_waits_again_once_it_is(ledger: Ledger) -> None:
    gone, stays = proposal(), proposal(target="onboarding/other")
    ledger.propose([gone, stays], now=NOW, approval_policy=POLICY)
    seen = Seen.of(ledger.record(gone.optimization_id))
    assert ledger.let_go([stays], now=NOW) == [gone.optimization_id]
    assert ledger.let_go([stays], now=NOW) == []
    assert [one.optimization_id for one in ledger.records(Status.PENDING)] == [stays.optimization_id]
    record = ledger.record(gone.optimization_id)
    assert (record.status, record.reason) == (Status.STALE, "The standing publication no longer proposes it.")
    with pytest.raises(DecisionRefusedError):
        review.approve(ledger, POLICY, seen, actor="noor", now=NOW)
    assert ledger.propose([gone, stays], now=TOMORROW, approval_policy=POLICY) == [gone.optimization_id]
    again = ledger.record(gone.optimization_id)
    assert (again.status, again.reason) == (Status.PENDING, "It is proposed again.")
    assert again.expires_at == POLICY.expires_at(gone.kind, TOMORROW)
    review.approve(ledger, POLICY, Seen.of(again), actor="noor", now=TOMORROW)
    assert ledger.let_go([], now=TOMORROW) == [stays.optimization_id]
    assert ledger.record(gone.optimization_id).status is Status.APPROVED


def test_a_change_that_gave_way_or_lapsed_may_come_back(ledger: Ledger) -> None:
    first, second = proposal(), proposal(after={"delay_hours": 24})
    for one in (first, second):
        ledger.propose([one], now=NOW, approval_policy=POLICY)
    assert ledger.propose([first], now=TOMORROW, approval_policy=POLICY) == [first.optimization_id]
    assert ledger.record(second.optimization_id).status is Status.SUPERSEDED
    late = ledger.record(first.optimization_id).expires_at
    assert review.expire_due(ledger, late) == [first.optimization_id]
    assert ledger.propose([first], now=late, approval_policy=POLICY) == [first.optimization_id]
    assert ledger.record(first.optimization_id).status is Status.PENDING
    assert ledger.verify() == []


def test_a_record_renewed_at_a_higher_risk_keeps_no_approval_and_takes_two(ledger: Ledger) -> None:
    policy = dataclasses.replace(POLICY, four_eyes_from=Risk.HIGH)
    ledger.propose([proposal(risk=Risk.MEDIUM)], now=NOW, approval_policy=policy)
    subject = proposal().optimization_id
    assert ledger.record(subject).approvals_required == 1
    ledger.propose([proposal(risk=Risk.HIGH)], now=TOMORROW, approval_policy=policy)
    renewed = ledger.record(subject)
    assert (renewed.proposal.risk, renewed.approvals_required) == (Risk.HIGH, 2)
    once = review.approve(ledger, policy, Seen.of(renewed), actor="noor", now=TOMORROW)
    assert once.status is Status.PENDING
    ledger.propose([proposal(risk=Risk.HIGH, evidence={"n": 1})], now=TOMORROW, approval_policy=policy)
    assert ledger.record(subject).approvals == ()


def test_tightening_the_approval_policy_reaches_pending_records(ledger: Ledger) -> None:
    ledger.propose([proposal(risk=Risk.MEDIUM)], now=NOW, approval_policy=POLICY)
    tight = dataclasses.replace(POLICY, four_eyes_from=Risk.MEDIUM)
    subject = proposal().optimization_id
    once = review.approve(ledger, tight, Seen.of(ledger.record(subject)), actor="mara", now=NOW)
    assert (once.status, once.approvals_required) == (Status.PENDING, 2)
    # Told before anybody decides, where the same is proposed again.
    ledger.propose([proposal(target="other", risk=Risk.MEDIUM)], now=NOW, approval_policy=POLICY)
    ledger.propose([proposal(target="other", risk=Risk.MEDIUM)], now=TOMORROW, approval_policy=tight)
    [other] = [record for record in ledger.records() if record.proposal.target == "other"]
    assert (other.approvals_required, other.reason) == (
        2,
        "By today's approvals.yaml a change of medium risk takes 2 approvals.",
    )


def test_a_first_approval_counts_only_while_its_approver_may_give_it(ledger: Ledger) -> None:
    ledger.propose([proposal(risk=Risk.HIGH)], now=NOW, approval_policy=POLICY)
    first = review.approve(ledger, POLICY, Seen.of(ledger.record(proposal().optimization_id)), actor="noor", now=NOW)
    without = dataclasses.replace(POLICY, approvers=tuple(one for one in POLICY.approvers if one.name != "noor"))
    second = review.approve(ledger, without, Seen.of(first), actor="lia", now=NOW)
    assert second.status is Status.PENDING


def test_what_was_rejected_rests_until_the_cool_down_and_new_evidence(ledger: Ledger) -> None:
    ledger.propose([proposal()], now=NOW, approval_policy=POLICY)
    seen = Seen.of(ledger.record(proposal().optimization_id))
    review.reject(ledger, POLICY, seen, actor="mara", reason="The holidays are near.", now=NOW)
    later = NOW + timedelta(days=POLICY.cool_down_days)
    same = proposal(base_version="2")
    other = proposal(base_version="2", evidence={"n": 12_000})
    assert ledger.propose([other], now=later - timedelta(seconds=1), approval_policy=POLICY) == []
    assert ledger.propose([same], now=later, approval_policy=POLICY) == []
    assert ledger.propose([other], now=later, approval_policy=POLICY) == [other.optimization_id]


def test_while_a_change_is_being_applied_its_target_takes_no_other(ledger: Ledger) -> None:
    ledger.propose([proposal()], now=NOW, approval_policy=POLICY)
    approved = review.approve(ledger, POLICY, Seen.of(ledger.record(proposal().optimization_id)), actor="mara", now=NOW)
    assert approved.status is Status.APPROVED
    assert ledger.propose([proposal(after={"delay_hours": 24})], now=NOW, approval_policy=POLICY) == []


def test_an_event_needs_the_revision_and_the_state(ledger: Ledger) -> None:
    ledger.propose([proposal()], now=NOW, approval_policy=POLICY)
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
            ledgers[0].propose([contested], now=NOW, approval_policy=POLICY)
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
    ledger.propose([proposal(risk=Risk.HIGH)], now=NOW, approval_policy=POLICY)
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
    ledger.propose([proposal(), proposal(target="more", expected_lift=0.31)], now=NOW, approval_policy=policy)
    [approved] = ledger.records(Status.APPROVED)
    assert (approved.proposal.target, approved.decided_by) == (proposal().target, "approvals.yaml")


def at_revision(url: str, revision: str) -> sa.Engine:
    """An engine for an empty ledger of an older release."""
    engine = sa.create_engine(url)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    return engine


def test_an_older_ledger_opens_at_todays_tables_with_every_record(ledger_url: str, tmp_path: Path) -> None:
    (tmp_path / "ledger").mkdir()
    engine = at_revision(ledger_url, "0001")
    with engine.begin() as connection:
        payload = terms(proposal(expected_gain=12.0), POLICY, NOW)
        # It called the gain by the name that forecasts have.
        payload["proposal"]["expected_value"] = payload["proposal"].pop("expected_gain")
        subject = proposal().optimization_id
        append_event(connection, None, EventType.PROPOSED, "driptune", NOW, payload, subject)
    engine.dispose()
    ledger = Ledger.open(ledger_url)
    assert ledger.verify() == []
    assert ledger.record(subject).proposal == proposal(expected_gain=12.0)
    ledger.close()


def test_the_journal_of_an_older_ledger_joins_the_chain_and_leads_back(ledger_url: str, tmp_path: Path) -> None:
    """Of two members who were written, one was not heard of when the power went."""
    (tmp_path / "ledger").mkdir()
    engine = at_revision(ledger_url, "0002")
    subject = hours().optimization_id
    with engine.begin() as connection:
        record = append_event(
            connection, None, EventType.PROPOSED, "driptune", NOW, terms(hours(), POLICY, NOW), subject
        )
        for event in (EventType.APPROVED, EventType.APPLICATION_STARTED):
            record = append_event(connection, record, event, "mara", NOW, {})
        line = sa.text("INSERT INTO ledger_writes VALUES (:id, :key, 'SENDHOUR', '9', :hour, :outcome)")
        rows = [("1", "1", Outcome.WRITTEN), ("2", "2", None), ("3", "3", "refused: Mailchimp answered 400")]
        for key, hour, outcome in rows:
            connection.execute(line, {"id": subject, "key": key, "hour": hour, "outcome": outcome})
    engine.dispose()
    ledger = Ledger.open(ledger_url)
    assert ledger.verify() == []
    account = InMemoryAccount(people=5)
    account.fields["SENDHOUR"] = {1: "1", 2: "2", 3: "9"}
    roll_back(ledger, hours(), account)
    assert account.fields["SENDHOUR"] == {1: "9", 2: "9", 3: "9"}
    assert ledger.verify() == []
    ledger.close()


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


@pytest.mark.parametrize("place", [0, 4, 16, 40])
def test_a_ledger_whose_description_of_a_table_is_damaged_is_told_in_words(tmp_path: Path, place: int) -> None:
    file = tmp_path / "ledger.sqlite"
    Ledger.open(f"sqlite:///{file}").close()
    content = bytearray(file.read_bytes())
    content[content.index(b"CREATE") + place] ^= 0x80
    file.write_bytes(content)
    with pytest.raises(LedgerError, match=r"cannot be opened .*the file is a ledger"):
        Ledger.open(f"sqlite:///{file}")


@pytest.mark.parametrize("words", ["database or disk is full", "disk I/O error"])
def test_a_ledger_whose_disk_is_full_is_not_told_to_be_something_else(
    tmp_path: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(url: str) -> None:
        raise sa.exc.OperationalError("BEGIN IMMEDIATE", {}, sqlite3.OperationalError(words))

    monkeypatch.setattr("pipeline.optimizations.ledger.open_engine", refuse)
    with pytest.raises(LedgerError, match=r"cannot be opened\. The disk of DRIPTUNE_DATA_DIR is full.*Free space"):
        Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")


def test_a_database_whose_driver_is_not_installed_is_told_in_words() -> None:
    with pytest.raises(LedgerError, match=r"needs the Python package 'MySQLdb', which is not installed"):
        Ledger.open("mysql://nobody@127.0.0.1:1/ledger")
