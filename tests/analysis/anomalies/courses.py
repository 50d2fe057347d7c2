"""Counts of days as tests of anomalies know them: a steady step, one that loses something, and a volume alone."""

from datetime import date, timedelta

import numpy as np
import polars as pl

from pipeline.common.rates import Rate

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


def volume(sent: np.ndarray, days: int = 160) -> pl.DataFrame:
    return pl.DataFrame(
        {"day": [day(number) for number in range(days)], "workflow_id": "w", "step_id": "s0", "sent": sent}
    )
