"""A publication becomes records: by the sensor on an ephemeral instance, and decided at the command line."""

import json
from dataclasses import asdict
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from pipeline.cli.main import main
from pipeline.optimizations.ledger import open_ledger
from pipeline.orchestration.sensors import propose
from pipeline.published.manifest import Manifest, PublishedTable
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import Settings
from tests.worlds.published import a_conflict, account

EVALUATIONS = 50


def publish(settings: Settings, version: str, **tables: object) -> None:
    folder = settings.published_dir / "parquet"
    folder.mkdir(parents=True, exist_ok=True)
    published = {**account([("welcome", "Welcome")], conflict="allow"), **tables}
    published.pop("manifest")
    for name, rows in published.items():
        rows.write_parquet(folder / f"{name}.parquet")
    listed = tuple(PublishedTable(name, rows.height, "") for name, rows in published.items())
    manifest = Manifest("run", "2026-06-29", version, listed)
    (settings.published_dir / "manifest.json").write_text(json.dumps(asdict(manifest)))


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DRIPTUNE_DATA_DIR", str(tmp_path))
    found = Settings(_env_file=None)
    publish(found, "v1")
    return found


def driptune(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def test_fifty_looks_make_one_record_and_a_new_publication_its_own(settings: Settings) -> None:
    sensor = propose(settings)
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance)
        for _ in range(EVALUATIONS):
            sensor.evaluate_tick(context)
        with open_ledger(settings) as ledger:
            assert [record.proposal.kind for record in ledger.records()] == ["delay"]
        publish(settings, "v2", **a_conflict())
        sensor.evaluate_tick(context)
    with open_ledger(settings) as ledger:
        assert sorted(record.proposal.kind for record in ledger.records()) == ["coordination", "delay"]


def test_a_proposal_is_shown_approved_and_made_by_hand(settings: Settings) -> None:
    propose(settings).evaluate_tick(dg.build_sensor_context())
    with open_ledger(settings) as ledger:
        [record] = ledger.records()
    subject = record.optimization_id
    assert subject in driptune("pending").output
    shown = driptune("show", subject).output
    assert "wait 48 h instead of 72 h" in shown
    assert "+30% (+20% to +40%)" in shown
    assert "0 of 1; lapses" in shown
    refused = driptune("approve", subject, "--as", "nobody")
    assert (refused.exit_code, "not among the approvers" in refused.output) == (1, True)
    stale = driptune("approve", subject, "--as", "mara", "--evidence", "0000")
    assert (stale.exit_code, "has changed since you saw it" in stale.output) == (1, True)
    assert driptune("approve", subject, "--as", "mara", "--revision", "1").exit_code == 0
    early = driptune("done", subject, "--as", "mara")
    assert (early.exit_code, "Those kept out are not marked yet" in early.output) == (1, True)
    assert driptune("pending").output.strip() == "Nothing waits for a decision."


def test_a_change_without_a_hold_out_is_marked_as_done_at_once(settings: Settings) -> None:
    publish(settings, "v2", **a_conflict())
    propose(settings).evaluate_tick(dg.build_sensor_context())
    with open_ledger(settings) as ledger:
        [subject] = [one.optimization_id for one in ledger.records() if one.proposal.kind == "coordination"]
    assert driptune("approve", subject, "--as", "mara").exit_code == 0
    assert driptune("done", subject, "--as", "mara").exit_code == 0
    with open_ledger(settings) as ledger:
        assert ledger.record(subject).status is Status.APPLIED


def test_a_rejection_takes_a_reason(settings: Settings) -> None:
    propose(settings).evaluate_tick(dg.build_sensor_context())
    with open_ledger(settings) as ledger:
        [record] = ledger.records()
    assert driptune("reject", record.optimization_id, "--as", "mara").exit_code == 2
    assert driptune("reject", record.optimization_id, "--as", "mara", "--reason", "Not in summer.").exit_code == 0
    assert "rejected by mara: Not in summer." in driptune("show", record.optimization_id).output


def test_the_morning_is_posted_once_a_publication(settings: Settings, webhook: tuple[str, list[dict]]) -> None:
    url, told = webhook
    posting = settings.model_copy(update={"digest_webhook": SecretStr(url)})
    with dg.instance_for_test() as instance:
        context = dg.build_sensor_context(instance=instance)
        for _ in range(3):
            propose(posting).evaluate_tick(context)
    [message] = told
    assert message["text"].splitlines()[-1] == "decisions   1 proposal waits: driptune pending"
    assert len(message["text"].splitlines()) <= 11
    assert (
        driptune("digest").output.strip().splitlines()[-1].strip() == "decisions   1 proposal waits: driptune pending"
    )


def test_a_mail_server_that_is_down_costs_no_proposal(settings: Settings) -> None:
    given = {"mail_host": "127.0.0.1", "mail_port": 9, "mail_from": "a@example.com", "mail_to": "b@example.com"}
    result = propose(settings.model_copy(update=given)).evaluate_tick(dg.build_sensor_context())
    assert result.skip_message == "1 new proposals, 0 lapsed, 0 verified."
