"""What the sample night says of steps, people, cohorts and days, held against the generator's truth."""

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import duckdb
import polars as pl
import pytest

from pipeline.settings import SAMPLE_TONIGHT, Settings

STEP = ["workflow_id", "step_id"]
COUNTS = ["sent", "hard_bounces", "soft_bounces", "delivered", "unsubscribes", "complaints", "unique_human_clicks"]


@pytest.fixture(scope="module")
def steps(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> pl.DataFrame:
    """Our counts of every step over all time, beside the truth's."""
    ours = tables["step_metrics"].filter(pl.col("window") == "all")
    joined = pl.DataFrame(truth["steps"]).join(ours, on=STEP, how="left", suffix="_counted")
    assert joined.height == len(truth["steps"])
    # A step that never had a fact has no row.
    return joined.with_columns(pl.col(f"{name}_counted" for name in COUNTS).fill_null(0))


@pytest.mark.parametrize("count", COUNTS)
def test_counts_of_every_step_equal_the_truth(steps: pl.DataFrame, count: str) -> None:
    different = steps.filter(pl.col(count).ne_missing(pl.col(f"{count}_counted")))
    assert different.select(*STEP, count, f"{count}_counted").to_dicts() == []


def test_the_bounds_on_human_opens_contain_the_truth(steps: pl.DataFrame) -> None:
    mailed = steps.filter(pl.col("delivered") > 0).with_columns(true=pl.col("unique_human_opens") / pl.col("delivered"))
    outside = mailed.filter(
        (pl.col("true") < pl.col("human_open_rate_low") - 1e-12)
        | (pl.col("true") > pl.col("human_open_rate_high") + 1e-12)
    )
    assert outside.select(*STEP, "true", "human_open_rate_low", "human_open_rate_high").to_dicts() == []
    assert mailed.filter(pl.col("human_open_rate_low") < pl.col("human_open_rate_high")).height > 0


def test_the_planted_bottleneck_is_ranked_first(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    first = tables["bottlenecks"].filter(pl.col("rank") == 1).row(0, named=True)
    planted = truth["bottleneck"]
    assert {name: first[name] for name in planted if name in first} == {n: planted[n] for n in planted if n in first}
    assert first["from_step_id"] == planted["from_step_id"]
    assert first["first_rank_probability"] > 0.95


def test_each_stuck_subscriber_has_its_cause_and_nobody_who_waits_is_listed(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    found = {
        (row["subscriber_key"], row["workflow_id"]): row["cause"] for row in tables["stuck_subscribers"].to_dicts()
    }
    planted = {(row["subscriber_key"], row["workflow_id"]): row["cause"] for row in truth["stuck"]}
    assert found == planted
    waiting = {row["subscriber_key"] for row in truth["waiting"]} - {key for key, _ in planted}
    assert waiting
    assert not waiting & {key for key, _ in found}


def test_every_difference_to_mailchimps_reports_has_a_name(tables: dict[str, pl.DataFrame]) -> None:
    reconciliation = tables["reconciliation"]
    assert reconciliation.filter(pl.col("reason") == "unexplained").to_dicts() == []
    is_rate = pl.col("metric").str.ends_with("_rate")  # Mailchimp rounds its rates
    assert reconciliation.filter((pl.col("reason") == "equal") & ~is_rate & (pl.col("difference") != 0)).height == 0
    assert reconciliation.filter(pl.col("reason") == "deleted members").height > 0


def test_bad_events_are_counted_with_reasons(tables: dict[str, pl.DataFrame]) -> None:
    quarantine = tables["quarantine"]
    assert quarantine.filter(pl.col("reason").str.contains("(?i)currency")).height > 0
    assert quarantine.filter(pl.col("reason") == "").height == 0


def test_credits_never_exceed_the_orders(settings: Settings, night: None) -> None:
    with duckdb.connect(str(settings.working_file), read_only=True) as connection:
        [(repeated,)] = connection.execute(
            "SELECT count(*) - count(DISTINCT (conversion_id, view)) FROM core.credits"
        ).fetchall()
        excess = connection.execute(
            "SELECT view FROM core.credits GROUP BY view "
            "HAVING sum(net_cents) > (SELECT sum(greatest(net_cents, 0)) FROM core.conversions)"
        ).fetchall()
    assert repeated == 0
    assert excess == []


def test_the_planted_cohorts_stand_out_and_no_other_does(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    insights = tables["cohort_insights"]
    found = insights.filter((pl.col("insight_kind") == "above others") & (pl.col("workflow_id") == "onboarding"))
    lifted = [
        ("signup_date", truth["planted"]["cohort_month"]),
        *(("subscription_plan", plan) for plan, lift in truth["planted"]["plan_lift"].items() if lift > 1),
    ]
    # The better arm of the test lifts everybody who joins once it runs.
    tested = truth["planted"]["experiment_from"][:7]
    said = [(kind, cohort) for kind, cohort in found.select("cohort_type", "cohort").rows() if cohort < tested]
    plans = found.filter(pl.col("cohort_type") == "subscription_plan").select("cohort_type", "cohort").rows()
    assert sorted({*said, *plans}) == sorted(lifted)
    above = insights.filter(pl.col("insight_kind") == "above others").select("cohort_type", "cohort").rows()
    below = insights.filter(pl.col("insight_kind") == "below others").select("cohort_type", "cohort").rows()
    assert {one for one in above if one[0] != "signup_date" or one[1] < tested} == set(lifted)
    assert below == []


def test_cohorts_by_age_are_masked_where_they_are_young(tables: dict[str, pl.DataFrame]) -> None:
    triangles = tables["cohort_triangles"]
    closed = SAMPLE_TONIGHT - pl.duration(days=7 * (pl.col("age_weeks") + 1))
    youngest = pl.col("cohort") == SAMPLE_TONIGHT.strftime("%Y-%m")
    young = triangles.filter(youngest & (pl.col("cohort_type") == "signup_date"))
    assert young.filter((pl.col("followed") > 0) & (closed < SAMPLE_TONIGHT.replace(day=1))).is_empty()
    assert triangles.filter(pl.col("is_projected") & pl.col("is_mature")).is_empty()


def test_a_step_that_falls_silent_is_found_the_first_night(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    workflow, step = truth["planted"]["silent_step"]
    silence = tables["anomalies"].filter(pl.col("anomaly_kind") == "silence")
    assert silence.select("workflow_id", "step_id").unique().rows() == [(workflow, step)]
    assert silence["day"].min() == date.fromisoformat(truth["planted"]["silent_days"][0])
    assert silence.filter("is_latest")["day"].unique().to_list() == [SAMPLE_TONIGHT]


def anomalies_of(tables: dict[str, pl.DataFrame], place: Sequence[str]) -> pl.DataFrame:
    workflow, step = place
    return tables["anomalies"].filter(
        (pl.col("workflow_id") == workflow) & (pl.col("step_id") == step) & pl.col("is_adverse")
    )


def test_the_outage_is_found_while_it_lasts(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    planted = truth["planted"]
    first, last = map(date.fromisoformat, planted["outage_days"])
    found = anomalies_of(tables, planted["outage_step"]).filter(
        (pl.col("metric") == "prompt_human_click_rate") & pl.col("day").is_between(first, last)
    )
    assert found.height > 0


def test_the_slow_decay_is_found_as_drift(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    planted = truth["planted"]
    found = anomalies_of(tables, planted["decay_step"]).filter(
        (pl.col("metric") == "prompt_human_click_rate") & (pl.col("anomaly_kind") == "drift")
    )
    assert found["day"].min() > date.fromisoformat(planted["decay_from"])


def test_a_night_without_a_planted_cause_is_rarely_called_bad(
    tables: dict[str, pl.DataFrame], truth: dict[str, Any]
) -> None:
    """Conversions truly fall when the month of the lifted cohort is over, so those of its flows are no false alarm."""
    planted = truth["planted"]
    steps = [tuple(planted[name]) for name in ("silent_step", "outage_step", "decay_step")]
    month_over = date.fromisoformat(f"{planted['cohort_month']}-01") + timedelta(days=31)
    is_end_of_lift = (pl.col("metric") == "conversion_rate") & pl.col("day").is_between(
        month_over, month_over + timedelta(days=45)
    )
    adverse = tables["anomalies"].filter(pl.col("is_adverse") & ~is_end_of_lift)
    unplanted = {
        row for row in adverse.select("workflow_id", "step_id", "cause_id").unique().rows() if row[:2] not in steps
    }
    scored = tables["anomaly_baselines"].filter(pl.col("status") == "ok")
    assert len(unplanted) <= 2.1e-3 * scored.height
