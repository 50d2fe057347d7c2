"""What a reader asks the account page: what could be won, which tests run, where people are lost; names, never ids."""

import html
import re
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.analysis.cohorts.comparison import cohort_comparison, cohort_insights
from pipeline.analysis.cohorts.triangles import cohort_triangles
from pipeline.reports.pages.site import file_name, write_pages
from tests.reports.pages.numbers import unfounded
from tests.worlds.published import ADDRESS, Tables, account, row

PLACE = {"workflow_id": "f1", "from_step_id": "a1", "to_step_id": "b2"}
STEPS = {"a1": "First mail", "b2": "Second mail"}


def named(**more: pl.DataFrame) -> Tables:
    """An account with one flow whose ids and names differ."""
    steps = [row("steps", workflow_id="f1", step_id=step, name=name) for step, name in STEPS.items()]
    return {**account([("f1", "Welcome")]), "steps": pl.concat(steps), **more}


def section(tables: Tables, folder: Path, anchor: str, flow: str | None = None) -> str:
    write_pages(tables, [], folder / "reports", ADDRESS)
    text = (folder / "reports" / (file_name(flow) if flow else "index.html")).read_text(encoding="utf-8")
    assert unfounded(text, tables, flow) == []
    return html.unescape(text.partition(f'<section id="{anchor}"')[2].partition("</section>")[0])


def opportunity(opportunity_id: str, **more: Any) -> pl.DataFrame:
    gain = {"expected_gain": 1.2, "expected_gain_low": 0.4, "expected_gain_high": 3.0, "gain_unit": "conversions"}
    return row("opportunities", opportunity_id=opportunity_id, workflow_id="f1", step_id="a1", **{**gain, **more})


def test_opportunities_name_steps_and_metrics(tmp_path: Path) -> None:
    lost = row("bottlenecks", **PLACE, drop_off_rate=0.25, benchmark_rate=0.05)
    delays = {"current_delay_hours": 72.0, "recommended_delay_hours": 48.0, "action": "change"}
    found = pl.concat(
        [
            opportunity("bottleneck/f1/a1/b2", message="25% of those in a1 never reach b2."),
            opportunity("delay/f1/a1/b2", message="Change 48 h instead of 72 h before b2."),
            opportunity("decay/f1/a1", message="prompt_human_click_rate fell from 15.9% to 5.7%."),
        ]
    )
    tables = named(
        opportunities=found, bottlenecks=lost, delay_recommendations=row("delay_recommendations", **PLACE, **delays)
    )
    told = section(tables, tmp_path, "opportunities")
    lose = "Lose fewer people between First mail and Second mail: 25.0% are lost, elsewhere 5.0%"
    assert lose in told.partition("<table")[2]
    assert f", up to 1 conversion in four weeks. {lose}" in told.partition("<table")[0]
    assert "Wait 48 h instead of 72 h between First mail and Second mail" in told
    assert "First mail: clicks fell from 15.9% to 5.7%" in told
    assert "1 conversion<" in told
    assert not re.search(r"\ba1\b|\bb2\b|prompt_human", told.partition("<table")[2])


def test_without_opportunities_nothing_is_said_of_them(tmp_path: Path) -> None:
    assert section(named(), tmp_path, "opportunities") == ""


def test_an_opportunity_of_nothing_is_left_out_and_one_that_is_not_known_is_not(tmp_path: Path) -> None:
    nothing = opportunity("decay/f1/a1", expected_gain=0.4, message="opens fell.")
    assert section(named(opportunities=nothing), tmp_path, "opportunities") == ""
    unknown = opportunity("decay/f1/b2", expected_gain=None, message="clicks fell.")
    told = section(named(opportunities=pl.concat([nothing, unknown])), tmp_path, "opportunities")
    assert "clicks fell" in told
    assert "opens fell" not in told
    assert "What could be won" in told.partition("<table")[0]


@pytest.mark.parametrize(
    ("plan", "verdict", "title", "decided"),
    [
        ({"planned_days": 28}, {}, "1 test is running", "by 2026-06-29 at the latest"),
        ({"is_open_ended": True}, {}, "1 test is running", "as soon as a difference is sure"),
        (
            {},
            {"verdict": "winner", "decided_day": date(2026, 6, 20)},
            "subject: winner",
            "winner, on 2026-06-20",
        ),
        (
            {"status": "planned", "assigned_by": "driptune", "planned_days": 98},
            {},
            "No test is running",
            "not before its start is approved; 98 days from then on",
        ),
        ({"status": "ended"}, {}, "No test is running", "without an answer"),
    ],
)
def test_each_test_says_when_it_is_decided(
    tmp_path: Path, plan: dict[str, Any], verdict: dict[str, Any], title: str, decided: str
) -> None:
    place = {"experiment_id": "subject", "workflow_id": "f1", "step_id": "a1"}
    begun = {"status": "running", "start_day": date(2026, 6, 1), "end_day": None, "planned_days": None, "name": None}
    open_yet = {"decided_day": None, "latest_lift": 0.1, "latest_lift_low": -0.1, "latest_lift_high": 0.3}
    tables = named(
        experiments=row("experiments", **place, **{**begun, **plan}),
        experiment_verdicts=row("experiment_verdicts", **place, **{**open_yet, **verdict}),
    )
    told = section(tables, tmp_path, "running")
    assert f"<bdi>{title}</bdi></h2>" in told
    assert decided in told
    assert "Welcome, First mail" in told
    assert "+10% (-10% to +30%)" in told


def test_each_workflow_says_where_most_are_lost(tmp_path: Path) -> None:
    ways = [row("funnel", **PLACE, lost=30, drop_off_rate=0.3), row("funnel", **{**PLACE, "to_step_id": "a1"}, lost=5)]
    told = section(named(funnel=pl.concat(ways)), tmp_path, "workflows")
    assert "First mail → Second mail: 30.0%" in told


def test_learnings_name_where_they_held_and_where_else_they_could(tmp_path: Path) -> None:
    learnt = row("learnings", workflow_id="f1", step_id="a1", could_try="f1/b2, gone/step", question="Short?")
    told = section(named(learnings=learnt), tmp_path, "learnings")
    assert "Welcome, First mail" in told
    assert "Welcome, Second mail; gone/step" in told


def test_a_cohort_that_differs_is_named_with_what_it_is_a_cohort_of(tmp_path: Path) -> None:
    months = {"cohort": ["2026-01", "2026-02", "2026-03"], "conversions": [400, 400, 900], "exits": 0, "age_weeks": 0}
    entered = {"cohort_type": "signup_date", "workflow_id": "f1", "day": date(2026, 3, 1), "entrants": 2_000}
    cells = pl.DataFrame(months | entered)
    tonight = date(2026, 6, 29)
    compared = cohort_comparison(cohort_triangles(cells, as_of_day=tonight), as_of_day=tonight)
    tables = named(cohort_insights=cohort_insights(compared, as_of_day=tonight))
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / file_name("f1")).read_text(encoding="utf-8")
    said = html.unescape(text.partition('<section id="differences"')[2].partition("</section>")[0])
    assert re.search(r"<h2[^>]*><bdi>2026-03 \(month of signup\) converts \d+% above the median of the 2 others", said)
    assert unfounded(text, tables, "f1") == []


def test_a_cohort_may_be_named_as_people_like_and_have_one_other_beside_it(tmp_path: Path) -> None:
    plans = {"cohort": ["pro; paid yearly", "basic"], "conversions": [900, 400], "exits": 0, "age_weeks": 0}
    entered = {"cohort_type": "subscription_plan", "workflow_id": "f1", "day": date(2026, 3, 1), "entrants": 2_000}
    tonight = date(2026, 6, 29)
    triangles = cohort_triangles(pl.DataFrame(plans | entered), as_of_day=tonight)
    insights = cohort_insights(cohort_comparison(triangles, as_of_day=tonight), as_of_day=tonight)
    told = section(named(cohort_insights=insights), tmp_path, "differences")
    assert re.search(
        r"pro; paid yearly \(subscription plan\) converts \d+% above the only other cohort by week \d+", told
    )


def test_durations_and_gains_of_one_are_told_in_the_singular(tmp_path: Path) -> None:
    stays = row("stuck_subscribers", workflow_id="f1", step_id="a1", stuck_hours=24.0)
    assert "24 h" in section(named(stuck_subscribers=stays), tmp_path / "stuck", "stuck")
    lost = row("bottlenecks", **PLACE, status="ok", rank=1, avoidable_loss=1.2, loss_unit="goals", benchmark_rate=0.1)
    told = section(named(bottlenecks=lost), tmp_path / "lost", "funnel", "f1")
    assert "would have brought 1 more goal (" in told


def test_machines_are_told_only_of_mail_in_which_they_are_known(tmp_path: Path) -> None:
    counts = {"window": "28d", "unique_opens": 100}
    old, new = (row("step_metrics", **counts, unique_human_opens=known) for known in (None, 60))
    for rows, words in (([old], "nobody knows which openers"), ([old, new], "40.0% of 100 openers in 28 days were")):
        write_pages(named(step_metrics=pl.concat(rows)), [], tmp_path / words[:5], ADDRESS)
        assert words in (tmp_path / words[:5] / "index.html").read_text(encoding="utf-8")
