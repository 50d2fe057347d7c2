"""`driptune release` over HTTP: nobody is let in twice, whatever fails, and everything else is told."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from pipeline.analysis.experiments.holdouts import Holdout, kept_out
from pipeline.cli.main import main
from pipeline.common.sticky_hash import is_held_out
from pipeline.lake.store import Lake
from pipeline.operations import applying, releasing
from pipeline.optimizations import review
from pipeline.optimizations.account import releasing as ticks
from pipeline.optimizations.account.released import released
from pipeline.optimizations.account.releasing import SIDE_BY_SIDE
from pipeline.optimizations.ledger import open_ledger
from pipeline.optimizations.proposals.evidence import Publication
from pipeline.optimizations.proposals.releases import release_proposals
from pipeline.optimizations.published import optimizations
from pipeline.optimizations.record import Proposal
from pipeline.optimizations.review import Seen
from pipeline.published.manifest import Manifest, PublishedTable
from pipeline.schemas.base import empty
from pipeline.schemas.core import CoreMessages, CoreSteps
from pipeline.schemas.vocabulary import ApplyKind
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import Settings
from tests.mailchimp.fake_account import API_KEY, member_id, subscriber
from tests.mailchimp.loopback import send, serve
from tests.mailchimp.writable_account import WritableAccount
from tests.optimizations.conftest import NOW, POLICY
from tests.optimizations.conftest import proposal as written
from tests.worlds.holdouts import holdouts
from tests.worlds.published import nothing
from tests.worlds.releases import FLOW, MORNING, TONIGHT, TRIGGER, WAIT_FIELD, entry, night
from tests.worlds.writing import PowerCut, cut_at

PEOPLE = 2 * SIDE_BY_SIDE + 4
APPROVALS = "approvers: [{id: noor, highest_risk: high}, {id: lia, highest_risk: high}]\n"
Tables = Mapping[str, pl.DataFrame]


class Place:
    """An installation in which a flow is released, the account, and the time."""

    def __init__(self, settings: Settings, account: WritableAccount, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings = settings
        self.account = account
        self.now = MORNING
        self.monkeypatch = monkeypatch
        self.told: list[str] = []
        monkeypatch.setattr(releasing, "account_clock", lambda settings, as_of: lambda: self.now)
        self.keys = [subscriber(number) for number in range(PEOPLE)]
        remember(settings, self.keys)

    def publish(self, tables: Tables) -> None:
        folder = self.settings.published_dir / "parquet"
        folder.mkdir(parents=True, exist_ok=True)
        for name, table in tables.items():
            table.write_parquet(folder / f"{name}.parquet")
        listed = tuple(PublishedTable(name, table.height, "") for name, table in tables.items())
        manifest = Manifest("run", TONIGHT.isoformat(), "v1", listed)
        (self.settings.published_dir / "manifest.json").write_text(json.dumps(asdict(manifest)))

    def put_in_effect(self, tables: Tables) -> str:
        """Publish, and bring the record that is proposed then into effect; its id."""
        self.publish(tables)
        return self.take(proposed(tables))

    def take(self, made: Proposal) -> str:
        """Bring a record into effect; its id."""
        self.monkeypatch.setattr(applying, "standing_proposals", lambda settings: ([made], []))
        with open_ledger(self.settings) as ledger:
            ledger.propose([made], now=NOW, approval_policy=POLICY)
            for name in ("noor", "lia"):
                seen = Seen.of(ledger.record(made.optimization_id))
                review.approve(ledger, POLICY, seen, actor=name, now=NOW)
            applying.apply_due(self.settings, ledger, now=NOW, tell=self.told.append)
            assert ledger.record(made.optimization_id).status is Status.APPLIED
        self.told.clear()
        return made.optimization_id

    def write_waits(self) -> None:
        """Write the published waits, as the start of a test of waits does, at this machine's time."""
        after = {"field": WAIT_FIELD, "source": "member_field_values", "column": "value"}
        made = written(kind=Kind.EXPERIMENT_START, target="waits", apply_kind=ApplyKind.MEMBER_FIELDS, after=after)
        self.monkeypatch.setattr(applying, "standing_proposals", lambda settings: ([made], []))
        with open_ledger(self.settings) as ledger:
            ledger.propose([made], now=NOW, approval_policy=POLICY)
            seen = Seen.of(ledger.record(made.optimization_id))
            review.approve(ledger, POLICY, seen, actor="noor", now=NOW)
            applying.apply_due(self.settings, ledger, now=NOW, tell=self.told.append)
            assert ledger.record(made.optimization_id).status is Status.APPLIED

    def release(self) -> str:
        """One look; what it told last."""
        with open_ledger(self.settings) as ledger:
            releasing.release_due(self.settings, ledger, self.told.append)
            assert ledger.verify() == []
        return self.told[-1]

    def let_in(self) -> list[int]:
        return sorted(self.account.let_in)


def proposed(tables: Tables) -> Proposal:
    [made] = release_proposals(Publication({**nothing(), **tables}, "v1", "1"))
    return made


def remember(settings: Settings, keys: list[int]) -> None:
    settings.definitions.mkdir(parents=True)
    (settings.definitions / "approvals.yaml").write_text(APPROVALS)
    addresses = {
        "subscriber_key": keys,
        "member_id": [member_id(number) for number in range(PEOPLE)],
        "email_address": [f"person-{number}@example.com" for number in range(PEOPLE)],
        "external_id": [None] * PEOPLE,
    }
    Lake(settings.lake_dir).remember_addresses(pl.DataFrame(addresses, schema_overrides={"external_id": pl.String}))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    account = WritableAccount(PEOPLE)
    with serve(account.answer) as url:
        monkeypatch.setenv("DRIPTUNE_DATA_DIR", str(tmp_path))
        monkeypatch.setenv("DRIPTUNE_MAILCHIMP_URL", url)
        monkeypatch.setenv("DRIPTUNE_RETRY_BUDGET_SECONDS", "3")
        monkeypatch.setenv("MAILCHIMP_API_KEY", API_KEY)
        yield Place(Settings(_env_file=None), account, monkeypatch)  # type: ignore[call-arg]


def waiting(place: Place, **terms: Any) -> dict[str, pl.DataFrame]:
    """Everybody came this evening, and nobody has a best hour."""
    return night([entry(key, 5) for key in place.keys], **terms)


@pytest.mark.parametrize("start", [TRIGGER, {"event": "driptune_release"}, {"tag": "go"}])
def test_everybody_due_is_let_in_once_by_each_start(place: Place, start: dict[str, Any]) -> None:
    name = place.put_in_effect(waiting(place, start=start))
    assert place.account.writes == []
    assert place.release() == f"{name}: {PEOPLE} released"
    assert place.release() == f"{name}: nobody is due"
    assert place.let_in() == list(range(PEOPLE))


def test_nobody_is_let_in_whom_a_hold_out_keeps_out_and_they_are_told(place: Place) -> None:
    one = Holdout("no welcome", FLOW, 0.3, TONIGHT)
    tables = waiting(place, held_out=[one])
    out = kept_out(pl.DataFrame({"subscriber_key": place.keys, "workflow_id": FLOW}), holdouts(one, flow=FLOW))
    others = [number for number in range(PEOPLE) if not out[number]]
    assert 0 < len(others) < PEOPLE
    assert tables["release_starts"].select("planned", "held_back").row(0) == (len(others), PEOPLE - len(others))
    name = place.put_in_effect(tables)
    assert place.release() == f"{name}: {len(others)} released"
    assert place.let_in() == others
    with open_ledger(place.settings) as ledger:
        counted = released(
            ledger.records(), ledger.journal.noted, tables["release_plan"], empty(CoreMessages).lazy(), empty(CoreSteps)
        )
    told = dict(counted.group_by("outcome").agg(pl.col("subscribers").sum()).iter_rows())
    assert told == {"released": len(others), "kept out": PEOPLE - len(others)}


def test_who_is_late_is_let_in_only_by_another_approval_and_by_no_burst(place: Place) -> None:
    late = place.keys[:8]
    tables = night([*(entry(key, 60) for key in late), *(entry(key, 5) for key in place.keys[8:])])
    name = place.put_in_effect(tables)
    assert place.release() == f"{name}: {PEOPLE - 8} released"
    with open_ledger(place.settings) as ledger:
        standing = {"optimizations": optimizations(ledger.records())}
    made = list(release_proposals(Publication({**nothing(), **tables, **standing}, "v1", "1")))
    assert [one.target for one in made] == [FLOW, f"{FLOW}/late"]
    place.take(made[1])
    place.now = MORNING + timedelta(hours=12)
    place.release()
    assert len(place.account.let_in) < PEOPLE
    place.now = MORNING + timedelta(hours=24)
    place.release()
    assert place.let_in() == list(range(PEOPLE))
    with open_ledger(place.settings) as ledger:
        counted = released(
            ledger.records(), ledger.journal.noted, tables["release_plan"], empty(CoreMessages).lazy(), empty(CoreSteps)
        )
    by_record = dict(counted.group_by("optimization_id").agg(pl.col("subscribers").sum()).iter_rows())
    assert by_record == {name: PEOPLE - 8, made[1].optimization_id: 8}


def test_late_people_are_let_in_no_more_once_the_flow_is_not_released(place: Place) -> None:
    tables = night([entry(key, 60) for key in place.keys])
    name = place.put_in_effect(tables)
    with open_ledger(place.settings) as ledger:
        standing = {"optimizations": optimizations(ledger.records())}
    [_, late] = release_proposals(Publication({**nothing(), **tables, **standing}, "v1", "1"))
    place.take(late)
    assert CliRunner().invoke(main, ["rollback", name, "--as", "noor", "--reason", "No."]).exit_code == 0
    place.now = MORNING + timedelta(hours=24)
    assert place.release() == releasing.NOTHING
    assert place.let_in() == []


def test_nobody_is_let_in_before_the_record_is_approved_or_after_it_was_rolled_back(place: Place) -> None:
    tables = waiting(place)
    place.publish(tables)
    assert place.release() == releasing.NOTHING
    name = place.put_in_effect(tables)
    rolled = CliRunner().invoke(main, ["rollback", name, "--as", "noor", "--reason", "No."])
    assert rolled.exit_code == 0, rolled.output
    assert place.release() == releasing.NOTHING
    assert place.let_in() == []


def test_those_held_out_are_let_in_at_the_old_planned_time_and_at_no_other(place: Place) -> None:
    """Everybody else has nine as the best hour. The old planned time of all is midnight."""
    name = place.put_in_effect(waiting(place, best=dict.fromkeys(place.keys, 9)))
    out = is_held_out(pl.Series(place.keys), name, 0.1)
    held_out = [number for number in range(PEOPLE) if out[number]]
    assert held_out
    place.release()
    assert place.let_in() == held_out
    place.now = MORNING + timedelta(hours=9)
    place.release()
    assert place.let_in() == list(range(PEOPLE))


@pytest.mark.parametrize("at", ["intended", "called", "settled"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_kill_anywhere_lets_nobody_in_twice_and_leaves_nobody_uncounted(place: Place, at: str, times: int) -> None:
    name = place.put_in_effect(waiting(place))
    real: Callable[..., Any] = ticks.release
    place.monkeypatch.setattr(
        releasing, "release", lambda *given, **more: real(*given, **more, checkpoint=cut_at(at, times))
    )
    with pytest.raises(PowerCut):
        place.release()
    place.monkeypatch.setattr(releasing, "release", real)
    place.release()
    assert len(place.account.let_in) == len(set(place.account.let_in))
    with open_ledger(place.settings) as ledger:
        outcomes = ledger.journal.outcomes(name)
    assert sum(outcomes.values()) == PEOPLE
    # Of those killed after their line and before their call nobody came in. They stay unknown.
    assert outcomes["unknown"] == (0 if at == "settled" else SIDE_BY_SIDE)
    assert len(place.account.let_in) == PEOPLE - (SIDE_BY_SIDE if at == "intended" else 0)
    place.release()
    assert len(place.account.let_in) == len(set(place.account.let_in))


def test_whose_wait_was_written_after_the_plan_is_let_in_by_no_older_plan(place: Place) -> None:
    waits = pl.DataFrame({"subscriber_key": place.keys[:5], "value": "72"})
    name = place.put_in_effect({**waiting(place), "member_field_values": waits, "holdouts": holdouts()})
    place.write_waits()
    assert place.release() == f"{name}: {PEOPLE - 5} released"
    assert place.let_in() == list(range(5, PEOPLE))


def test_a_stop_file_lets_nobody_in_until_go(place: Place) -> None:
    name = place.put_in_effect(waiting(place))
    assert CliRunner().invoke(main, ["release", "--stop"]).exit_code == 0
    assert place.release().startswith(f"{name}: {PEOPLE} waiting. Releases are stopped.")
    assert CliRunner().invoke(main, ["release", "--go"]).exit_code == 0
    assert place.release() == f"{name}: {PEOPLE} released"


def test_a_stop_during_a_look_ends_it_with_the_batch(place: Place) -> None:
    name = place.put_in_effect(waiting(place))

    def stop_at_first_call(method: str, path: str, query: dict[str, str]) -> None:
        if method == "POST":
            releasing.stop(place.settings)

    place.account.choose = stop_at_first_call
    assert place.release().startswith(f"{name}: {SIDE_BY_SIDE} released, {PEOPLE - SIDE_BY_SIDE} waiting.")
    assert len(place.account.let_in) == SIDE_BY_SIDE


def test_the_cap_of_an_hour_holds_over_several_looks_and_a_lower_one_of_today_counts(place: Place) -> None:
    name = place.put_in_effect(waiting(place))
    (place.settings.definitions / "constraints.yaml").write_text("hourly_cap: 6\n")
    assert place.release().startswith(f"{name}: 6 released, {PEOPLE - 6} waiting.")
    place.now += timedelta(minutes=10)
    assert place.release().startswith(f"{name}: {PEOPLE - 6} waiting. The cap of an hour or the total lets in 0 now.")
    place.now += timedelta(minutes=51)
    place.release()
    assert len(place.account.let_in) == 12


def test_the_total_of_the_approval_is_never_exceeded(place: Place) -> None:
    place.put_in_effect(waiting(place, most=7))
    for _ in range(3):
        place.release()
        place.now += timedelta(hours=2)
    assert len(place.account.let_in) == 7


def test_one_who_is_refused_or_has_left_keeps_no_other_from_it_and_is_not_tried_again(place: Place) -> None:
    name = place.put_in_effect(waiting(place, start={"event": "driptune_release"}))
    place.account.members[3]["status"] = "unsubscribed"
    place.account.choose = lambda method, path, query: refusal if method == "POST" and member_id(5) in path else None
    assert place.release() == f"{name}: 2 refused, {PEOPLE - 2} released"
    place.account.choose = lambda method, path, query: None
    assert place.release() == f"{name}: nobody is due"
    assert 3 not in place.account.let_in


def refusal(handler: Any, right: dict[str, Any]) -> None:
    send(handler, 400, json.dumps({"status": 400, "title": "Invalid Resource", "detail": "No."}).encode())


def no_such_step(handler: Any, right: dict[str, Any]) -> None:
    send(handler, 404, json.dumps({"status": 404, "title": "Not Found", "detail": "No step."}).encode())


def failure(handler: Any, right: dict[str, Any]) -> None:
    send(handler, 500, b"{}")


def test_a_step_that_is_not_there_ends_the_look_and_everybody_still_waits(place: Place) -> None:
    name = place.put_in_effect(waiting(place))
    place.account.choose = lambda method, path, query: no_such_step if method == "POST" else None
    told = place.release()
    assert told.startswith(f"{name}: {PEOPLE} waiting. Mailchimp failed, so nobody else was tried.")
    assert "/steps/{step_id}/actions/trigger" in told
    assert len(place.account.writes) == SIDE_BY_SIDE
    place.account.choose = lambda method, path, query: None
    place.account.let_in.clear()
    assert place.release() == f"{name}: {PEOPLE} released"


def test_an_answer_that_was_lost_is_unknown_and_never_repeated(place: Place) -> None:
    """The account lets everybody in and answers 500, so nobody knows."""
    name = place.put_in_effect(waiting(place))
    place.account.choose = lambda method, path, query: failure if method == "POST" else None
    told = place.release()
    assert told.startswith(f"{name}: {SIDE_BY_SIDE} unknown, {PEOPLE - SIDE_BY_SIDE} waiting. Mailchimp failed")
    place.account.choose = lambda method, path, query: None
    assert place.release() == f"{name}: {PEOPLE - SIDE_BY_SIDE} released"
    assert place.let_in() == list(range(PEOPLE))


def test_an_account_that_cannot_be_read_lets_nobody_in_and_everybody_waits(place: Place) -> None:
    name = place.put_in_effect(waiting(place))
    place.account.choose = lambda method, path, query: failure if "/members/" in path else None
    assert place.release().startswith(f"{name}: {PEOPLE} waiting. Mailchimp failed")
    place.account.choose = lambda method, path, query: None
    assert place.release() == f"{name}: {PEOPLE} released"


def test_who_is_too_late_is_told_and_not_let_in_by_a_burst(place: Place) -> None:
    name = place.put_in_effect(waiting(place))
    place.now += timedelta(hours=37)
    assert place.release() == f"{name}: {PEOPLE} late"
    assert place.account.writes == []


def test_while_somebody_else_writes_to_the_account_nobody_is_let_in(place: Place) -> None:
    name = place.put_in_effect(waiting(place))
    place.monkeypatch.setattr(ticks, "BUSY_SECONDS", 0.1)
    with open_ledger(place.settings) as other, other.one_writer():
        assert place.release().startswith(f"{name}: nobody was let in.")
    assert place.account.writes == []
    assert place.release() == f"{name}: {PEOPLE} released"


def test_a_flow_whose_start_was_changed_since_is_not_released(place: Place) -> None:
    place.put_in_effect(waiting(place))
    place.publish(waiting(place, start={"tag": "other"}))
    assert "not released by this start any more" in place.release()
    assert place.account.writes == []


def test_a_later_record_for_the_flow_lets_nobody_in_again(place: Place) -> None:
    place.put_in_effect(waiting(place, most=7))
    place.release()
    name = place.put_in_effect(waiting(place, most=100))
    assert place.release() == f"{name}: {PEOPLE - 7} released"
    assert place.let_in() == list(range(PEOPLE))


def test_a_dry_run_tells_the_next_hours_and_lets_nobody_in(place: Place) -> None:
    """All wait for midnight, nine of ten for nine o'clock."""
    name = place.put_in_effect(waiting(place, best=dict.fromkeys(place.keys, 9)))
    out = int(is_held_out(pl.Series(place.keys), name, 0.1).sum())
    with open_ledger(place.settings) as ledger:
        releasing.expected_releases(place.settings, ledger, place.told.append)
    assert place.told == [
        f"{name}: {PEOPLE} people within 24 hours",
        f"  2026-06-30 00:00 UTC  {out}",
        f"  2026-06-30 09:00 UTC  {PEOPLE - out}",
    ]
    assert place.account.writes == []
