"""Opportunities: every kind translated into conversions in four weeks, ranked, and nothing invented."""

from datetime import date, datetime, time, timedelta

import polars as pl
import pytest

from pipeline.analysis.opportunities.ranking import Findings, opportunities
from pipeline.analysis.opportunities.unit import PERIOD_DAYS
from pipeline.schemas.base import Table, empty
from pipeline.schemas.cohorts import CohortComparison
from pipeline.schemas.decisions import PolicyValues
from pipeline.schemas.experiments import ExperimentResults, ExperimentVerdicts, Holdouts
from pipeline.schemas.loop import Optimizations
from pipeline.schemas.monitoring import Anomalies, AnomalyBaselines
from pipeline.schemas.performance import Bottlenecks, StepMetricsDaily
from pipeline.schemas.timing import DelayRecommendations, SendTimeLift
from tests.worlds.facts import BLANKS, rows

TONIGHT = date(2026, 6, 29)
DAYS = 56
ENTRIES, SENT, CONVERSIONS = 10, 10, 2
STEP = {"workflow_id": "w", "step_id": "s"}
CELLS = pl.DataFrame(
    schema={"cohort_type": pl.String, "workflow_id": pl.String, "cohort": pl.String, "day": pl.Date,
            "age_weeks": pl.Int64, "entrants": pl.Int64}
)  # fmt: skip


@pytest.fixture(autouse=True)
def dated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BLANKS, pl.Date, TONIGHT)
    monkeypatch.setitem(BLANKS, pl.Decimal, 0)
    monkeypatch.setitem(BLANKS, pl.Datetime, datetime.combine(TONIGHT, time()))


@pytest.fixture
def daily() -> pl.DataFrame:
    """A step that every day for eight weeks is entered by ten, mails ten, and brings two conversions."""
    known = {**STEP, "entries": ENTRIES, "sent": SENT, "delivered": SENT, "conversions": CONVERSIONS,
             "revenue_amount": 100, "prompt_human_clicks": 4, "is_mature": True}  # fmt: skip
    days = [TONIGHT - timedelta(days=ago) for ago in range(DAYS)]
    return rows(StepMetricsDaily, *({**known, "day": day} for day in days))


def found(daily: pl.DataFrame, **tables: pl.DataFrame) -> pl.DataFrame:
    def table(name: str, model: type[Table]) -> pl.DataFrame:
        return tables.get(name, empty(model))

    findings = Findings(
        daily=daily,
        bottlenecks=table("bottlenecks", Bottlenecks),
        baselines=table("baselines", AnomalyBaselines),
        anomalies=table("anomalies", Anomalies),
        comparison=table("comparison", CohortComparison),
        delays=table("delays", DelayRecommendations),
        hours=table("hours", SendTimeLift),
        verdicts=table("verdicts", ExperimentVerdicts),
        results=table("results", ExperimentResults),
        holdouts=table("holdouts", Holdouts),
        records=table("records", Optimizations),
    )
    policies = tables.get("policies", empty(PolicyValues).with_columns(workflow_id=pl.lit(""), step_id=pl.lit("")))
    return opportunities(findings, policies, tables.get("cells", CELLS), as_of_day=TONIGHT, funnel_days=180)


def bottleneck(**more: object) -> pl.DataFrame:
    known = {"workflow_id": "w", "from_step_id": "s", "to_step_id": "t", "rank": 1, "entrants": 560, "status": "ok",
             "loss_unit": "goals", "drop_off_rate": 0.3, "drop_off_rate_low": 0.2, "drop_off_rate_high": 0.4,
             "benchmark_rate": 0.1, "avoidable_loss": 20.0, "avoidable_loss_low": 10.0, "avoidable_loss_high": 30.0,
             }  # fmt: skip
    return rows(Bottlenecks, {**known, **more})


def alarm(**more: object) -> pl.DataFrame:
    known = {**STEP, "anomaly_id": "a", "scope": "step", "metric": "sent", "metric_kind": "volume", "value": 0.0,
             "anomaly_kind": "silence", "window_nights": 1, "direction": "down", "severity": "high",
             "expected_value": 10.0, "expected_value_low": 5.0, "expected_value_high": 15.0, "is_adverse": True,
             "is_latest": True, "cause_id": "w/s@2026-06-26", "cause_scope": "step", "numerator": 0}  # fmt: skip
    return rows(Anomalies, {**known, **more})


def test_an_avoidable_loss_counts_for_the_share_of_entries_of_the_last_four_weeks(daily: pl.DataFrame) -> None:
    row = found(daily, bottlenecks=bottleneck()).row(0, named=True)
    share = PERIOD_DAYS / DAYS
    assert row["expected_gain"] == pytest.approx(20 * share)
    assert (row["expected_gain_low"], row["expected_gain_high"]) == pytest.approx((10 * share, 30 * share))
    assert row["volume"] == 560 * share
    assert row["identification"] == "not identified"


def test_a_silent_step_loses_the_conversions_of_the_mail_it_should_send(daily: pl.DataFrame) -> None:
    row = found(daily, anomalies=alarm()).row(0, named=True)
    assert row["expected_gain"] == pytest.approx(10 * PERIOD_DAYS * CONVERSIONS / SENT)
    assert row["volume"] == 10 * PERIOD_DAYS


def test_a_fallen_click_rate_loses_the_conversions_of_the_clicks_it_should_have(daily: pl.DataFrame) -> None:
    rate = {"metric": "prompt_human_click_rate", "metric_kind": "rate", "anomaly_kind": "night", "value": 0.1,
            "expected_value": 0.4, "expected_value_low": 0.2, "expected_value_high": 0.6}  # fmt: skip
    row = found(daily, anomalies=alarm(**rate)).row(0, named=True)
    clicks = PERIOD_DAYS * SENT * 0.3
    assert row["expected_gain"] == pytest.approx(clicks * CONVERSIONS / 4)


@pytest.mark.parametrize("no", [{"is_latest": False}, {"is_adverse": False}, {"is_muted": True}])
def test_what_is_over_harmless_or_muted_is_no_opportunity(daily: pl.DataFrame, no: dict[str, bool]) -> None:
    assert found(daily, anomalies=alarm(**no)).is_empty()


def test_harm_without_a_price_is_listed_last_and_says_so(daily: pl.DataFrame) -> None:
    complaints = {"metric": "complaint_rate", "metric_kind": "rate", "anomaly_kind": "night", "direction": "up"}
    listed = found(daily, bottlenecks=bottleneck(), anomalies=alarm(**complaints))
    assert listed["kind"].to_list() == ["bottleneck", "anomaly"]
    last = listed.row(1, named=True)
    assert last["expected_gain"] is None
    assert last["status"].startswith("not valued")


def test_completions_rank_behind_conversions(daily: pl.DataFrame) -> None:
    of_both = pl.concat([bottleneck(loss_unit="completions", to_step_id="u", avoidable_loss=25.0), bottleneck()])
    assert found(daily, bottlenecks=of_both)["gain_unit"].to_list() == ["conversions", "completions"]


def test_a_cohort_below_the_mean_counts_only_if_people_still_join_it(daily: pl.DataFrame) -> None:
    known = {"cohort_type": "subscription_plan", "workflow_id": "w", "age_weeks": 3, "below_probability": 0.95,
             "others_rate": 0.4, "shrunk_rate": 0.3, "shrunk_rate_low": 0.25, "shrunk_rate_high": 0.35,
             "status": "ok"}  # fmt: skip
    compared = rows(CohortComparison, {**known, "cohort": "basic"}, {**known, "cohort": "retired"})
    joined = CELLS.vstack(
        pl.DataFrame(
            [("subscription_plan", "w", "basic", TONIGHT, 0, 200),
             ("subscription_plan", "w", "retired", TONIGHT - timedelta(days=PERIOD_DAYS), 0, 200)],
            schema=CELLS.schema, orient="row",
        )
    )  # fmt: skip
    listed = found(daily, comparison=compared, cells=joined)
    assert listed["opportunity_id"].to_list() == ["cohort/subscription_plan/w/basic"]
    gains = listed.select("expected_gain", "expected_gain_low", "expected_gain_high").row(0)
    assert gains == pytest.approx((20.0, 10.0, 30.0))


def test_a_better_delay_keeps_its_identification(daily: pl.DataFrame) -> None:
    known = {"workflow_id": "w", "from_step_id": "s", "to_step_id": "t", "entrants": 1_000, "conversions": 100,
             "current_delay_hours": 72.0, "recommended_delay_hours": 48.0, "improvement": 0.5, "improvement_low": -0.1,
             "improvement_high": 1.0, "action": "change", "identification": "randomised", "status": "ok"}  # fmt: skip
    kept = {**known, "to_step_id": "u", "action": "keep"}
    [row] = found(daily, delays=rows(DelayRecommendations, known, kept)).to_dicts()
    people = PERIOD_DAYS * ENTRIES
    assert (row["expected_gain_low"], row["expected_gain"]) == pytest.approx((0.0, 0.5 * 0.1 * people))
    assert (row["identification"], row["message"]) == ("randomised", "Change 48 h instead of 72 h before t.")


def test_a_delay_that_cannot_be_compared_is_listed_without_a_gain(daily: pl.DataFrame) -> None:
    """A busy step whose delay never changed: only a test could tell, and nobody knows what it would bring."""
    single = {"workflow_id": "w", "from_step_id": "s", "to_step_id": "t", "entrants": 12_000, "conversions": 100,
              "current_delay_hours": 48.0, "recommended_delay_hours": None, "improvement": None,
              "improvement_low": None, "improvement_high": None, "action": "test",
              "identification": "not identified", "status": "single delay"}  # fmt: skip
    [row] = found(daily, delays=rows(DelayRecommendations, single)).to_dicts()
    assert (row["expected_gain"], row["message"]) == (None, "Test another delay than 48 h before t.")
    assert row["status"].startswith("not valued")


def test_an_empty_account_has_no_opportunities(daily: pl.DataFrame) -> None:
    assert found(daily.clear()).is_empty()
    assert (
        found(daily.clear(), bottlenecks=bottleneck(), anomalies=alarm(), delays=empty(DelayRecommendations)).height
        == 1
    )


def winner(metric: str = "conversion", **more: object) -> dict[str, pl.DataFrame]:
    """Arm B won over half of the people; the control has 10% or, of revenue, 5 for each message."""
    mean = 5.0 if metric == "revenue" else 0.1
    verdict = {**STEP, "experiment_id": "subject", "verdict": "winner", "winner_arm": "B", "arm": "B",
               "primary_metric": metric, "shrunk_lift": 0.2, "shrunk_lift_low": -0.1, "shrunk_lift_high": 0.5,
               "exposures": 600, "control_exposures": 400, "lift": 0.3}  # fmt: skip
    result = {"experiment_id": "subject", "arm": "B", "metric": metric, "role": "primary", "control_metric_mean": mean,
              "look": 1, "is_last_look": True}  # fmt: skip
    return {
        "verdicts": rows(ExperimentVerdicts, {**verdict, **more}),
        "results": rows(ExperimentResults, result),
    }


@pytest.mark.parametrize(("metric", "worth"), [("conversion", 1.0), ("click", CONVERSIONS / 4), ("revenue", 2 / 100)])
def test_a_winner_ranks_by_its_promise_to_those_who_would_get_the_control(
    daily: pl.DataFrame, metric: str, worth: float
) -> None:
    [row] = found(daily, **winner(metric)).to_dicts()
    people = PERIOD_DAYS * SENT * 0.4
    base = {"revenue": 5.0}.get(metric, 0.1)
    gains = [row[f"expected_gain{end}"] for end in ("_low", "", "_high")]
    assert gains == pytest.approx([0.0, 0.2 * base * worth * people, 0.5 * base * worth * people])
    assert (row["kind"], row["identification"], row["gain_unit"]) == ("winner", "randomised", "conversions")


def test_a_winner_that_everybody_gets_is_no_opportunity_any_more(daily: pl.DataFrame) -> None:
    applied = {"kind": "experiment_winner", "target": "subject", "status": "applied"}
    for status, listed in (("applied", 0), ("pending", 1)):
        records = rows(Optimizations, {**applied, "status": status})
        assert found(daily, **winner(), records=records).height == listed


def decayed(first: float, last: float, before: float | None = None) -> dict[str, pl.DataFrame]:
    """A click rate that falls from one level to another, with a drift alarm in the middle of eight weeks."""
    alarm_day = TONIGHT - timedelta(days=27)
    rates = [last if ago < 28 else first if ago < 84 else before or first for ago in range(140)]
    known = {**STEP, "metric": "prompt_human_click_rate", "metric_kind": "rate", "status": "ok", "window_nights": 1}
    nights = [
        {**known, "day": TONIGHT - timedelta(days=ago), "numerator": round(1_000 * rate), "denominator": 1_000}
        for ago, rate in enumerate(rates)
    ]
    drift = {"metric": "prompt_human_click_rate", "metric_kind": "rate", "anomaly_kind": "drift", "day": alarm_day,
             "is_latest": False}  # fmt: skip
    return {"baselines": rows(AnomalyBaselines, *nights), "anomalies": alarm(**drift)}


def test_a_decay_counts_what_the_former_level_would_bring_long_after_its_alarm(daily: pl.DataFrame) -> None:
    [row] = found(daily, **decayed(0.4, 0.2)).to_dicts()
    assert row["kind"] == "decay"
    assert row["expected_gain"] == pytest.approx(0.2 * PERIOD_DAYS * SENT * CONVERSIONS / 4)
    assert row["expected_gain_low"] < row["expected_gain"] < row["expected_gain_high"]


def test_a_rate_that_has_recovered_or_falls_back_from_an_exceptional_time_has_not_decayed(daily: pl.DataFrame) -> None:
    assert found(daily, **decayed(0.4, 0.4)).is_empty()
    assert found(daily, **decayed(0.4, 0.25, before=0.1)).is_empty()


def test_a_better_policy_counts_at_every_decision_and_better_hours_at_every_click(daily: pl.DataFrame) -> None:
    policy = {"decision_point_id": "path", "policy": "always b", "gain": 0.02, "gain_low": 0.01, "gain_high": 0.03,
              "status": "ok"}  # fmt: skip
    better = rows(PolicyValues, policy).with_columns(workflow_id=pl.lit("w"), step_id=pl.lit("s"))
    hours = rows(SendTimeLift, {"is_lift_shown": True, "engagement_lift": 0.1, "engagement_lift_low": 0.02,
                                "engagement_lift_high": 0.2})  # fmt: skip
    gains = dict(found(daily, policies=better, hours=hours).select("kind", "expected_gain").iter_rows())
    assert gains == pytest.approx(
        {"policy": 0.02 * PERIOD_DAYS * ENTRIES, "send time": 0.1 * PERIOD_DAYS * CONVERSIONS}
    )
    unknown = hours.with_columns(is_lift_shown=pl.lit(False))
    assert found(daily, hours=unknown).is_empty()


def test_credited_conversions_count_as_far_as_a_hold_out_shows_that_they_are_incremental(daily: pl.DataFrame) -> None:
    """Of every 100 credited, 25 would not have come otherwise; what a test shows is incremental as it is."""
    known = {"status": "ok", "attributed_revenue_amount": 1_000.0, "incremental_revenue_amount": 250.0}
    measured = {"bottlenecks": bottleneck(), "anomalies": alarm(), **winner()}
    full = dict(found(daily, **measured).select("kind", "expected_gain").iter_rows())
    for workflow in ("w", None):
        holdouts = rows(Holdouts, {**known, "workflow_id": workflow})
        less = dict(found(daily, **measured, holdouts=holdouts).select("kind", "expected_gain").iter_rows())
        assert less["anomaly"] == pytest.approx(full["anomaly"] / 4)
        assert less["bottleneck"] == pytest.approx(full["bottleneck"] / 4)
        assert less["winner"] == full["winner"]
