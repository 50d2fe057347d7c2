"""P14: CPU seconds of the analyses of a night, each in a process of its own (`python -m tests.bench.analyses NAME`)."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta

import numpy as np
import polars as pl

from tests.bench.rows import Row

TONIGHT = date(2026, 6, 29)
SUBSCRIBERS, SENDS = 1_000_000, 10
SERIES, DAYS = 300, 180
TRANSITIONS, STEPS_EACH = 200, 5


def analyses() -> Iterator[Row]:
    """The rows of P14."""
    for name, (measure, most, _) in TASKS.items():
        told = subprocess.run(
            [sys.executable, "-m", "tests.bench.analyses", name], check=True, capture_output=True, text=True
        ).stdout
        seconds = float(json.loads(told.splitlines()[-1]))
        yield Row("P14", measure, f"{seconds:.2f} CPU-s", f"<= {most:g} CPU-s", seconds <= most)


def _send_times() -> Callable[[], object]:
    from pipeline.analysis.send_time import analyse_send_times
    from tests.worlds.send_times import population

    world = population(np.random.default_rng(14), subscribers=SUBSCRIBERS, sends=SENDS)
    return lambda: analyse_send_times(world.hours, world.sends, as_of_day=TONIGHT)


def _funnel() -> Callable[[], object]:
    """The steps of a million journeys over a year, counted as the reduction counts them, to drop-off with intervals."""
    from pipeline.analysis.funnel import drop_off
    from pipeline.analysis.units import day_number
    from pipeline.schemas.reductions import FunnelTransitions
    from tests.worlds.facts import rows

    random = np.random.default_rng(15)
    entries = SUBSCRIBERS * STEPS_EACH
    step = random.integers(1, TRANSITIONS + 1, entries)
    drawn = pl.DataFrame(
        {
            "workflow_key": step // STEPS_EACH,
            "from_step_key": step,
            "to_step_key": step + 1,
            "delay_version": random.integers(0, 2, entries),
            "day": day_number(TONIGHT) - random.integers(0, DAYS, entries),
            "outcome": random.choice(["advanced", "lost", "goal", "timeout"], entries, p=[0.7, 0.1, 0.1, 0.1]),
            "elapsed_days": random.integers(0, 7, entries),
        }
    )
    counted = drawn.group_by(drawn.columns).agg(subscribers=pl.len().cast(pl.Int64))
    frame = counted.select(rows(FunnelTransitions).columns)
    return lambda: drop_off(frame, as_of=TONIGHT, funnel_days=DAYS)


def _anomalies() -> Callable[[], object]:
    from pipeline.analysis.anomalies import anomaly_baselines

    random = np.random.default_rng(16)
    steps = SERIES // 3
    sent = random.poisson(random.lognormal(5, 1, steps), (DAYS, steps))
    daily = pl.DataFrame(
        {
            "day": [TONIGHT - timedelta(days=DAYS - 1 - day) for day in range(DAYS) for _ in range(steps)],
            "workflow_id": [f"w{step % 10}" for step in range(steps)] * DAYS,
            "step_id": [f"s{step}" for step in range(steps)] * DAYS,
            "sent": sent.ravel(),
            "delivered": sent.ravel(),
            "clicks": random.binomial(sent, 0.04).ravel(),
            "leaves": random.binomial(sent, 0.004).ravel(),
        }
    )
    rates = (("click_rate", "clicks", "delivered"), ("leave_rate", "leaves", "delivered"))
    return lambda: anomaly_baselines(daily, as_of_day=TONIGHT, rates=rates, volumes=("sent",))


TASKS: dict[str, tuple[str, float, Callable[[], Callable[[], object]]]] = {
    "send_times": (f"send times of {SUBSCRIBERS:,} subscribers with {SENDS} sends each", 20, _send_times),
    "funnel": (f"funnel of {SUBSCRIBERS:,} journeys", 3, _funnel),
    "anomalies": (f"{SERIES} series over {DAYS} nights, all of them scored anew", 0.5, _anomalies),
}


if __name__ == "__main__":
    analyse = TASKS[sys.argv[1]][2]()
    analyse()
    started = time.process_time()
    analyse()
    print(json.dumps(time.process_time() - started))
