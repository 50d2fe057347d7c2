"""The morning in lines: what applied changes brought is told with its lift, harm first."""

from html import unescape
from pathlib import Path

import polars as pl

from pipeline.reports.digest import summary
from pipeline.reports.pages.site import write_pages
from tests.worlds.published import TONIGHT, Tables, account, row

TITLES = {"a": "Welcome: wait 48 h", "b": "Welcome: send arm B", "c": "Welcome: wait 24 h"}


def changes(*nights: dict[str, object]) -> list[str]:
    night = {"metric": "conversion", "role": "primary", "is_latest": True, "is_significant": True, "promised_lift": 0.3}
    rows = [row("realised_lift", **{**night, **given}) for given in nights]
    tables: Tables = {**account([("welcome", "Welcome")]), **({"realised_lift": pl.concat(rows)} if rows else {})}
    records = [row("optimizations", optimization_id=id_, title=title) for id_, title in TITLES.items()]
    tables["optimizations"] = pl.concat(records)
    return [line for line in summary(tables, waiting=0) if line.startswith("  changes")]


WORKS = {"optimization_id": "a", "outcome": "works", "realised_lift": 0.4, "realised_lift_low": 0.2,
         "realised_lift_high": 0.6}  # fmt: skip
HARM = {"optimization_id": "b", "outcome": "harm", "realised_lift": -0.2, "realised_lift_low": -0.3,
        "realised_lift_high": -0.1}  # fmt: skip
OPEN = {"optimization_id": "c", "outcome": "measuring", "is_significant": False}


def test_what_works_is_told_with_its_promise() -> None:
    [line] = changes(WORKS, OPEN)
    assert (
        line == "  changes     1 measuring, 1 works; Welcome: wait 48 h: conversion +40% (+20% to +60%), promised +30%"
    )


def test_harm_is_told_before_what_works() -> None:
    [line] = changes(WORKS, HARM)
    assert line.endswith("Welcome: send arm B: conversion -20% (-30% to -10%), promised +30%")


def test_before_anything_is_applied_there_is_no_line() -> None:
    assert changes() == []


def test_every_grave_cause_is_named_and_the_others_are_counted() -> None:
    """A slow decay must not hide behind a silence that is graver."""
    known = {"is_latest": True, "is_adverse": True, "scope": "step", "cause_scope": "step", "workflow_id": "welcome",
             "direction": "down", "expected_value": 4.0}  # fmt: skip
    causes = [("hello", "critical", "sent"), ("tips", "high", "human_click_rate"), ("offer", "low", "sent")]
    found = [
        row("anomalies", **known, step_id=step, cause_id=step, anomaly_id=step, severity=severity, metric=metric)
        for step, severity, metric in causes
    ]
    tables: Tables = {**account([("welcome", "Welcome")]), "anomalies": pl.concat(found)}
    told = [line.split()[1:8] for line in summary(tables, waiting=0) if line.startswith("  alarms")]
    assert [words[:2] for words in told] == [["Welcome,", "hello"], ["Welcome,", "tips:"]]
    lines = [line for line in summary(tables, waiting=0) if line.startswith("  alarms")]
    assert lines[-1].endswith("1 more goes on. 3 are new.")


def test_feeds_that_are_not_read_are_the_first_line() -> None:
    tables: Tables = account([("welcome", "Welcome")])
    assert not any(line.startswith("  feeds") for line in summary(tables, waiting=0))
    told = "feeds not read yet: 7 of 12 people; 7 calls are left, about 2 nights"
    waits = row("reconciliation", campaign_id="feeds", metric="feeds", reason=told)
    tables["reconciliation"] = pl.concat([tables["reconciliation"], waits])
    assert summary(tables, waiting=0)[1] == f"  feeds       {told}"


def journeys(failed: str | None = None, **changes: object) -> list[str]:
    """The lines on one journey, and on what could not be read of the list of journeys."""
    tables: Tables = account([("welcome", "Welcome")])
    known = {"journey_id": "7", "version": 1, "name": "Hello", "is_current": True, "first_day": TONIGHT, "changes": ""}
    tables["journeys"] = row("journeys", **{**known, **changes})
    tables["journey_lint"] = row("journey_lint", journey_id="7", finding="re-entry")
    if failed:
        lost = row("reconciliation", campaign_id="journeys", metric="journeys", reason=f"not read since {failed}")
        tables["reconciliation"] = pl.concat([tables["reconciliation"], lost])
    return [line for line in summary(tables, waiting=0) if "journeys" in line]


def test_what_changed_in_a_journey_and_what_is_wrong_is_one_line() -> None:
    assert journeys(changes="delay in hours of step 3: 24 to 60", version=2) == [
        "  journeys    1 journey is known from Mailchimp; Hello changed (delay in hours of step 3: 24 to 60); "
        "1 re-entry (table journey_lint)"
    ]


def test_journeys_that_cannot_be_read_are_one_line_and_no_source_that_is_kept() -> None:
    [line] = journeys("2026-06-28: Mailchimp answered 403.")
    assert "journeys were not read since 2026-06-28: Mailchimp answered 403. Flows come from flows.yaml" in line


def test_who_was_let_into_flows_and_what_became_of_the_others_is_one_line() -> None:
    counts = {"released": 5, "waiting": 2, "unknown": 1}
    rows = [row("releases", optimization_id="a", outcome=word, subscribers=count) for word, count in counts.items()]
    tables: Tables = {**account([("welcome", "Welcome")]), "releases": pl.concat([*rows, rows[0]])}
    told = [line for line in summary(tables, waiting=0) if line.startswith("  releases")]
    assert told == ["  releases    10 released, 2 waiting, 1 unknown"]


def test_counts_of_which_no_total_was_announced_are_told_apart() -> None:
    reasons = ("equal", "deleted members", "no total announced")
    held = pl.concat([row("reconciliation", metric="members", reason=reason) for reason in reasons])
    [told] = [
        line
        for line in summary(account([("welcome", "Welcome")]) | {"reconciliation": held}, waiting=0)
        if line.startswith("  agreement")
    ]
    assert told == (
        "  agreement   2 counts held against Mailchimp's reports: 1 differs for a known reason, 0 unexplained; "
        "of 1 count Mailchimp announced no total"
    )


def test_one_of_a_thing_is_told_in_the_singular() -> None:
    kinds = {"members": "changed addresses", "orders": "orders of guests"}
    held = [row("reconciliation", metric=metric, counted=1.0, reason="kept") for metric in kinds.values()]
    tables: Tables = account([("welcome", "Welcome")])
    tables |= {
        "reconciliation": pl.concat([held[0], held[1], row("reconciliation", metric="members", reason="equal")]),
        "quarantine": row("quarantine"),
        "stuck_subscribers": row("stuck_subscribers", cause="loop"),
    }
    told = summary(tables, waiting=0)
    assert "  stuck       1 person: 1 loop" in told
    assert "  quarantine  1 row broke its contract, see the table quarantine" in told
    assert "  renamed     1 member changed their address; each is still one person" in told
    assert "  guests      1 order names no customer; kept, and credited to nobody" in told
    tables["reconciliation"] = held[0]
    [agreement] = [line for line in summary(tables, waiting=0) if line.startswith("  agreement")]
    assert agreement == (
        "  agreement   1 count held against Mailchimp's reports: 1 differs for a known reason, 0 unexplained"
    )


def test_the_digest_tells_an_outage_and_a_loss_as_the_page_does_and_no_hash(tmp_path: Path) -> None:
    steps = {"workflow_id": "welcome", "from_step_id": "hello", "to_step_id": "tips"}
    worst = {"status": "ok", "rank": 1, "avoidable_loss": 12.0, "first_rank_probability": 1.0, "benchmark_rate": 0.1}
    silent = {"is_latest": True, "is_adverse": True, "scope": "step", "cause_scope": "step", "severity": "critical",
              "workflow_id": "welcome", "step_id": "hello", "metric": "sent", "value": 0.0}  # fmt: skip
    tables: Tables = {
        **account([("welcome", "Welcome")]),
        "anomalies": row("anomalies", **silent),
        "bottlenecks": row("bottlenecks", **steps, **worst),
    }
    lines = summary(tables, waiting=0)
    assert lines[0] == f"\nThe morning after {tables['manifest'].item(0, 'as_of')}"
    told = [line[14:].partition(" since ")[0] for line in lines if line.startswith(("  alarms", "  drop-off"))]
    write_pages(tables, [], tmp_path, "http://127.0.0.1:3000")
    page = unescape((tmp_path / "index.html").read_text())
    assert len(told) == 2
    assert all(words in page for words in told)
