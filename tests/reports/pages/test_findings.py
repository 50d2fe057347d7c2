"""What a page says first: outages and decays in a sentence that needs no table, the worst before the rest."""

import html
import re
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.common.rates import COMPLAINT_BOUND, UNSUBSCRIBE_BOUND
from pipeline.reports.pages.site import file_name, write_pages
from tests.reports.pages.numbers import unfounded
from tests.worlds.published import ADDRESS, TONIGHT, Tables, a_winner, account, an_anomaly, row, somebody_stuck

SILENCE = {"anomaly_kind": "silence", "metric_kind": "volume", "value": 0.0, "expected_value": 28.8, "scope": "step"}


def told(tables: Tables, folder: Path, page: str = file_name("welcome")) -> tuple[str, list[tuple[str, str]]]:
    """The heading of a page's news, and the other news, each with its colour."""
    write_pages(tables, [], folder, ADDRESS)
    text = (folder / page).read_text(encoding="utf-8")
    [news] = re.findall(r'<section id="findings"(.*?)</section>', text, re.DOTALL)
    heading = html.unescape(re.findall(r"<h2[^>]*><bdi>(.*?)</bdi>", news)[0])
    others = re.findall(r'<li class="(\w*)">(.*?)</li>', news)
    return heading, [(tone, html.unescape(re.sub(r"<[^>]+>", "", line))) for tone, line in others]


def alarm(**changes: Any) -> pl.DataFrame:
    since = {"cause_first_day": date(2026, 6, 26), "incident_first_day": date(2026, 6, 26)}
    return an_anomaly(**{**SILENCE, **since, **changes})["anomalies"]


def calm() -> Tables:
    """An account with one flow, whose rates are not worse than before."""
    tables = account([("welcome", "Welcome")])
    return tables | {"metric_changes": tables["metric_changes"].clear()}


def named(tables: Tables) -> Tables:
    """The account in which the step `hello` has a name."""
    steps = tables["steps"].with_columns(name=pl.col("name").replace("hello", "Last call"))
    return {**tables, "steps": steps}


def test_a_silent_step_is_told_by_name_and_day_before_everything_else(tmp_path: Path) -> None:
    tables = named(calm())
    mild = alarm(metric="unsubscribe_rate", severity="low", direction="up", value=0.02, expected_value=0.01,
                 anomaly_kind="night", metric_kind="rate", cause_id="other", anomaly_id="2")  # fmt: skip
    tables |= {"anomalies": pl.concat([mild, alarm(anomaly_id="1"), alarm(anomaly_id="0", metric="entries")])}
    heading, rest = told(tables, tmp_path / "reports")
    assert heading == "Last call has sent nothing since 26 June"
    assert rest == [("doubtful", "Last call: 2.0 times the unsubscribes expected since 26 June")]
    heading, _ = told(tables, tmp_path / "reports", "index.html")
    assert heading == "Welcome, Last call has sent nothing since 26 June"


@pytest.mark.parametrize("changes", [{"is_muted": True}, {"is_adverse": False}, {"is_latest": False}])
def test_what_ended_or_is_muted_or_does_no_harm_is_no_news(tmp_path: Path, changes: dict[str, bool]) -> None:
    tables = calm() | {"anomalies": alarm(**changes)}
    assert told(tables, tmp_path / "reports") == ("Nothing is out of line", [])


def test_a_step_that_sends_again_is_told_for_a_week(tmp_path: Path) -> None:
    tables = named(calm())
    silence = [
        alarm(metric="sent", is_latest=False, day=date(2026, 6, number), step_id="hello", cause_scope="step")
        for number in range(18, 23)
    ]
    first = {"cause_first_day": date(2026, 6, 18)}
    began = pl.concat(silence).with_columns(**{name: pl.lit(value) for name, value in first.items()})
    days = [
        row("step_metrics_daily", workflow_id="welcome", step_id="hello", day=date(2026, 6, number), sent=sent)
        for number, sent in ((17, 40), (22, 0), (23, 174), (24, 26))
    ]
    tables |= {"anomalies": began, "step_metrics_daily": pl.concat(days)}
    told_once = "Last call sent nothing from 18 June to 22 June. It sends again since 23 June, 200 so far"
    assert told(tables, tmp_path / "reports") == (told_once, [])
    a_day_later = began.with_columns(pl.col("as_of_day") + pl.duration(days=1))
    assert told(tables | {"anomalies": a_day_later}, tmp_path / "later") == ("Nothing is out of line", [])


def test_a_decay_is_told_by_the_rates_it_led_from_and_to(tmp_path: Path) -> None:
    series = {"workflow_id": "welcome", "step_id": "hello", "metric": "prompt_human_click_rate", "metric_kind": "rate"}
    found = alarm(**{**series, "anomaly_kind": "drift", "severity": "high", "value": 0.0, "expected_value": 0.06})
    decay = row(
        "opportunities",
        workflow_id="welcome",
        opportunity_id="decay/welcome/hello/prompt_human_click_rate",
        since_day=date(2026, 5, 11),
        former_rate=0.2,
        present_rate=0.05,
    )
    tables = named(calm()) | {"anomalies": found, "opportunities": decay}
    heading, _ = told(tables, tmp_path / "reports")
    assert heading == "Last call: clicks fell from 20.0% to 5.0%, out of line since 11 May"
    # What an older release published does not tell from where to where.
    older = tables | {"opportunities": decay.drop("since_day", "former_rate", "present_rate")}
    heading, _ = told(older, tmp_path / "reports")
    assert heading == "Last call: clicks have slowly fallen, out of line since 26 June"


def over(tables: Tables, rate: str, low: float, high: float) -> Tables:
    """The account in which a rate of the flow has this interval."""
    ends = {rate: (low + high) / 2, f"{rate}_low": low, f"{rate}_high": high}
    counts = {"unsubscribes": 12, "complaints": 12}
    metrics = tables["workflow_metrics"].with_columns(
        **{name: pl.lit(value) for name, value in (ends | counts).items()}
    )
    return tables | {"workflow_metrics": metrics}


def test_a_rate_surely_over_its_bound_is_a_finding_of_the_flow_and_of_the_account(tmp_path: Path) -> None:
    bound = UNSUBSCRIBE_BOUND
    tables = over(calm(), "unsubscribe_rate", bound.warning + 0.001, bound.warning + 0.005)
    said = "Welcome: 0.80% (0.60% to 1.0%) unsubscribed, over the bound of 0.50% (driptune's limit)"
    assert told(tables, tmp_path / "reports") == (said, [])
    heading, rest = told(tables, tmp_path / "reports", "index.html")
    assert ("bad", said) in [("bad", heading), *rest]
    whole = [one for _, one in rest if one.startswith("The whole account: ")]
    assert heading.startswith("The whole account: ") or whole


def test_a_rate_that_may_be_within_its_bound_is_no_finding(tmp_path: Path) -> None:
    tables = over(calm(), "complaint_rate", COMPLAINT_BOUND.warning - 0.0005, COMPLAINT_BOUND.warning + 0.002)
    assert told(tables, tmp_path / "reports") == ("Nothing is out of line", [])


def test_a_rate_surely_worse_than_before_is_a_finding(tmp_path: Path) -> None:
    heading, _ = told(account([("welcome", "Welcome")]), tmp_path / "reports")
    assert heading.startswith("Welcome: clicked by people -3.1 points")


def test_no_page_is_calm_above_a_red_tile(tmp_path: Path) -> None:
    for number, tables in enumerate((calm(), account([("welcome", "Welcome")]))):
        write_pages(tables, [], tmp_path / str(number), ADDRESS)
        for page in (file_name("welcome"), "index.html"):
            text = (tmp_path / str(number) / page).read_text(encoding="utf-8")
            assert ("Nothing is out of line" in text) == ('class="note bad"' not in text)


def test_a_harmful_test_is_told_by_its_name(tmp_path: Path) -> None:
    tables = calm() | {"experiments": row("experiments", experiment_id="subject", workflow_id="welcome", name="Task")}
    tables["experiment_verdicts"] = a_winner(verdict="harm", winner_arm=None)["experiment_verdicts"]
    assert told(tables, tmp_path / "reports")[0] == "hello: the test 'Task' does harm"


@pytest.mark.parametrize(("status", "end"), [("active", ""), ("paused", ": the flow is paused")])
def test_a_flow_that_sent_nothing_is_not_called_well(tmp_path: Path, status: str, end: str) -> None:
    tables = calm()
    sent = {name: pl.lit(0) for name in ("sent", "delivered")}
    tables |= {name: tables[name].with_columns(**sent) for name in ("workflow_metrics", "step_metrics")}
    tables["workflows"] = tables["workflows"].with_columns(status=pl.lit(status))
    assert told(tables, tmp_path / "reports") == (f"Nothing was sent in 28 days{end}", [])
    text = (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8")
    [steps] = re.findall(r'<section id="steps"(.*?)</section>', text, re.DOTALL)
    assert "Nothing was sent in 28 days." in steps
    assert "<table" not in steps


def test_people_who_are_stuck_and_a_winner_are_told_after_what_is_wrong(tmp_path: Path) -> None:
    tables = calm()
    stuck = somebody_stuck(workflow_id="welcome", step_id="hello")["stuck_subscribers"]
    tables |= {
        "stuck_subscribers": stuck,
        **a_winner(),
        "anomalies": alarm(),
    }
    _, rest = told(tables, tmp_path / "reports")
    assert rest == [
        ("doubtful", "1 person is stuck; the most frequent cause: queue stall (1)"),
        ("good", "hello: arm B won its test; expect +25% (+5% to +50%)"),
    ]


def test_a_winner_over_a_control_that_brought_nothing_promises_no_lift(tmp_path: Path) -> None:
    tables = calm() | a_winner(shrunk_lift=None)
    heading, _ = told(tables, tmp_path / "reports")
    assert heading.endswith("won its test; the control brought nothing")


def test_what_lacks_for_a_comparison_is_named(tmp_path: Path) -> None:
    periods = {
        "nothing was mailed before": (40, 0),
        "all mail of this period is too young": (0, 40),
        "more than one a message": (40, 40),
    }
    for words, (now, before) in periods.items():
        change = row("metric_changes", workflow_id="welcome", metric="human_click_rate", denominator=now,
                     previous_denominator=before, rate_difference=None)  # fmt: skip
        tables = calm() | {"metric_changes": change}
        write_pages(tables, [], tmp_path / "reports", ADDRESS)
        assert f"not comparable: {words}" in (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8")


def test_a_winner_that_is_sent_is_no_news_and_what_it_brought_is(tmp_path: Path) -> None:
    record = {"optimization_id": "a", "kind": "experiment_winner", "target": "subject", "status": "applied"}
    record |= {"title": "Welcome, Hello: send arm B to everybody", "workflow_id": "welcome"}
    night = {"optimization_id": "a", "workflow_id": "welcome", "metric": "conversion", "role": "primary"}
    night |= {"is_latest": True, "first_day": date(2026, 6, 1), "promised_lift": 0.2, "outcome": "works"}
    night |= {"realised_lift": 0.25, "realised_lift_low": 0.05, "realised_lift_high": 0.5}
    tables = calm() | a_winner()
    assert told(tables, tmp_path / "open")[0] == "hello: arm B won its test; expect +25% (+5% to +50%)"
    tables |= {"optimizations": row("optimizations", **record), "realised_lift": row("realised_lift", **night)}
    heading, rest = told(tables, tmp_path / "sent")
    brought = "So far conversion +25% (+5% to +50%), promised +20%: works"
    assert heading == f"In effect since 1 June: Welcome, Hello: send arm B to everybody. {brought}"
    assert rest == []


def test_a_change_without_an_answer_says_what_is_missing(tmp_path: Path) -> None:
    record = {"optimization_id": "a", "status": "applied", "title": "Welcome: wait 48 h", "workflow_id": "welcome"}
    night = {
        "optimization_id": "a",
        "workflow_id": "welcome",
        "is_latest": True,
        "first_day": TONIGHT,
        "realised_lift": None,
    }
    night |= {"outcome": "measuring", "status": "not enough data: the first windows close on 2026-07-07"}
    tables = calm()
    tables |= {"optimizations": row("optimizations", **record), "realised_lift": row("realised_lift", **night)}
    heading, _ = told(tables, tmp_path / "reports")
    assert heading.endswith(". So far not enough data: the first windows close on 2026-07-07")


def test_a_test_says_whether_its_arms_got_their_shares_and_when_it_ends(tmp_path: Path) -> None:
    plan = {
        "experiment_id": "subject",
        "workflow_id": "welcome",
        "start_day": date(2026, 6, 1),
        "end_day": None,
        "is_open_ended": False,
    }
    tables = account([("welcome", "Welcome")]) | {"experiments": row("experiments", **plan, planned_days=28)}
    last_night = plan["start_day"] + timedelta(days=28)
    for has_mismatch, probability, words in (
        (False, 0.84, "as declared (p = 0.84)"),
        (True, 0.002, "not as declared (p = 0.002)"),
        (None, None, "not known"),
    ):
        verdict = a_winner(has_mismatch=has_mismatch, mismatch_probability=probability)["experiment_verdicts"]
        write_pages(tables | {"experiment_verdicts": verdict}, [], tmp_path / "reports", ADDRESS)
        text = (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8")
        [found] = re.findall(r'<section id="tests"(.*?)</section>', text, re.DOTALL)
        told = re.findall(r"<td[^>]*><bdi>(.*?)</bdi></td>", found)
        assert words in told
        assert str(last_night) in told


def test_every_arm_of_a_test_stands_against_its_control_on_the_last_night(tmp_path: Path) -> None:
    rates = {"metric_mean": 0.08, "metric_mean_low": 0.05, "metric_mean_high": 0.11, "control_metric_mean": 0.05}
    rates |= {"control_metric_mean_low": 0.03, "control_metric_mean_high": 0.08, "lift": 0.6}
    rates |= {
        "lift_low": 0.1,
        "lift_high": 1.2,
        "is_significant": True,
        "control_exposures": 870,
        "better_probability": 0.991,
    }
    looks = [
        row("experiment_results", experiment_id="subject", metric="conversion", role="primary", kind="rate", arm="B",
            as_of_day=TONIGHT - timedelta(days=age), exposures=exposures, **rates)
        for age, exposures in ((1, 810), (0, 900))
    ]  # fmt: skip
    tables = calm() | a_winner() | {"experiment_results": pl.concat(looks)}
    tables["experiments"] = tables["experiments"].with_columns(name=pl.lit("Next task"), workflow_id=pl.lit("welcome"))
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    text = (tmp_path / "reports" / file_name("welcome")).read_text(encoding="utf-8")
    [found] = re.findall(r'<section id="arms"(.*?)</section>', text, re.DOTALL)
    [line] = re.findall(r"<tr>(<td.*?)</tr>", found)
    told = [html.unescape(re.sub(r"<[^>]+>", "", cell)) for cell in re.findall(r"<td[^>]*>(.*?)</td>", line)]
    assert told == [
        "Next task", "conversion (primary)", "B", "900", "8.0% (5.0% to 11.0%)", "870", "5.0% (3.0% to 8.0%)",
        "+60% (+10% to +120%)", "shown", "99.1%",
    ]  # fmt: skip
    assert "Next task: arm B won" in text
    assert ">subject<" not in text
    assert unfounded(text, tables, "welcome") == []
