"""Anomalies: honesty of statuses and baselines, alarms on known truth, grouping and mutes."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from pipeline.analysis.anomalies.baseline import MOST_CENSORED_DAYS
from pipeline.analysis.anomalies.history import HISTORY_DAYS, watched_history
from pipeline.analysis.anomalies.incidents import account_alerts, anomalies, notifications
from pipeline.analysis.anomalies.nights import anomaly_baselines, metric_trends
from pipeline.analysis.anomalies.state import WARM_UP_DAYS
from pipeline.common.rates import Rate
from pipeline.schemas.base import empty
from pipeline.schemas.journeys.marts import PublishedJourneys
from tests.acceptance.simulations import anomalies as simulation
from tests.analysis.anomalies.courses import DAYS, RATES, TONIGHT, day, history, volume, without
from tests.worlds.facts import rows


def test_a_quiet_history_has_no_alarm_and_its_band_holds_the_true_rate():
    baselines = anomaly_baselines(history(), as_of_day=TONIGHT, rates=RATES, volumes=["sent"])
    late = baselines.filter((pl.col("day") > day(40)) & (pl.col("metric") == "click_rate"))
    assert not late["is_anomaly"].any()
    assert late["expected_value"].to_numpy() == pytest.approx(0.03, rel=0.2)
    assert late.select(pl.col("value").is_between("expected_value_low", "expected_value_high").mean()).item() > 0.9


def test_a_baseline_row_never_contains_the_day_it_scores():
    clean = history()
    forecasts = [
        anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[])
        .filter(pl.col("day") == TONIGHT)
        .select("expected_value", "dispersion", "baseline_days")
        for frame in (clean, without(clean, "clicks", DAYS - 1))
    ]
    assert forecasts[0].equals(forecasts[1])


def test_days_after_tonight_change_nothing():
    frame = history()
    early = day(60)
    cut = anomaly_baselines(frame.filter(pl.col("day") <= early), as_of_day=early, rates=RATES, volumes=[])
    assert cut.equals(anomaly_baselines(frame, as_of_day=early, rates=RATES, volumes=[]))


def test_a_stop_stays_one_incident_until_it_ends_however_long_it_lasts():
    stopped = without(history(), "clicks", 50, 88)
    baselines = anomaly_baselines(stopped, as_of_day=TONIGHT, rates=RATES, volumes=[])
    assert baselines.filter("is_anomaly")["day"].to_list() == [day(number) for number in range(50, 88)]
    assert baselines.drop_nulls("change").is_empty()
    assert anomalies(baselines)["incident_id"].n_unique() == 1


def test_a_fall_that_lasts_is_one_incident_and_its_end_is_no_second_one():
    lower = without(history(), "clicks", 70, 85, left=0.1)
    baselines = anomaly_baselines(lower, as_of_day=TONIGHT, rates=RATES, volumes=[])
    alarms = baselines.filter("is_anomaly")["day"].to_list()
    assert alarms == [day(70 + late) for late in range(MOST_CENSORED_DAYS)]
    changes = baselines.drop_nulls("change").select("day", "change").rows()
    assert changes == [(day(70 + MOST_CENSORED_DAYS), "new level"), (day(85), "former level")]
    assert anomalies(baselines)["incident_id"].n_unique() == 1


def test_a_silent_step_is_found_the_first_night_even_if_its_rows_vanish():
    frame = history(sends=30)
    gone = frame.filter(pl.col("day") < day(80))
    found = anomaly_baselines(gone, as_of_day=day(80), rates=[], volumes=["sent"]).filter("is_anomaly")
    assert found["day"].to_list() == [day(80)]
    assert found.item(0, "numerator") == 0
    assert found.item(0, "is_adverse")


def sent_alarms(frame: pl.DataFrame) -> list[date]:
    last = frame["day"].max()
    found = anomaly_baselines(frame, as_of_day=last, rates=[], volumes=["sent"])
    return found.filter(pl.col("is_anomaly") | (pl.col("change") == "drift"))["day"].to_list()


def test_steady_growth_is_expected():
    """Nine percent more each month; by day 160 the step sends more than half as much again."""
    mean = 300 * 1.09 ** (np.arange(160) / 30)
    frame = volume(np.random.default_rng(4).poisson(mean))
    assert sent_alarms(frame) == []
    tonight = anomaly_baselines(frame, as_of_day=day(159), rates=[], volumes=["sent"]).sort("day").row(-1, named=True)
    assert tonight["expected_value"] == pytest.approx(mean[-1], rel=0.06)


@pytest.mark.parametrize("every", [7, 14])
def test_a_sender_with_a_rhythm_is_heard_of_when_the_rhythm_is_missed_and_until_it_is_back(every):
    """After two months nothing of the rhythm itself is out of line; a mailing that does not come is, the same night."""
    is_sent = np.arange(160) % every == 3
    sent = np.random.default_rng(4).poisson(2_000 * is_sent)
    assert [alarm for alarm in sent_alarms(volume(sent)) if alarm >= day(60)] == []
    missed = int(np.flatnonzero(is_sent & (np.arange(160) > 110))[0])
    stopped = np.where(np.arange(160) < missed, sent, 0)
    assert [alarm for alarm in sent_alarms(volume(stopped)) if alarm >= day(60)] == [day(n) for n in range(missed, 160)]


def test_holidays_are_neither_scored_nor_learnt():
    feast = day(80)
    frame = without(history(), "clicks", 80, 81)
    alarms = [
        anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[], holidays=holidays)["is_anomaly"].any()
        for holidays in ([feast], [])
    ]
    assert alarms == [False, True]


def test_a_rate_of_all_may_be_expected():
    frame = history().with_columns(pl.col("sent").alias("clicks"))
    baselines = anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[])
    assert not baselines["is_anomaly"].any()


def test_a_shift_too_small_for_single_nights_is_confirmed_by_drift_and_becomes_the_level():
    """A fifth less from day 40 on: within a score of two a night, for ever."""
    random = np.random.default_rng(9)
    rate = np.where(np.arange(DAYS) < 40, 0.05, 0.04)
    frame = history().with_columns(clicks=random.binomial(2_000, rate), sent=pl.lit(2_000))
    baselines = anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[])
    drifts = baselines.filter(pl.col("change") == "drift")["day"].to_list()
    assert day(40) < drifts[0] < day(70)
    assert baselines.filter(pl.col("day") == TONIGHT).item(0, "expected_value") == pytest.approx(0.04, rel=0.06)


@pytest.mark.parametrize("days", [1, WARM_UP_DAYS - 1])
def test_too_little_history_says_how_much_is_missing(days):
    baselines = anomaly_baselines(history(days=days), as_of_day=day(days - 1), rates=RATES, volumes=["sent"])
    assert set(baselines["status"]) == {"not enough data"}
    tonight = baselines.filter(pl.col("day") == day(days - 1))
    assert set(tonight["days_needed"]) == {WARM_UP_DAYS - days + 1}
    assert tonight["expected_value"].null_count() == tonight.height


@pytest.mark.parametrize("clicks", [0, 400])
def test_constant_series_give_finite_numbers(clicks):
    frame = history().with_columns(sent=pl.lit(400), clicks=pl.lit(clicks))
    baselines = anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=["sent"])
    numbers = baselines.filter(pl.col("status") == "ok").select(pl.selectors.float())
    assert numbers.select(pl.all().is_finite().all()).row(0) == (True,) * numbers.width
    assert not baselines["is_anomaly"].any()


def test_unknown_immature_and_empty_days_are_named():
    marked = history().with_columns(
        clicks=pl.when(pl.col("day") == day(50)).then(None).otherwise("clicks"),
        sent=pl.when(pl.col("day") == day(51)).then(0).otherwise("sent"),
        is_mature=pl.col("day") < day(98),
    )
    rows = anomaly_baselines(marked, as_of_day=TONIGHT, rates=RATES, volumes=[])
    status = dict(rows.select("day", "status").rows())
    named = [status[day(number)] for number in (50, 51, 97, 98)]
    assert named == ["unknown", "nothing sent", "ok", "not mature"]


def test_an_empty_frame_gives_empty_tables():
    baselines = anomaly_baselines(history().clear(), as_of_day=TONIGHT, rates=RATES, volumes=["sent"])
    assert baselines.is_empty()
    assert anomalies(baselines).is_empty()
    assert metric_trends(baselines, empty(PublishedJourneys)).is_empty()
    assert notifications(anomalies(baselines)).is_empty()


def test_an_outage_of_the_account_is_one_notification():
    frame = history(steps=12).with_columns(clicks=pl.when(pl.col("day") == TONIGHT).then(0).otherwise("clicks"))
    baselines = anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[])
    assert account_alerts(baselines).filter("is_alert")["day"].to_list() == [TONIGHT]
    told = notifications(anomalies(baselines))
    assert told["cause_scope"].to_list() == ["account"]
    assert told.item(0, "steps") > 6
    assert told.item(0, "is_adverse")


def test_steps_of_one_workflow_that_fail_together_are_one_cause():
    quiet = history(steps=10, seed=6).with_columns(workflow_id=pl.lit("quiet"))
    frame = pl.concat([without(without(history(steps=2), "clicks", 98), "clicks", 98, step="s1"), quiet])
    found = anomalies(anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[]))
    told = notifications(found).row(0, named=True)
    assert (told["cause_scope"], told["workflow_id"], told["step_id"], told["steps"]) == ("workflow", "w", None, 2)
    assert found.filter(pl.col("cause_id") == told["cause_id"]).height == told["alarms"]


@pytest.mark.parametrize(("until", "is_muted"), [(DAYS - 1, True), (DAYS - 2, False)])
def test_a_mute_holds_until_its_last_day(until, is_muted):
    frame = without(history(steps=3), "clicks", DAYS - 1)
    mutes = pl.DataFrame({"workflow_id": ["w"], "step_id": ["s0"], "metric": [None], "until": [day(until)]})
    baselines = anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[])
    told = notifications(anomalies(baselines, mutes=mutes))
    assert told["is_muted"].to_list() == [is_muted]


def test_trends_pool_the_week_and_mark_changes():
    frame = without(history(), "clicks", 70, 85, left=0.1)
    versions = empty(PublishedJourneys)
    trends = metric_trends(anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=["sent"]), versions)
    rates = trends.filter((pl.col("metric") == "click_rate") & (pl.col("day") == day(60)))
    week = frame.filter(pl.col("day").is_between(day(54), day(60)))
    assert rates.item(0, "smoothed_value") == pytest.approx(week["clicks"].sum() / week["sent"].sum())
    assert {"anomaly", "new level", "former level"} <= set(trends["change_marker"])


def test_trends_mark_the_night_on_which_a_journey_changed():
    baselines = anomaly_baselines(history(), as_of_day=TONIGHT, rates=RATES, volumes=["sent"])
    workflow = {"workflow_id": "w", "journey_id": "1"}
    days = [{"version": 1, "first_day": day(40)}, {"version": 2, "first_day": day(60)}]
    versions = rows(PublishedJourneys, *({**workflow, **one} for one in days), as_of_day=TONIGHT)
    marked = metric_trends(baselines, versions).filter(pl.col("change_marker") == "new version")
    assert set(marked["day"]) == {day(60)}


def test_small_acceptance_simulation():
    missed = [check for check in simulation.run(scale=0.2) if not check.holds]
    assert missed == []


def test_a_rate_that_is_final_after_a_day_is_scored_up_to_yesterday_and_told_tonight():
    """Mailchimp's five days hide the other rates; a stop of prompt clicks since three days is told all the same."""
    late = history().with_columns(is_mature=pl.col("day") <= day(DAYS - 6))
    rates = [Rate("prompt", "clicks", "sent", final_after_days=1), Rate("slow", "clicks", "sent")]
    baselines = anomaly_baselines(without(late, "clicks", DAYS - 4), as_of_day=TONIGHT, rates=rates, volumes=[])
    scored = baselines.filter(pl.col("status") == "ok").group_by("metric").agg(pl.col("day").max())
    assert dict(scored.iter_rows()) == {"prompt": day(DAYS - 2), "slow": day(DAYS - 6)}
    told = notifications(anomalies(baselines)).row(0, named=True)
    assert (told["metrics"], told["first_day"], told["is_new"]) == ("prompt", day(DAYS - 4), False)


def test_entries_that_no_event_tells_are_not_watched():
    """A journey has an event stream if its entries are not everywhere the messages sent."""
    sent = pl.col("sent")
    for kind, entries, is_watched in (
        ("flow", sent, True),
        ("automation", sent, False),
        ("journey", sent, False),
        ("journey", sent + 1, True),
    ):
        entered = history().with_columns(entries=entries)
        workflows = pl.DataFrame({"workflow_id": ["w"], "kind": [kind]})
        watched = watched_history(entered, workflows, as_of_day=TONIGHT)
        baselines = anomaly_baselines(watched, as_of_day=TONIGHT, rates=[], volumes=["entries", "sent"])
        assert ("entries" in baselines["metric"]) is is_watched


def test_half_a_year_is_watched():
    long = history(days=HISTORY_DAYS + 30)
    last = long["day"].max()
    watched = watched_history(
        long.with_columns(entries=0), pl.DataFrame(schema={"workflow_id": pl.String, "kind": pl.String}), as_of_day=last
    )
    assert watched["day"].n_unique() == HISTORY_DAYS
