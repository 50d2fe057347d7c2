"""How grave an alarm is called: drifts, silences, and nights of chance."""

from datetime import timedelta

import numpy as np
import polars as pl

from pipeline.analysis.anomalies.incidents import anomalies, notifications
from pipeline.analysis.anomalies.nights import anomaly_baselines
from pipeline.common.rates import Rate
from tests.analysis.anomalies.courses import DAYS, RATES, TONIGHT, day, history, volume


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
