"""A publication becomes records: by the sensor on an ephemeral instance, and decided at the command line."""

from pathlib import Path

import dagster as dg
import duckdb
import polars as pl
import pytest
from click.testing import CliRunner, Result
from pydantic import SecretStr

from pipeline.cli.main import main
from pipeline.common.lock import exclusive
from pipeline.optimizations.ledger import open_ledger
from pipeline.optimizations.published import optimization_events, optimizations
from pipeline.orchestration.sensors import propose
from pipeline.published import snapshot
from pipeline.published.manifest import Manifest
from pipeline.published.reader import published_table
from pipeline.schemas.base import empty, identity, tables_of
from pipeline.schemas.loop import OptimizationEvents, Optimizations
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import SAMPLE_TONIGHT, Settings
from tests.worlds.published import a_conflict, account, row

EVALUATIONS = 50


def publish(settings: Settings, run: str, **tables: pl.DataFrame) -> None:
    published = {identity(model).name: empty(model) for model in tables_of("marts")}
    published |= {**account([("welcome", "Welcome")], conflict="allow"), **tables}
    published.pop("manifest")
    with duckdb.connect() as connection:
        connection.execute("CREATE SCHEMA marts")
        for name, rows in published.items():
            connection.register("rows", rows)
            connection.execute(f"CREATE TABLE marts.{name} AS FROM rows")
            connection.unregister("rows")
        manifest = Manifest.of(connection, run, SAMPLE_TONIGHT)
        assert snapshot.publish(connection, settings.published_dir, manifest, keep=1)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("DRIPTUNE_DATA_DIR", str(tmp_path))
    found = Settings(_env_file=None)
    publish(found, "first run")
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
        publish(settings, "second run", **a_conflict())
        sensor.evaluate_tick(context)
    with open_ledger(settings) as ledger:
        assert sorted(record.proposal.kind for record in ledger.records()) == ["coordination", "delay"]


def test_the_first_publication_holds_what_it_led_to(settings: Settings) -> None:
    before = Manifest.read(settings.published_dir)
    propose(settings).evaluate_tick(dg.build_sensor_context())
    after = Manifest.read(settings.published_dir)
    with open_ledger(settings) as ledger:
        records, events = ledger.records(), ledger.events()
    assert before is not None
    assert after is not None
    assert published_table(settings.published_dir, Optimizations).equals(optimizations(records))
    assert published_table(settings.published_dir, OptimizationEvents).equals(optimization_events(events))
    assert len(records) == 1
    assert snapshot.is_sound(settings.published_dir, after)
    # A proposal names the data that it rests on, and these are the same.
    assert after.data_version == before.data_version


def test_nothing_is_proposed_from_a_table_of_an_earlier_night(settings: Settings) -> None:
    failed = row("analysis_failures", table_name="delay_recommendations", error="ValueError")
    publish(settings, "second run", analysis_failures=failed)
    propose(settings).evaluate_tick(dg.build_sensor_context())
    with open_ledger(settings) as ledger:
        assert ledger.records() == []


def test_while_a_night_is_at_work_its_own_publication_is_waited_for(settings: Settings) -> None:
    before = Manifest.read(settings.published_dir)
    with exclusive(settings.working_file.with_suffix(".lock"), wait_seconds=0):
        propose(settings).evaluate_tick(dg.build_sensor_context())
    assert Manifest.read(settings.published_dir) == before
    with open_ledger(settings) as ledger:
        assert len(ledger.records()) == 1


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
    publish(settings, "second run", **a_conflict())
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
