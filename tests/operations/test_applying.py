"""`driptune apply` over HTTP: what is due is written, what cannot be keeps no other from it, and all of it is told."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.lake.keys import load_keys
from pipeline.lake.store import Lake
from pipeline.operations import applying
from pipeline.optimizations.account.rollback import roll_back
from pipeline.optimizations.account.writing import NotConfirmedError
from pipeline.optimizations.ledger import open_ledger
from pipeline.optimizations.record import ApplyKind, Kind, Proposal, Status
from pipeline.published.manifest import Manifest, PublishedTable
from pipeline.settings import Settings
from tests.mailchimp.fake_account import API_KEY, AUDIENCE, member_id
from tests.mailchimp.loopback import serve
from tests.mailchimp.writable_account import AUTOMATION, EMAIL, WORKFLOW, WritableAccount
from tests.optimizations.conftest import NOW, proposal
from tests.worlds.holdouts import holdouts
from tests.worlds.published import row
from tests.worlds.writing import PowerCut, approved, cut_at

PEOPLE = 6
APPROVALS = "approvers: [{id: mara, highest_risk: high}]\n"


def arm() -> Proposal:
    return proposal(
        kind=Kind.EXPERIMENT_WINNER,
        target="test",
        workflow_id=WORKFLOW,
        apply_kind=ApplyKind.MEMBER_FIELDS,
        after={"field": "ARM", "value": "B"},
        holdout_share=0.0,
    )


def started() -> Proposal:
    after = {"operation": "start", "workflow_id": WORKFLOW, "email_id": EMAIL}
    return proposal(kind=Kind.STUCK, target="flow", apply_kind=ApplyKind.API_PATCH, after=after)


class Place:
    """An installation with a publication, an account and a ledger."""

    def __init__(self, settings: Settings, account: WritableAccount) -> None:
        self.settings = settings
        self.account = account
        self.told: list[str] = []
        self.standing = [arm(), started()]

    def apply_due(self) -> None:
        with open_ledger(self.settings) as ledger:
            applying.apply_due(self.settings, ledger, now=NOW, tell=self.told.append)

    def status(self, made: Proposal) -> Status:
        with open_ledger(self.settings) as ledger:
            return ledger.record(made.optimization_id).status


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    account = WritableAccount(PEOPLE)
    with serve(account.answer) as url:
        monkeypatch.setenv("DRIPTUNE_DATA_DIR", str(tmp_path))
        monkeypatch.setenv("DRIPTUNE_MAILCHIMP_URL", url)
        monkeypatch.setenv("MAILCHIMP_API_KEY", API_KEY)
        settings = Settings(_env_file=None)  # type: ignore[call-arg]
        made = Place(settings, account)
        _publish(settings)
        monkeypatch.setattr(applying, "standing_proposals", lambda settings: (made.standing, []))
        with open_ledger(settings) as ledger:
            for one in made.standing:
                approved(ledger, one)
        yield made


def _publish(settings: Settings) -> None:
    (settings.published_dir / "parquet").mkdir(parents=True)
    flow = row("journeys", workflow_id=WORKFLOW, audience_id=AUDIENCE, is_current=True)
    tables = {"holdouts": holdouts(), "journeys": flow}
    for name, table in tables.items():
        table.write_parquet(settings.published_dir / "parquet" / f"{name}.parquet")
    listed = tuple(PublishedTable(name, table.height, "") for name, table in tables.items())
    manifest = Manifest("run", "2026-06-29", "v1", listed)
    (settings.published_dir / "manifest.json").write_text(json.dumps(asdict(manifest)))
    settings.definitions.mkdir(parents=True)
    (settings.definitions / "approvals.yaml").write_text(APPROVALS)
    keys, ids = load_keys(settings), [member_id(number) for number in range(PEOPLE)]
    addresses = {"subscriber_key": [keys.of_member_id(one) for one in ids], "member_id": ids}
    addresses |= {"email_address": [f"person-{number}@example.com" for number in range(PEOPLE)]}
    frame = pl.DataFrame({**addresses, "external_id": [None] * PEOPLE}, schema_overrides={"external_id": pl.String})
    Lake(settings.lake_dir).remember_addresses(frame)


def test_everything_due_is_applied_then_kept_in_step_and_told(place: Place) -> None:
    place.apply_due()
    assert place.account.values("ARM") == dict.fromkeys(range(PEOPLE), "B")
    stands: Any = place.account.found[AUTOMATION]
    assert stands["status"] == "sending"
    assert sorted(place.told) == sorted(
        [f"{arm().optimization_id}: applied; 6 written", f"{started().optimization_id}: applied; 1 written"]
    )
    place.account.set(0, "ARM", "mine")
    place.told.clear()
    place.apply_due()
    assert place.told == [
        f"{arm().optimization_id}: 0 kept in step; 1 left, because somebody has set another value since"
    ]


def test_members_of_several_audiences_get_their_value_in_that_of_the_flow(place: Place) -> None:
    place.account.add_audience("another", *place.account.members)
    place.apply_due()
    assert place.account.values("ARM") == dict.fromkeys(range(PEOPLE), "B")
    assert not any("/another/members/" in path for path in place.account.writes)


def test_one_that_is_not_confirmed_keeps_no_other_from_it_and_is_not_passed_over(place: Place) -> None:
    place.account.found[AUTOMATION] |= {"status": "paused"}  # type: ignore[operator]
    place.account.is_deaf = True
    place.standing = [started(), arm()]
    with pytest.raises(NotConfirmedError):
        place.apply_due()
    assert len(place.told) == len(place.standing)
    assert {place.status(arm()), place.status(started())} == {Status.APPLYING}
    place.account.is_deaf = False
    place.apply_due()
    assert {place.status(arm()), place.status(started())} == {Status.APPLIED}


def test_todays_approvals_file_is_held_against_what_was_approved(place: Place) -> None:
    (place.settings.definitions / "approvals.yaml").write_text(APPROVALS + "four_eyes_from: low\n")
    place.apply_due()
    assert {place.status(arm()), place.status(started())} == {Status.PENDING}
    assert all("takes 2 approvals" in line for line in place.told)
    assert place.account.writes == []


def test_a_rollback_that_was_cut_short_is_finished_by_the_next_run(place: Place) -> None:
    place.apply_due()
    terms = {"actor": "mara", "reason": "No.", "first_day": NOW.date(), "now": NOW, "checkpoint": cut_at("intended")}
    with open_ledger(place.settings) as ledger, applying.reach(place.settings) as world, pytest.raises(PowerCut):
        roll_back(ledger, arm().optimization_id, world.account, **terms)
    assert place.status(arm()) is Status.ROLLING_BACK
    place.told.clear()
    place.apply_due()
    assert (place.status(arm()), place.account.values("ARM")) == (Status.ROLLED_BACK, {})
    assert place.told == [f"{arm().optimization_id}: rolled back; 6 written"]


def test_the_command_says_what_was_put_back_and_what_was_left(place: Place) -> None:
    place.apply_due()
    place.account.set(3, "ARM", "mine")
    told = CliRunner().invoke(main, ["rollback", arm().optimization_id, "--as", "mara", "--reason", "No."])
    assert told.exit_code == 0
    assert told.output.strip().endswith("rolled back; 5 written; 1 left, because somebody has set another value since")
    assert place.account.values("ARM") == {3: "mine"}
    shown = " ".join(CliRunner().invoke(main, ["show", arm().optimization_id]).output.split())
    assert "5 put back; 1 left, because somebody has set another value since." in shown
    assert "writes intended" not in shown


def test_a_dry_run_tells_what_is_left(place: Place) -> None:
    place.apply_due()
    place.account.set(3, "ARM", "mine")
    with open_ledger(place.settings) as ledger:
        [told, *_] = applying.dry_run(place.settings, ledger, arm().optimization_id).lines()
    assert told == "0 to write, 5 hold the value already, 0 held out, 1 left as somebody has set them since"
