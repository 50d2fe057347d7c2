"""Where a typical drop-off would save the most goals: transitions ranked by avoidable loss.

Drop-off itself is estimated in `funnel.py`.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.analysis.units import day_number
from pipeline.schemas import performance
from pipeline.schemas.base import conform

Array: TypeAlias = npt.NDArray[Any]

METHOD = "entrants x (drop-off - weighted median of other transitions) x downstream goals, posterior draws"
NO_COMPARISON = "no other transition to compare with"
NO_DOWNSTREAM = "not yet known what becomes of those who reach the next step"
DRAWS = 4000
# The draws are part of the method: equal input gives equal probabilities.
SEED = 20260101
# A transition's drop-off counts for the benchmark as if this many entrants had dropped off at the account's mean,
# so that a handful of entrants does not set the standard.
BENCHMARK_PSEUDO_ENTRANTS = 50.0
# Jeffreys' prior for shares.
PRIOR = 0.5


def bottlenecks(
    funnel: pl.DataFrame,
    exit_days: pl.DataFrame,
    steps: pl.DataFrame,
    workflows: pl.DataFrame,
    *,
    as_of: date,
    funnel_days: int,
) -> pl.DataFrame:
    """`marts.bottlenecks`.

    Args:
        funnel: `marts.funnel`.
        exit_days: `reductions.exit_days`; tells how many of those in a last step reach the goal there.
        steps: `core.steps`.
        workflows: `core.workflows`.
        as_of: tonight.
        funnel_days: days of entry used.

    Returns:
        One row per transition with entrants, ranked over the account by avoidable loss = entrants x
        max(0, drop-off - benchmark) x P(goal | next step reached). The benchmark is the entrants-weighted median of
        the account's *other* transitions, each shrunk towards their mean. Where a workflow has no goal, reaching its
        last step counts. Interval and `first_rank_probability` come from seeded draws of every transition's (lost,
        advanced, goal) shares: a Dirichlet with the effective entrants of the funnel and Jeffreys' prior; the
        benchmark is held fixed.
    """
    transitions = funnel.filter(pl.col("entrants") > 0).sort("workflow_id", "from_step_id", "to_step_id")
    known = (transitions.get_column("status") == "ok").to_numpy()
    graph = _graph(transitions, exit_days, steps, workflows, day_number(as_of), funnel_days)
    shares = transitions.select("drop_off_rate", "advance_rate", "goal_rate").to_numpy().astype(float)
    generator = np.random.default_rng(SEED)
    drawn = _draw_shares(generator, shares, transitions.get_column("effective_entrants").to_numpy().astype(float))
    entrants = transitions.get_column("entrants").to_numpy().astype(float)
    benchmark = benchmarks(shares[:, 0], entrants)
    point_goal = goal_probabilities(graph, shares[None], graph.last_rates[None])
    drawn_goal = goal_probabilities(graph, drawn, _draw_last_rates(generator, graph))
    loss = (entrants * np.maximum(0.0, shares[:, 0] - benchmark) * point_goal[:, graph.target])[0]
    losses = entrants * np.maximum(0.0, drawn[..., 0] - benchmark) * drawn_goal[:, graph.target]
    has_loss = ~np.isnan(loss)
    low, high = np.full(len(loss), np.nan), np.full(len(loss), np.nan)
    low[has_loss], high[has_loss] = np.quantile(losses[:, has_loss], [0.025, 0.975], axis=0)
    status = np.where(
        has_loss,
        "ok",
        np.where(~known, transitions["status"].to_numpy(), np.where(np.isnan(benchmark), NO_COMPARISON, NO_DOWNSTREAM)),
    )
    table = (
        transitions.select(
            "workflow_id",
            "from_step_id",
            "to_step_id",
            "entrants",
            "lost",
            "drop_off_rate",
            "drop_off_rate_low",
            "drop_off_rate_high",
        )
        .with_columns(
            benchmark_rate=pl.Series(benchmark, nan_to_null=True, dtype=pl.Float64),
            downstream_goal_probability=pl.Series(point_goal[0, graph.target], nan_to_null=True, dtype=pl.Float64),
            avoidable_loss=pl.Series(loss, nan_to_null=True, dtype=pl.Float64),
            avoidable_loss_low=pl.Series(low, nan_to_null=True, dtype=pl.Float64),
            avoidable_loss_high=pl.Series(high, nan_to_null=True, dtype=pl.Float64),
            first_rank_probability=pl.Series(_first_rank(losses, has_loss), nan_to_null=True, dtype=pl.Float64),
            status=pl.Series(status, dtype=pl.String),
            as_of_day=pl.lit(as_of),
            method=pl.lit(METHOD),
        )
        .sort(
            "avoidable_loss",
            "drop_off_rate",
            "workflow_id",
            "from_step_id",
            "to_step_id",
            descending=[True, True, False, False, False],
            nulls_last=True,
        )
        .with_columns(rank=pl.int_range(1, pl.len() + 1, dtype=pl.Int64))
    )
    return conform(table, performance.Bottlenecks)


def benchmarks(drop_off: Array, entrants: Array) -> Array:
    """For each transition the drop-off typical of the others: their entrants-weighted median after shrinkage.

    Args:
        drop_off: share lost by transition, NaN where not known.
        entrants: entrants by transition.

    Returns:
        Shares, 0-1; NaN where no other transition is known.
    """
    known = ~np.isnan(drop_off)
    result = np.full(len(drop_off), np.nan)
    if not known.any():
        return result
    mean = np.average(drop_off[known], weights=entrants[known])
    shrunk = (entrants * drop_off + BENCHMARK_PSEUDO_ENTRANTS * mean) / (entrants + BENCHMARK_PSEUDO_ENTRANTS)
    order = np.flatnonzero(known)[np.argsort(shrunk[known], kind="stable")]
    for transition in range(len(drop_off)):
        others = order[order != transition]
        if len(others):
            weight = np.cumsum(entrants[others])
            result[transition] = shrunk[others[np.searchsorted(weight, weight[-1] / 2)]]
    return result


@dataclass(frozen=True)
class Graph:
    """Steps as numbers: ends and routing share of every transition, and what happens in last steps.

    Attributes:
        source: step left, by transition.
        target: step reached, by transition.
        route_share: share of the entrants of `source` routed to `target`.
        is_last: by step, whether no transition leaves it.
        goals: by step, journeys that ended there with the goal.
        ended: by step, journeys that ended there.
        has_goal: by step, whether its workflow has a goal.
        longest: steps of the longest workflow.
    """

    source: Array
    target: Array
    route_share: Array
    is_last: Array
    goals: Array
    ended: Array
    has_goal: Array
    longest: int

    @property
    def last_rates(self) -> Array:
        """Share of goals among journeys that ended in each step, 1 where there is no goal, NaN where none ended."""
        with np.errstate(invalid="ignore"):
            return np.where(self.has_goal, self.goals / np.where(self.ended > 0, self.ended, np.nan), 1.0)


def goal_probabilities(graph: Graph, shares: Array, last_rates: Array) -> Array:
    """P(goal | step entered), backwards from the last steps.

    Args:
        graph: the account's transitions.
        shares: draws x transitions x (lost, advanced, goal).
        last_rates: draws x steps: P(goal) in last steps.

    Returns:
        Draws x steps; NaN where a step further on is not known.
    """
    value = np.where(graph.is_last, last_rates, 0.0)
    # A goal inside the flow counts where the workflow has one; else only reaching the end does.
    goal_here = shares[..., 2] * graph.has_goal[graph.source]
    for _ in range(graph.longest):
        reached = graph.route_share * (goal_here + shares[..., 1] * value[:, graph.target])
        onward = np.zeros_like(value)
        for transition, source in enumerate(graph.source):
            onward[:, source] += reached[:, transition]
        value = np.where(graph.is_last, last_rates, onward)
    return value


def _graph(
    transitions: pl.DataFrame,
    exit_days: pl.DataFrame,
    steps: pl.DataFrame,
    workflows: pl.DataFrame,
    tonight: int,
    funnel_days: int,
) -> Graph:
    ended = (
        exit_days.filter((pl.col("outcome_day") <= tonight) & (pl.col("day") > tonight - funnel_days))
        .group_by("step_key")
        .agg(
            ended=pl.col("subscribers").sum(),
            goals=pl.col("subscribers").filter(pl.col("exit_reason") == "goal").sum(),
        )
    )
    has_goal = workflows.select("workflow_key", has_goal=pl.col("goal_event_type").is_not_null())
    numbered = (
        steps.sort("workflow_id", "step_id")
        .with_row_index("number")
        .join(ended, on="step_key", how="left", maintain_order="left")
        .join(has_goal, on="workflow_key", how="left", maintain_order="left")
        .with_columns(pl.col("ended", "goals").fill_null(0), pl.col("has_goal").fill_null(False))
    )
    number = {(flow, step): index for flow, step, index in numbered.select("workflow_id", "step_id", "number").rows()}
    ends = transitions.select("workflow_id", "from_step_id", "to_step_id").rows()
    source = np.array([number[flow, start] for flow, start, _ in ends], dtype=np.int64)
    routed = transitions.select(
        pl.col("entrants") / pl.col("entrants").sum().over("workflow_id", "from_step_id")
    ).to_series()
    is_last = np.ones(numbered.height, dtype=bool)
    is_last[source] = False
    return Graph(
        source=source,
        target=np.array([number[flow, end] for flow, _, end in ends], dtype=np.int64),
        route_share=routed.to_numpy(),
        is_last=is_last,
        goals=numbered.get_column("goals").to_numpy().astype(float),
        ended=numbered.get_column("ended").to_numpy().astype(float),
        has_goal=numbered.get_column("has_goal").to_numpy(),
        longest=max(steps.group_by("workflow_id").len().get_column("len"), default=0),
    )


def _draw_shares(generator: np.random.Generator, shares: Array, effective: Array) -> Array:
    """Draws x transitions x (lost, advanced, goal) from Dirichlet posteriors; NaN where nothing is known."""
    weights = np.nan_to_num(effective[:, None] * shares, nan=1.0) + PRIOR
    gammas = generator.standard_gamma(weights, size=(DRAWS, *shares.shape))
    drawn = gammas / gammas.sum(axis=2, keepdims=True)
    return np.where(np.isnan(shares), np.nan, drawn)


def _draw_last_rates(generator: np.random.Generator, graph: Graph) -> Array:
    drawn = generator.beta(graph.goals + PRIOR, graph.ended - graph.goals + PRIOR, size=(DRAWS, len(graph.goals)))
    return np.where(graph.has_goal, np.where(graph.ended > 0, drawn, np.nan), 1.0)


def _first_rank(losses: Array, has_loss: Array) -> Array:
    """Share of draws in which each transition has the largest loss above zero; NaN where it is not known."""
    comparable = np.where(has_loss, losses, -1.0)
    if comparable.shape[1] == 0:
        return np.zeros(0)
    first = np.argmax(comparable, axis=1)
    is_positive = comparable[np.arange(len(first)), first] > 0
    wins = np.bincount(first[is_positive], minlength=comparable.shape[1]) / len(first)
    return np.where(has_loss, wins, np.nan)
