"""Names that match nothing are told with the nearest known one: of events in the morning, of all by the doctor."""

import gzip
import json
from dataclasses import asdict
from datetime import date
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner

from pipeline.cli.main import main
from pipeline.events.reading import ingest_events
from pipeline.lake.keys import load_keys
from pipeline.lake.store import Lake
from pipeline.operations.after_publication import digest_lines
from pipeline.operations.unknown_names import NIGHTS, STRANGER, definition_findings, event_findings
from pipeline.optimizations.ledger import open_ledger
from pipeline.published.manifest import Manifest, PublishedTable
from pipeline.published.reader import read_publication
from pipeline.schemas.base import polars_schema
from pipeline.schemas.lake import Members
from pipeline.settings import Settings
from tests.worlds.published import TONIGHT, account

PEOPLE = 20


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The sample's settings, with the flow `welcome` (hello, tips, offer) published and twenty members in the lake."""
    monkeypatch.setenv("DRIPTUNE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("DRIPTUNE_DEFINITIONS", str(tmp_path / "definitions"))
    found = Settings(_env_file=None)
    (tmp_path / "definitions").mkdir()
    published = account([("welcome", "Welcome")])
    published.pop("manifest")
    folder = found.published_dir / "parquet"
    folder.mkdir(parents=True)
    for name, rows in published.items():
        rows.write_parquet(folder / f"{name}.parquet")
    listed = tuple(PublishedTable(name, rows.height, "") for name, rows in published.items())
    manifest = Manifest("run", TONIGHT.isoformat(), "v1", listed)
    (found.published_dir / "manifest.json").write_text(json.dumps(asdict(manifest)))
    keys = load_keys(found)
    rows = [
        {"audience_id": "a", "subscriber_key": keys.of_address(address(number)), "status": "subscribed",
         "merge_fields": '{"PLAN": "pro"}', "tags": "[]"}
        for number in range(PEOPLE)
    ]  # fmt: skip
    members = pl.DataFrame(rows, schema={**polars_schema(Members)}).drop("as_of_day")
    Lake(found.lake_dir).append(Members, members, TONIGHT)
    return found


def address(number: int) -> str:
    return f"person-{number}@example.com"


def arrive(settings: Settings, *events: dict[str, str], name: str = "a.ndjson", night: date = TONIGHT) -> None:
    folder = settings.data_dir / "events"
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("".join(json.dumps(one) + "\n" for one in events))
    ingest_events(str(folder), Lake(settings.lake_dir), load_keys(settings), settings, night)


def event(event_id: str, number: int = 0, **columns: str) -> dict[str, str]:
    known = {"event_id": event_id, "occurred_at": "2026-06-20T10:00:00Z", "event_type": "visit"}
    return {**known, "subscriber": address(number), **columns}


def morning(settings: Settings) -> list[str]:
    with open_ledger(settings) as ledger:
        return [line for line in digest_lines(settings, ledger) if line.startswith("  events")]


def doctor(settings: Settings, words: str) -> list[str]:
    tables = read_publication(settings.published_dir)
    findings = [*definition_findings(settings, tables), *event_findings(settings, tables)]
    # Who is no member may be a customer, and everything else is a mistake.
    assert all(is_good == (STRANGER in text) for is_good, text in findings)
    return [text for _, text in findings if words in text]


STRANGE = {
    "workflow": ({"event_type": "entry", "workflow_id": "Welcome"}, "the workflow 'Welcome' (nearest: 'welcome')"),
    "zero width": ({"event_type": "entry", "workflow_id": "welcome\u200b"}, r"'welcome\u200b' (nearest: 'welcome')"),
    "step": ({"event_type": "step_entered", "workflow_id": "welcome", "step_id": "tip s"},
             "the step 'tip s' (nearest: 'tips') of welcome"),
    "type": ({"event_type": "Purchase"}, "the type 'Purchase' (nearest: 'purchase')"),
    "address": ({"subscriber": "\u200bperson-1@example.com"}, "a subscriber that holds an invisible character"),
    "stranger": ({"subscriber": "nobody@example.com"}, "a subscriber who is no member"),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGE)
def test_events_that_name_what_is_unknown_are_counted_with_the_nearest_known_name(
    settings: Settings, kind: str
) -> None:
    columns, words = STRANGE[kind]
    good = [event(f"good {number}", number) for number in range(PEOPLE)]
    arrive(settings, *good, *(event(str(number), number, **columns) for number in range(PEOPLE)))
    [line] = morning(settings)
    assert line.startswith(f"  events      {PEOPLE} events name what is unknown: {PEOPLE} ")
    assert words in line
    [found] = doctor(settings, "events:")
    assert f"in {NIGHTS} nights {PEOPLE} events name " in found
    assert words in found
    assert "person-1" not in found + line


def test_all_kinds_together_are_counted_once_each(settings: Settings) -> None:
    events = [
        event(f"{kind} {number}", number, **columns)
        for kind, (columns, _) in STRANGE.items()
        for number in range(PEOPLE)
    ]
    arrive(settings, *events)
    [line] = morning(settings)
    assert line.startswith(f"  events      {len(events)} events name what is unknown: ")
    assert line.endswith("and more (driptune doctor)")
    assert len(doctor(settings, "events:")) == len(STRANGE)


def test_known_names_are_not_told(settings: Settings) -> None:
    arrive(
        settings,
        event("1", event_type="entry", workflow_id="welcome"),
        event("2", event_type="step_entered", workflow_id="welcome", step_id="tips"),
        event("3", event_type="purchase"),
        event("4", event_type="visit", workflow_id="promo"),
    )
    assert morning(settings) == []
    assert doctor(settings, "events:") == []


def test_a_file_that_cannot_be_read_is_told_until_it_can_be(settings: Settings) -> None:
    (settings.data_dir / "events").mkdir()
    broken = settings.data_dir / "events" / "b.ndjson.gz"
    broken.write_bytes(gzip.compress(json.dumps(event("2")).encode())[:-9])
    arrive(settings, event("1"))
    said = "b.ndjson.gz is a gzip file that is cut short: its packed data end too soon"
    assert morning(settings) == [f"  events      1 file could not be read: {said}"]
    assert len(doctor(settings, f"events: {said}")) == 1
    broken.write_bytes(gzip.compress(json.dumps(event("2")).encode()))
    arrive(settings, event("1"))
    assert morning(settings) == []


def test_what_was_read_long_ago_is_told_no_more(settings: Settings) -> None:
    long_ago = date.fromordinal(TONIGHT.toordinal() - NIGHTS)
    arrive(settings, event("1", occurred_at="2026-05-01T10:00:00Z", event_type="Purchase"), night=long_ago)
    assert morning(settings) == []


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("constraints.yaml", "workflows: [{id: Welcome, hourly_cap: 3}]", "no workflow 'Welcome' (nearest: 'welcome')"),
        ("mutes.yaml", "mutes: [{workflow: welcom, until: 2026-07-01, reason: x}]", "no workflow 'welcom' (nearest:"),
        ("mutes.yaml", "mutes: [{workflow: welcome, step: tip, until: 2026-07-01, reason: x}]",
         "no step 'tip' (nearest: 'tips')"),
        ("mutes.yaml", "mutes: [{step: Offer, until: 2026-07-01, reason: x}]", "no step 'Offer' (nearest: 'offer')"),
        ("mutes.yaml", "mutes: [{metric: conversion, until: 2026-07-01, reason: x}]",
         "no metric 'conversion' (nearest: 'conversion_rate')"),
        ("rules.yaml", "rules: [{id: r, when: {field: last_purchased_at, operator: notWithinLast, value: 30}}]",
         "r matches nobody, for it cannot be answered: no subscriber has the field 'last_purchased_at'; "
         "the nearest is 'last_purchase_at'"),
        ("rules.yaml", "rules: [{id: r, when: {field: merge.PLN, operator: notExists}}]", "nearest is 'merge.PLAN'"),
        ("rules.yaml", "rules: [{id: r, when: {field: in_workflow.Welcome, operator: equals, value: true}}]",
         "the nearest is 'in_workflow.welcome'"),
    ],
)  # fmt: skip
def test_names_of_the_definitions_that_match_nothing_are_told_by_the_doctor(
    settings: Settings, file: str, text: str, words: str
) -> None:
    (settings.definitions / file).write_text(text)
    [line] = doctor(settings, f"{file}: ")
    assert words in line


def test_names_that_the_definitions_share_are_not_told(settings: Settings) -> None:
    """A flow of the map is known before a night has published it."""
    (settings.definitions / "flows.yaml").write_text("flows: [{id: new, steps: [{id: first, campaign: c}]}]")
    (settings.definitions / "constraints.yaml").write_text("workflows: [{id: new}, {id: welcome}]")
    mutes = "mutes: [{workflow: new, step: first, metric: sent, until: 2026-07-01, reason: x}]"
    (settings.definitions / "mutes.yaml").write_text(mutes)
    rule = "{any: [{field: merge.PLAN, operator: exists}, {field: in_workflow.new, operator: exists}]}"
    (settings.definitions / "rules.yaml").write_text(f"rules: [{{id: r, when: {rule}}}]")
    assert doctor(settings, ".yaml") == []


def test_the_command_tells_them_and_ends_with_code_1(settings: Settings) -> None:
    arrive(settings, event("1", event_type="Purchase"))
    result = CliRunner().invoke(main, ["doctor"])
    assert result.exit_code == 1
    assert "1 event names the type 'Purchase' (nearest: 'purchase')" in " ".join(result.output.split())
