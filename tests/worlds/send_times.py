"""A world of subscribers with known hours: five kinds of day, shifted person by person, and mails at steered hours."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

HOURS = 24
#: Peaks (hour, width, weight) of five kinds of day.
KINDS = [
    [(7.0, 1.2, 0.6), (18.0, 2.0, 0.4)],
    [(10.0, 2.0, 0.5), (15.0, 2.0, 0.5)],
    [(12.5, 1.2, 0.7), (20.0, 2.0, 0.3)],
    [(20.5, 1.8, 0.85), (8.0, 1.5, 0.15)],
    [(23.5, 2.0, 0.8), (14.0, 2.0, 0.2)],
]
#: Share of the attention to a mail that falls on each hour after its sending.
LAG = np.exp(-np.arange(6) / 1.5) / np.exp(-np.arange(6) / 1.5).sum()


@dataclass(frozen=True)
class Population:
    """Inputs of the analysis, and the truth.

    Attributes:
        hours: histogram over the hour of the week.
        sends: one row per send.
        truth: engagement probability by subscriber (key = row) and send hour.
        current: hour at which each subscriber is mailed today.
    """

    hours: pl.DataFrame
    sends: pl.DataFrame
    truth: np.ndarray
    current: np.ndarray


def population(
    rng: np.random.Generator,
    *,
    subscribers: int,
    sends: int,
    behaviour_per_send: float = 1.0,
    randomised_share: float = 0.2,
    engagement: float = 0.2,
    steepness: float = 0.7,
    noise_share: float = 0.0,
    noise_hours: Sequence[int] = range(HOURS),
    single_hour: int | None = None,
) -> Population:
    """Draw subscribers, their days, their mails and what they did with them.

    Args:
        noise_share: share of the behavioural events that fall on `noise_hours`, whoever the subscriber is.
        single_hour: the hour at which all mail is sent that is not randomised; None = the habits of several senders.
    """
    activity = _activity(rng, subscribers)
    attention = sum(weight * np.roll(activity, -lag, axis=1) for lag, weight in enumerate(LAG))
    reach = (attention / attention.mean(axis=1, keepdims=True)) ** steepness
    base = np.clip(rng.gamma(2.0, engagement / 2.0, subscribers), 0.01, 0.4)[:, None]
    truth = np.minimum(base * reach / reach.mean(axis=1, keepdims=True), 0.95)

    current = rng.choice([9, 10, 11, 14, 17], p=[0.25, 0.35, 0.15, 0.15, 0.1], size=subscribers)
    if single_hour is not None:
        current = np.full(subscribers, single_hour)
    row = np.repeat(np.arange(subscribers), sends)
    is_randomised = rng.random(len(row)) < randomised_share
    drift = rng.choice([-1, 0, 1], p=[0.1, 0.8, 0.1], size=len(row))
    habit = (current[row] + (drift if single_hour is None else 0)) % HOURS
    hour = np.where(is_randomised, rng.integers(0, HOURS, len(row)), habit)
    engaged = rng.random(len(row)) < truth[row, hour]
    propensity = np.where(is_randomised, 1 / HOURS, np.nan)
    rows = pl.DataFrame(
        {
            "subscriber_key": row,
            "local_hour": hour,
            "is_engaged": engaged,
            "is_randomised": is_randomised,
            "propensity": propensity,
        }
    ).with_columns(pl.col("propensity").fill_nan(None))

    seen = row[engaged]
    lags = np.stack([activity[seen, (hour[engaged] + lag) % HOURS] * weight for lag, weight in enumerate(LAG)])
    lag = (np.cumsum(lags / lags.sum(axis=0), axis=0) < rng.random(len(seen))).sum(axis=0)
    noise = np.bincount(noise_hours, minlength=HOURS) / len(noise_hours)
    events = rng.poisson(behaviour_per_send * sends * ((1 - noise_share) * activity + noise_share * noise))
    return Population(_histogram(rng, row, hour, seen, (hour[engaged] + lag) % HOURS, events), rows, truth, current)


def _activity(rng: np.random.Generator, subscribers: int) -> np.ndarray:
    kind = rng.integers(len(KINDS), size=subscribers)
    shift = rng.normal(0, 1.0, subscribers)[:, None]
    activity = np.full((subscribers, HOURS), 0.2 / HOURS)
    for number, peaks in enumerate(KINDS):
        rows = kind == number
        for peak, width, weight in peaks:
            distance = np.abs((np.arange(HOURS) - peak - shift[rows] + HOURS / 2) % HOURS - HOURS / 2)
            bump = np.exp(-0.5 * (distance / width) ** 2)
            activity[rows] += 0.8 * weight * bump / bump.sum(axis=1, keepdims=True)
    activity *= rng.gamma(8.0, 1 / 8.0, activity.shape)
    return activity / activity.sum(axis=1, keepdims=True)


def _histogram(
    rng: np.random.Generator,
    sent_row: np.ndarray,
    sent_hour: np.ndarray,
    engaged_row: np.ndarray,
    engaged_hour: np.ndarray,
    events: np.ndarray,
) -> pl.DataFrame:
    busy = np.nonzero(events)
    frames = [
        _events("sends", sent_row, sent_hour, rng),
        _events("human_clicks", engaged_row, engaged_hour, rng),
        _events("behaviour_events", np.repeat(busy[0], events[busy]), np.repeat(busy[1], events[busy]), rng),
    ]
    counts = pl.concat(frames, how="diagonal").with_columns(human_opens=pl.lit(0))
    keys = ["subscriber_key", "local_hour_of_week"]
    names = ["sends", "human_clicks", "human_opens", "behaviour_events"]
    return counts.group_by(keys).agg(pl.col(names).sum().cast(pl.Int64)).sort(keys)


def _events(name: str, row: np.ndarray, hour: np.ndarray, rng: np.random.Generator) -> pl.DataFrame:
    weekday = rng.integers(0, 7, len(row))
    frame = pl.DataFrame({"subscriber_key": row, "local_hour_of_week": weekday * HOURS + hour})
    return frame.group_by("subscriber_key", "local_hour_of_week").agg(pl.len().alias(name))
