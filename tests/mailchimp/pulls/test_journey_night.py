"""Whole nights of an account of journeys and no file: counts equal, a change is a version, a refusal costs nothing."""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipeline.cli.nightly import run_night
from pipeline.operations.health import diagnosis
from pipeline.published.reader import read_publication
from pipeline.reports.digest import summary
from pipeline.settings import Settings
from tests.mailchimp.fake_account import API_KEY, NIGHT, member
from tests.mailchimp.journey_account import PLACE, JourneyAccount, delay, email, trigger
from tests.mailchimp.loopback import serve

PEOPLE = 60
SECOND, THIRD = NIGHT + timedelta(days=1), NIGHT + timedelta(days=2)
STARTED, FIRST, BOTH = 42, 40, 25
LEFT, RIGHT = 12, 8
UNCHANGED = ("workflows", "steps", "funnel", "step_metrics", "stuck_subscribers", "journeys")


def at(day: date, hour: int = 10) -> str:
    return f"{day.isoformat()}T{hour:02}:00:00+00:00"


def account() -> JourneyAccount:
    """A linear journey in which two wait for the first e-mail and 15 for the second, and one that branches."""
    made = JourneyAccount()
    made.members = [member(number) for number in range(PEOPLE)]
    stats = {"started": STARTED, "in_progress": STARTED - BOTH, "completed": BOTH}
    made.add_journey(
        7,
        trigger(11),
        delay(12, 12, stats={"queue_count": STARTED - FIRST, "completed": FIRST}),
        email(13, "hello", sent=FIRST),
        delay(14, 72, stats={"queue_count": FIRST - BOTH, "completed": BOTH}),
        email(15, "tips", sent=BOTH),
        journey_name="Welcome",
        stats=stats,
    )
    long_ago, lately = NIGHT - timedelta(days=20), NIGHT - timedelta(days=1)
    waiting = dict.fromkeys(range(BOTH, FIRST), at(lately))
    made.send_email("hello", {**dict.fromkeys(range(BOTH), at(long_ago)), **waiting})
    made.send_email("tips", dict.fromkeys(range(BOTH), at(long_ago + timedelta(days=3))))
    everybody = LEFT + RIGHT
    made.add_journey(
        8,
        trigger(21),
        email(22, "start", sent=everybody),
        {"id": 23, "step_type": "condition-if_else", "status": "active"},
        delay(24, 24),
        email(25, "left", sent=LEFT),
        delay(26, 24),
        email(27, "right", sent=RIGHT),
        journey_name="Fork",
        stats={"started": everybody, "in_progress": 0, "completed": everybody},
    )
    made.send_email("start", dict.fromkeys(range(everybody), at(long_ago)))
    made.send_email("left", dict.fromkeys(range(LEFT), at(long_ago + timedelta(days=1))))
    made.send_email("right", dict.fromkeys(range(LEFT, everybody), at(long_ago + timedelta(days=1), 12)))
    return made


def ignore(*told: object) -> None:
    """Progress nobody watches."""


@dataclass(frozen=True)
class Nights:
    """The publications of three nights: the first, one after a delay changed, and one that may not read journeys."""

    first: dict[str, pl.DataFrame]
    changed: dict[str, pl.DataFrame]
    refused: dict[str, pl.DataFrame]
    findings: list[tuple[bool, str]]


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Nights:
    folder: Path = tmp_path_factory.mktemp("journeys")
    made, told = account(), []
    with serve(made.answer) as url:
        given = {"data_dir": folder, "mailchimp_url": url, "MAILCHIMP_API_KEY": API_KEY}
        settings = Settings(**given, _env_file=None)  # type: ignore[arg-type]
        for night in (NIGHT, SECOND, THIRD):
            run_night(settings, night, ignore)
            told.append(dict(read_publication(settings.published_dir)))
            made.steps["7"][3]["delay_time"] = 96 * 3600
            if night == SECOND:
                made.instead[PLACE] = 403
        findings = [one for one in diagnosis(settings, ignore) if one[1].startswith("journeys")]
    return Nights(*told, findings)


def counted(tables: dict[str, pl.DataFrame], workflow: str) -> dict[str, int]:
    rows = tables["step_metrics"].filter((pl.col("window") == "all") & (pl.col("workflow_id") == workflow))
    return dict(rows.select("step_id", "sent").iter_rows())


def test_the_first_night_needs_no_file_and_every_count_equals(nights: Nights) -> None:
    tables = nights.first
    kinds = dict(tables["workflows"].select("workflow_id", "kind").iter_rows())
    assert kinds == {"journey-7": "journey", "journey-8": "journey"}
    assert counted(tables, "journey-7") == {"13": FIRST, "15": BOTH}
    assert counted(tables, "journey-8") == {"22": LEFT + RIGHT, "25": LEFT, "27": RIGHT}
    told = tables["reconciliation"].filter(pl.col("metric").is_in(["started", "completed", "queued", "sent"]))
    reasons = {(row["campaign_id"], row["metric"]): row["reason"] for row in told.iter_rows(named=True)}
    # No message tells of those who wait for the first e-mail; Mailchimp's queue before it does.
    waiting = {reasons.pop(("7", metric)) for metric in ("started", "queued")}
    assert waiting == {"waiting for the first e-mail"}
    assert set(reasons.values()) == {"equal"}
    assert {"hello", "tips", "start", "left", "right", "7", "8"} == {campaign for campaign, _ in reasons}
    assert tables["reconciliation"].filter(pl.col("reason") == "unexplained").is_empty()


def test_the_funnel_follows_the_journeys_and_nobody_who_waits_as_planned_is_lost(nights: Nights) -> None:
    rows = nights.first["funnel"].select("from_step_id", "to_step_id", "entrants", "advanced", "lost", "waiting").rows()
    assert sorted(rows) == [
        ("13", "15", FIRST, BOTH, 0, FIRST - BOTH),
        ("22", "25", LEFT, LEFT, 0, 0),
        ("22", "27", RIGHT, RIGHT, 0, 0),
    ]
    assert nights.first["stuck_subscribers"].is_empty()
    observed = nights.first["steps"].filter(pl.col("step_id") == "22").row(0, named=True)
    told = ("next_step_id", "next_step_source", "observed_people")
    assert [observed[name] for name in told] == ["25", "observed", LEFT]


def test_steps_tell_the_subject_of_their_email(nights: Nights) -> None:
    subjects = nights.first["steps"].drop_nulls("campaign_id").select("campaign_id", "subject").rows()
    assert subjects
    assert all(subject == f"Subject of {campaign}" for campaign, subject in subjects)


def test_a_delay_that_changed_is_a_version_from_that_night_on(nights: Nights) -> None:
    versions = nights.changed["journeys"].filter(pl.col("journey_id") == "7")
    assert versions.select("version", "first_day", "changes").rows() == [
        (1, NIGHT, ""),
        (2, SECOND, "delay in hours of step 14: 72 to 96"),
    ]
    hours = [
        tables["steps"].filter(pl.col("step_id") == "13").item(0, "planned_delay_hours")
        for tables in (nights.first, nights.changed)
    ]
    assert hours == [72, 96]
    markers = nights.changed["metric_trends"].filter(pl.col("change_marker") == "new version")
    assert set(markers["day"]) <= {SECOND}


@pytest.mark.parametrize("name", UNCHANGED)
def test_a_night_that_may_not_read_them_keeps_the_flows_of_the_night_before(nights: Nights, name: str) -> None:
    night = ("as_of_day", "definition_version")
    before, after = (tables[name].drop(night, strict=False) for tables in (nights.changed, nights.refused))
    if name in ("funnel", "step_metrics", "stuck_subscribers"):
        keys = [key for key in ("workflow_id", "step_id", "from_step_id", "to_step_id") if key in before.columns]
        before, after = before.select(keys).unique(), after.select(keys).unique()
        assert before.sort(keys).equals(after.sort(keys))
    else:
        assert before.equals(after)


def test_the_refusal_is_one_line_of_the_morning_and_of_the_doctor(nights: Nights) -> None:
    lines = [line for line in summary(nights.refused, waiting=0) if line.startswith("  journeys")]
    assert len(lines) == 1
    assert "were not read since 2026-06-30" in lines[0]
    ((is_good, finding),) = nights.findings
    assert is_good
    assert finding.startswith("journeys: cannot be read. /customer-journeys/journeys: Mailchimp answered 403")
