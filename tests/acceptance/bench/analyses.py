"""P14, P15: CPU seconds of a night's analyses, each in a process of its own.

Run as `python -m tests.acceptance.bench.analyses NAME`.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from tests.acceptance.bench.rows import Row

TONIGHT = date(2026, 6, 29)
SUBSCRIBERS, SENDS = 1_000_000, 10
SERIES, DAYS = 300, 180
TRANSITIONS, STEPS_EACH = 200, 5
CHANGES, NIGHTS = 10_000, 60
RULES, POINTS, ASKED = 20, 5, 2_000
NOW = datetime(2026, 6, 30)


def analyses() -> Iterator[Row]:
    """The rows of P14 and P15."""
    for name, (number, measure, most, _) in TASKS.items():
        seconds = _cpu_seconds(name)
        yield Row(number, measure, f"{seconds:.2f} CPU-s", f"<= {most:g} CPU-s", seconds <= most)
    yield row_by_row()


def _send_times() -> Callable[[], object]:
    from pipeline.analysis.send_time.subscribers import analyse_send_times
    from tests.worlds.send_times import population

    world = population(np.random.default_rng(14), subscribers=SUBSCRIBERS, sends=SENDS)
    return lambda: analyse_send_times([(world.hours, world.sends)], as_of_day=TONIGHT)


def _funnel() -> Callable[[], object]:
    """The steps of a million journeys over a year, counted as the reduction counts them, to drop-off with intervals."""
    from pipeline.analysis.performance.funnel import drop_off
    from pipeline.common.time import day_number
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
    from pipeline.analysis.anomalies.nights import anomaly_baselines
    from pipeline.common.rates import Rate

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
    rates = (Rate("click_rate", "clicks", "delivered"), Rate("leave_rate", "leaves", "delivered"))
    return lambda: anomaly_baselines(daily, as_of_day=TONIGHT, rates=rates, volumes=("sent",))


def _lifts() -> Callable[[], object]:
    """Every night of changes of eight sizes, from the moments of their days."""
    from pipeline.optimizations.measurement.looks import lift_looks
    from pipeline.optimizations.realised import comparison
    from tests.acceptance.simulations.loop import FIRST_DAY, WINDOW_DAYS, Traffic, changes, drawn

    random, traffic = np.random.default_rng(13), Traffic(400, 0.05)
    promised = random.choice([0.05, 0.08, 0.1, 0.12, 0.15, 0.2, 0.3, 0.4], CHANGES)
    plans = [comparison(one, None, pl.Series([], dtype=pl.Float64)) for one in changes(promised, traffic)]
    moments = drawn(random, traffic, plans, 0.8 * promised, np.full(CHANGES, NIGHTS))
    tonight = FIRST_DAY + timedelta(days=NIGHTS + WINDOW_DAYS - 1)
    return lambda: lift_looks(moments, plans, as_of_day=tonight)


def _profiles() -> pl.DataFrame:
    from pipeline.decisions.profile import FEATURES

    random = np.random.default_rng(17)
    counts = {name: random.integers(0, 40, SUBSCRIBERS) for name in FEATURES}
    opened = np.datetime64("2026-06-29", "us") - random.integers(0, 90, SUBSCRIBERS).astype("timedelta64[D]")
    plan = random.choice(["free", "basic", "pro"], SUBSCRIBERS)
    return pl.DataFrame({"subscriber_key": np.arange(SUBSCRIBERS), "plan": plan, "last_open_at": opened, **counts})


def _rule(number: int) -> dict[str, Any]:
    return {
        "all": [
            {"field": "plan", "operator": "in", "value": ["basic", "pro"]},
            {"field": "purchases", "operator": "greaterThan", "value": number},
            {"not": {"field": "last_open_at", "operator": "withinLast", "value": 30}},
        ]
    }


def _rules() -> Callable[[], object]:
    from pipeline.decisions.definitions import parse_rule
    from pipeline.decisions.rules import evaluate_rules

    people = _profiles()
    rules = [parse_rule(f"rule {number}", _rule(number)) for number in range(RULES)]
    return lambda: evaluate_rules(people, rules, NOW)


def _decisions() -> Callable[[], object]:
    from pipeline.decisions.definitions import Arm, DecisionPoint, parse_rule
    from pipeline.decisions.learning import fit_policy
    from pipeline.decisions.profile import FEATURES
    from pipeline.decisions.selection import decide

    people = _profiles()
    names = ("a", "b", "c")
    random = np.random.default_rng(18)
    log = people.head(20_000).with_columns(
        arm=pl.Series(random.choice(names, 20_000)),
        is_matured=pl.lit(True),
        outcome=pl.Series(random.random(20_000) < 0.1).cast(pl.Float64),
    )
    model = fit_policy(log, arms=names, features=FEATURES)
    arms = (Arm("a", parse_rule("rule", _rule(3))), Arm("b"), Arm("c"))
    points = [DecisionPoint(f"point {number}", arms, "c") for number in range(POINTS)]
    return lambda: [decide(people, point, model, now=NOW, as_of_day=TONIGHT) for point in points]


def row_by_row() -> Row:
    """P15: the compiled rules over everybody against the same rules asked one subscriber at a time in Python."""
    from tests.decisions.test_rules import judge_all

    compiled = _cpu_seconds("rules")
    people = _profiles().head(ASKED).to_dicts()
    started = time.process_time()
    for person in people:
        for number in range(RULES):
            judge_all(person, _rule(number))
    one_by_one = (time.process_time() - started) / ASKED * SUBSCRIBERS
    ratio = compiled / one_by_one
    measure = f"{RULES} rules over {SUBSCRIBERS:,} subscribers ({compiled:.2f} CPU-s) / row by row in Python"
    return Row("P15", measure, f"1/{1 / ratio:.0f}", "<= 1/50", ratio <= 1 / 50)


def _cpu_seconds(name: str) -> float:
    command = [sys.executable, "-m", "tests.acceptance.bench.analyses", name]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(json.loads(told.splitlines()[-1]))


TASKS: dict[str, tuple[str, str, float, Callable[[], Callable[[], object]]]] = {
    "send_times": ("P14", f"send times of {SUBSCRIBERS:,} subscribers with {SENDS} sends each", 20, _send_times),
    "funnel": ("P14", f"funnel of {SUBSCRIBERS:,} journeys", 3, _funnel),
    "anomalies": ("P14", f"{SERIES} series over {DAYS} nights, all of them scored anew", 0.5, _anomalies),
    "lifts": ("P14", f"{CHANGES:,} changes over {NIGHTS} nights, all of them judged anew", 1, _lifts),
    "decisions": ("P15", f"decisions of {SUBSCRIBERS:,} subscribers at {POINTS} decision points", 30, _decisions),
    "rules": ("P15", f"{RULES} rules over {SUBSCRIBERS:,} subscribers", 30, _rules),
}


if __name__ == "__main__":
    analyse = TASKS[sys.argv[1]][3]()
    analyse()
    started = time.process_time()
    analyse()
    print(json.dumps(time.process_time() - started))
