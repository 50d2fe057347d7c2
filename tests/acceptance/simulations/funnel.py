"""Acceptance simulation of drop-off and bottlenecks: growing intake, goals, losses, a branch, a delay that changes."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.analysis.performance.bottlenecks import bottlenecks
from pipeline.analysis.performance.funnel import funnel
from pipeline.common.time import numbered_day
from pipeline.schemas import core, reductions
from pipeline.schemas.base import empty
from tests.acceptance.simulations import Check

WORKFLOW, WORKFLOW_KEY = "flow", 1
DAYS = 120
TONIGHT = 20_000
AS_OF = numbered_day(TONIGHT)
FIRST_DAY = TONIGHT - DAYS + 1
GROWTH = 1.03
FIRST_INTAKE = 40
NEW_DELAY_DAY = 80
REPETITIONS = 300
GOAL_IN_LAST_STEP = 0.25


@dataclass(frozen=True)
class Transition:
    """A way from one step to the next, and what becomes of those who take it: true shares and days."""

    source: int
    target: int
    share: float
    wait_days: tuple[int, int]
    lost: float
    goal: float
    grace_days: int = 2

    def chances(self, version: int) -> tuple[list[tuple[str, int]], np.ndarray]:
        """Every (outcome, days since entry) and its probability; half of the lost stay behind until the deadline."""
        wait = self.wait_days[version - 1]
        deadline = wait + self.grace_days
        cells: list[tuple[str, int]] = [("timeout", deadline)]
        chance = [self.lost / 2]
        for outcome, total, first, last in (
            ("lost", self.lost / 2, 0, deadline - 1),
            ("goal", self.goal, 0, wait),
            ("advanced", 1 - self.lost - self.goal, wait, deadline - 1),
        ):
            days = range(first, last + 1)
            cells += [(outcome, day) for day in days]
            chance += [total / len(days)] * len(days)
        return cells, np.array(chance)


@dataclass(frozen=True)
class World:
    """A flow of five levels with a branch in the middle; `worst` is the transition that loses most on purpose."""

    transitions: tuple[Transition, ...]
    worst: int

    @classmethod
    def draw(cls, generator: np.random.Generator) -> "World":
        """Ordinary transitions lose 6-12%; the worst one, at any place but the smaller branch, 30%."""
        ends = [(1, 2, 1.0), (2, 3, 0.65), (2, 4, 0.35), (3, 5, 1.0), (4, 5, 1.0), (5, 6, 1.0)]
        worst = int(generator.choice([0, 1, 3, 5]))
        transitions = []
        for number, (source, target, share) in enumerate(ends):
            wait = int(generator.integers(1, 9))
            lost = 0.30 if number == worst else float(generator.uniform(0.06, 0.12))
            goal = float(generator.uniform(0.02, 0.06))
            transitions.append(Transition(source, target, share, (wait, max(1, wait // 2)), lost, goal))
        return cls(tuple(transitions), worst)


def simulate(world: World, generator: np.random.Generator) -> pl.DataFrame:
    """One account's `reductions.funnel_transitions`, with the outcomes that lie after tonight standing as timeouts."""
    parts = []
    arrivals = np.zeros((7, 2 * DAYS), dtype=np.int64)
    arrivals[1, :DAYS] = generator.poisson(FIRST_INTAKE * GROWTH ** np.arange(DAYS))
    for source in range(1, 6):
        onward = [way for way in world.transitions if way.source == source]
        routed = generator.multinomial(arrivals[source, :DAYS], [way.share for way in onward])
        for way, entrants in zip(onward, routed.T, strict=True):
            for version, days in ((1, np.arange(NEW_DELAY_DAY)), (2, np.arange(NEW_DELAY_DAY, DAYS))):
                cells, chances = way.chances(version)
                people = generator.multinomial(entrants[days], chances)
                for (outcome, elapsed), counts in zip(cells, people.T, strict=True):
                    if outcome == "advanced":
                        arrivals[way.target, days + elapsed] += counts
                parts.append(_rows(way, version, days, cells, people))
    frame = pl.concat(parts).filter(pl.col("subscribers") > 0)
    return frame.group_by(pl.exclude("subscribers")).agg(pl.col("subscribers").sum())


def _rows(
    way: Transition, version: int, days: np.ndarray, cells: list[tuple[str, int]], people: np.ndarray
) -> pl.DataFrame:
    """Rows of one transition and version; until it comes, an outcome looks like a timeout at the deadline."""
    day = np.repeat(days, len(cells))
    outcome = np.tile([name for name, _ in cells], len(days))
    elapsed = np.tile([number for _, number in cells], len(days))
    is_later = day + elapsed >= DAYS
    return pl.DataFrame(
        {
            "day": FIRST_DAY + day,
            "outcome": np.where(is_later, cells[0][0], outcome),
            "elapsed_days": np.where(is_later, cells[0][1], elapsed),
            "subscribers": people.ravel(),
        }
    ).with_columns(
        workflow_key=pl.lit(WORKFLOW_KEY, pl.Int64),
        from_step_key=pl.lit(way.source, pl.Int64),
        to_step_key=pl.lit(way.target, pl.Int64),
        delay_version=pl.lit(version, pl.Int64),
    )


def dimensions() -> tuple[pl.DataFrame, pl.DataFrame]:
    """`core.workflows` and `core.steps` of the world."""
    steps = pl.DataFrame(
        {
            "step_key": range(1, 7),
            "workflow_key": [WORKFLOW_KEY] * 6,
            "workflow_id": [WORKFLOW] * 6,
            "step_id": [str(number) for number in range(1, 7)],
        }
    )
    workflows = pl.DataFrame({"workflow_key": [WORKFLOW_KEY], "goal_event_type": ["purchase"]})
    return workflows, steps


def last_step_exits(generator: np.random.Generator) -> pl.DataFrame:
    """`reductions.exit_days` of the last step."""
    ended = 2_000
    goals = int(generator.binomial(ended, GOAL_IN_LAST_STEP))
    return pl.DataFrame(
        {
            "step_key": [6, 6],
            "day": [FIRST_DAY] * 2,
            "outcome_day": [FIRST_DAY] * 2,
            "exit_reason": ["goal", "completed"],
            "subscribers": [goals, ended - goals],
        }
    )


def run(scale: float = 1.0, seed: int = 61) -> list[Check]:
    """Bias and coverage of the drop-off, and how often the planted bottleneck comes first."""
    generator = np.random.default_rng(seed)
    workflows, steps = dimensions()
    errors, covered, found = [], [], []
    for _ in range(max(10, round(REPETITIONS * scale))):
        world = World.draw(generator)
        transitions = simulate(world, generator)
        rows = funnel(
            transitions,
            empty(reductions.TransitionHours),
            steps,
            empty(core.CoreEdges),
            as_of=AS_OF,
            funnel_days=DAYS,
        )
        truth = pl.DataFrame(
            {
                "from_step_id": [str(way.source) for way in world.transitions],
                "to_step_id": [str(way.target) for way in world.transitions],
                "truth": [way.lost for way in world.transitions],
            }
        )
        held = rows.join(truth, on=["from_step_id", "to_step_id"], validate="1:1")
        errors.append((held["drop_off_rate"] - held["truth"]).to_numpy())
        covered.append(held["truth"].is_between(held["drop_off_rate_low"], held["drop_off_rate_high"]).to_numpy())
        ranked = bottlenecks(
            rows,
            last_step_exits(generator),
            empty(reductions.CreditDays),
            steps,
            workflows,
            as_of=AS_OF,
            funnel_days=DAYS,
        ).row(0, named=True)
        worst = world.transitions[world.worst]
        found.append((ranked["from_step_id"], ranked["to_step_id"]) == (str(worst.source), str(worst.target)))
    error, cover, right = np.array(errors), np.array(covered), np.array(found)
    bias = error.mean(axis=0)
    largest = int(np.argmax(np.abs(bias)))
    return [
        Check(
            "|bias| of the drop-off, worst transition",
            float(np.abs(bias[largest])),
            0.002,
            "<=",
            float(error[:, largest].std() / np.sqrt(len(error))),
        ),
        Check("coverage of its interval", float(cover.mean()), 0.90, ">=", _se(cover)),
        Check("right bottleneck first", float(right.mean()), 0.99, ">=", _se(right)),
    ]


def _se(flags: np.ndarray) -> float:
    share = float(flags.mean())
    return float(np.sqrt(share * (1 - share) / flags.size))
