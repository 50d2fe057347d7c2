"""Anomalies: honesty of statuses and baselines, alarms on known truth, grouping and mutes."""

from datetime import date, timedelta

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
from tests.worlds.facts import rows

FIRST = date(2026, 1, 1)
DAYS = 100
TONIGHT = FIRST + timedelta(days=DAYS - 1)
RATES = [Rate("click_rate", "clicks", "sent")]


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def history(steps: int = 1, sends: int = 400, rate: float = 0.03, days: int = DAYS, seed: int = 5) -> pl.DataFrame:
    """Every step of workflow 'w' sends about the same every day and is clicked at one rate."""
    random = np.random.default_rng(seed)
    sent = random.poisson(sends, days * steps)
    return pl.DataFrame(
        {
            "day": [day(number) for number in range(days) for _ in range(steps)],
            "workflow_id": ["w"] * days * steps,
            "step_id": [f"s{step}" for _ in range(days) for step in range(steps)],
            "sent": sent,
            "clicks": random.binomial(sent, rate),
        }
    )


def without(
    frame: pl.DataFrame, column: str, since: int, until: int = DAYS, step: str = "s0", left: float = 0.0
) -> pl.DataFrame:
    """The frame with a share of one step's column left on some days: none of it by default."""
    hit = pl.col("day").is_between(day(since), day(until), closed="left") & (pl.col("step_id") == step)
    return frame.with_columns(pl.when(hit).then((pl.col(column) * left).cast(pl.Int64)).otherwise(column).alias(column))


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


def volume(sent: np.ndarray, days: int = 160) -> pl.DataFrame:
    return pl.DataFrame(
        {"day": [day(number) for number in range(days)], "workflow_id": "w", "step_id": "s0", "sent": sent}
    )


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


def test_slow_decay_raises_a_drift_alarm():
    random = np.random.default_rng(8)
    falling = 0.05 * np.exp(-0.02 * np.maximum(np.arange(DAYS) - 40, 0))
    frame = history(sends=2_000).with_columns(clicks=random.binomial(2_000, falling), sent=pl.lit(2_000))
    baselines = anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[])
    assert "drift" in baselines["change"].to_list()
    drifts = anomalies(baselines).filter(pl.col("anomaly_kind") == "drift")
    assert drifts.sort("day")["severity"].to_list()[-1] == "high"


def test_a_drift_is_told_for_a_week_and_a_small_one_is_not_grave():
    random = np.random.default_rng(9)
    rate = np.where(np.arange(DAYS) < 40, 0.05, 0.04)
    frame = history().with_columns(clicks=random.binomial(2_000, rate), sent=pl.lit(2_000))
    baselines = anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[])
    [confirmed] = baselines.filter(pl.col("change") == "drift")["day"].to_list()[:1]

    def told(late: int) -> list[str]:
        known = baselines.filter(pl.col("day") <= confirmed + timedelta(days=late))
        found = anomalies(known).filter(pl.col("anomaly_kind") == "drift", "is_latest")
        return found["severity"].to_list()

    assert told(0) == told(6) == ["low"]
    assert told(7) == []


def test_a_fall_that_a_season_may_bring_is_grave_in_a_rate_and_not_in_a_volume():
    """Both lose 47% in two months. A volume that loses 70% is a grave one all the same."""

    def severities(mean: np.ndarray, *, is_rate: bool) -> set[str]:
        counts = np.random.default_rng(1).poisson(mean)
        frame = volume(np.full(160, 6_000) if is_rate else counts).with_columns(clicks=pl.Series(counts))
        watched = {"rates": RATES, "volumes": []} if is_rate else {"rates": [], "volumes": ["sent"]}
        found = anomalies(anomaly_baselines(frame, as_of_day=day(159), **watched))
        return set(found.filter(pl.col("anomaly_kind") == "drift", pl.col("direction") == "down")["severity"])

    falling = np.clip(np.arange(160) - 70, 0, 60)
    assert "high" in severities(600 * np.exp(-0.0105 * falling), is_rate=True)
    assert severities(600 * np.exp(-0.0105 * falling), is_rate=False) == {"low"}
    assert "high" in severities(600 * np.exp(-0.02 * falling), is_rate=False)


def test_a_decay_that_halves_a_rate_is_one_cause_for_four_weeks():
    """Each night that confirms it anew belongs to the same cause, so that people decide about it once."""
    random = np.random.default_rng(8)
    falling = 0.05 * np.exp(-0.02 * np.maximum(np.arange(DAYS) - 40, 0))
    frame = history(sends=2_000).with_columns(clicks=random.binomial(2_000, falling), sent=pl.lit(2_000))
    baselines = anomaly_baselines(frame, as_of_day=TONIGHT, rates=RATES, volumes=[])
    grave = anomalies(baselines).filter((pl.col("anomaly_kind") == "drift") & (pl.col("severity") == "high"))
    assert grave.height > 1
    assert grave["cause_id"].n_unique() == 1
    confirmed = grave["day"].max()

    def told(late: int) -> int:
        """Causes told so many nights after the last confirmation, if the rate stays where it is from then on."""
        known = baselines.filter(pl.col("day") <= confirmed)
        later = known.filter(pl.col("day") == confirmed).with_columns(
            pl.col("day").dt.offset_by(f"{late}d"), change=None
        )
        return notifications(anomalies(pl.concat([known, later]))).height

    assert told(27) == 1
    assert told(28) == 0


# Unsubscribes a day among 300 messages: three ordinary weeks in a row with fewer than usual, then ten nights with many.
USUAL, FEW, MANY = [1, 0, 1, 0, 0, 1, 1], [0, 1, 0, 0, 1, 0, 0], [3, 2, 1, 1, 3, 2, 1, 3, 2, 4]


def unsubscribe_alarms(after: list[int]) -> list[tuple[str, str, str]]:
    counts = [*USUAL * 8, *FEW * 3, *USUAL, *MANY, *after]
    frame = volume(np.full(len(counts), 300), days=len(counts)).with_columns(clicks=pl.Series(counts))
    rate = Rate("unsubscribe_rate", "clicks", "sent", is_gain=False)
    baselines = anomaly_baselines(frame, as_of_day=day(len(counts) - 1), rates=[rate], volumes=[])
    return anomalies(baselines).select("anomaly_kind", "direction", "severity").rows()


def test_a_drift_of_rare_events_is_grave_once_it_has_gone_on():
    """The nights that raise an alarm were chosen by it, so they alone do not make it grave."""
    confirmed = unsubscribe_alarms([])
    assert confirmed[-1] == ("drift", "up", "low")
    assert ("drift", "up", "high") in unsubscribe_alarms(MANY * 2)


def test_nights_that_return_to_normal_after_a_drift_by_chance_are_no_alarm():
    assert unsubscribe_alarms(USUAL * 6) == unsubscribe_alarms([])


def test_the_longer_a_small_step_is_silent_the_graver_it_is():
    sent = np.random.default_rng(6).poisson(12, 100)
    sent[-4:] = 0
    frame = volume(sent, days=100)
    found = anomalies(anomaly_baselines(frame, as_of_day=day(99), rates=[], volumes=["sent"]))
    silence = found.filter(pl.col("day") >= day(96))["severity"].to_list()
    assert silence == ["medium", "medium", "high", "critical"]


def test_a_night_is_graver_the_longer_its_spread_is_known():
    """By itself the night has six in a thousand millions. From 70 days of history nobody knows that so well."""
    frame = volume(np.array([*[300] * 159, 128]))
    baselines = anomaly_baselines(frame, as_of_day=day(159), rates=[], volumes=["sent"])
    night = baselines.filter(pl.col("day") == day(159)).with_columns(tail_probability=6.4e-9, is_anomaly=pl.lit(True))
    severities = [
        anomalies(night.with_columns(baseline_days=pl.lit(days, pl.Int64)))["severity"].to_list()
        for days in (70, 400, 10_000)
    ]
    assert severities == [["medium"], ["high"], ["high"]]


def test_a_chance_alarm_after_a_grave_night_is_not_grave_itself():
    frame = history()
    sent, clicks = (frame[name].to_numpy().copy() for name in ("sent", "clicks"))
    sent[95], clicks[95], clicks[96] = 100_000, 200, 1
    odd = frame.with_columns(sent=sent, clicks=clicks)
    found = anomalies(anomaly_baselines(odd, as_of_day=TONIGHT, rates=RATES, volumes=[]))
    assert found["incident_id"].n_unique() == 1
    assert dict(found.select("day", "severity").rows()) == {day(95): "critical", day(96): "medium"}


def test_a_night_that_moves_the_other_way_is_judged_by_itself():
    """After 100,000 messages without an unsubscribe none of the next few hundred is one either, which is no wonder."""
    counts = [*USUAL * 11, *FEW, 1, 1, 1, 0, 1, 2, 1, 1, 1, 0, 1, *[0] * 5]
    imported = np.arange(len(counts)) == 95
    frame = volume(np.where(imported, 100_000, 300), days=len(counts)).with_columns(clicks=pl.Series(counts))
    rate = Rate("unsubscribe_rate", "clicks", "sent", is_gain=False)
    found = anomalies(anomaly_baselines(frame, as_of_day=day(len(counts) - 1), rates=[rate], volumes=[]))
    assert found.filter(pl.col("day") == day(95))["severity"].to_list() == ["critical"]
    assert found.filter("is_adverse").height > 0
    assert found.filter("is_adverse", pl.col("severity") != "low").is_empty()


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
