"""Opportunities: every kind translated into conversions in four weeks, ranked, and nothing invented."""

from datetime import date, timedelta

import polars as pl
import pytest

from pipeline.analysis.opportunities import PERIOD_DAYS, opportunities
from pipeline.schemas.base import Table, empty
from pipeline.schemas.cohorts import CohortComparison
from pipeline.schemas.monitoring import Anomalies
from pipeline.schemas.performance import Bottlenecks, StepMetricsDaily
from pipeline.schemas.timing import DelayRecommendations
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


@pytest.fixture
def daily() -> pl.DataFrame:
    """A step that every day for eight weeks is entered by ten, mails ten, and brings two conversions."""
    known = {**STEP, "entries": ENTRIES, "sent": SENT, "delivered": SENT, "conversions": CONVERSIONS,
             "prompt_human_clicks": 4, "is_mature": True}  # fmt: skip
    days = [TONIGHT - timedelta(days=ago) for ago in range(DAYS)]
    return rows(StepMetricsDaily, *({**known, "day": day} for day in days))


def found(daily: pl.DataFrame, **tables: pl.DataFrame) -> pl.DataFrame:
    def table(name: str, model: type[Table]) -> pl.DataFrame:
        return tables.get(name, empty(model))

    return opportunities(
        table("bottlenecks", Bottlenecks),
        table("anomalies", Anomalies),
        table("comparison", CohortComparison),
        tables.get("cells", CELLS),
        table("delays", DelayRecommendations),
        daily,
        as_of_day=TONIGHT,
        funnel_days=180,
    )


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
