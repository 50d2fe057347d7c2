"""Where a typical drop-off would save the most goals: transitions ranked by avoidable loss.

Drop-off itself is estimated in `funnel.py`.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.analysis.statistics import Array, Mask
from pipeline.common.time import day_number
from pipeline.schemas import performance
from pipeline.schemas.base import conform

METHOD = "entrants x (drop-off - weighted median of other transitions) x downstream goals, posterior draws"
NO_COMPARISON = "no other transition to compare with"
NO_DOWNSTREAM = "not yet known what becomes of those who reach the next step"
GOALS, COMPLETIONS = "goals", "completions"
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
    credit_days: pl.DataFrame,
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
        credit_days: `reductions.credit_days`; conversions that come after a flow is completed stand only there.
        steps: `core.steps`.
        workflows: `core.workflows`.
        as_of: tonight.
        funnel_days: days of entry used.

    Returns:
        One row per transition with entrants, ranked over the account by avoidable loss = entrants x
        max(0, drop-off - benchmark) x P(goal | next step reached). The benchmark is the entrants-weighted median of
        the account's *other* transitions, each shrunk towards their mean. Downstream, goals inside the flow count, and
        in its last step those or the conversions credited to its messages, whichever are more. A workflow without goal
        event counts credited conversions in every step; one without those, too, counts who reaches the last step
        (`loss_unit`) and ranks behind the others. Interval and `first_rank_probability` come from seeded draws of
        every transition's (lost, advanced, goal) shares: a Dirichlet with the effective entrants of the funnel and
        Jeffreys' prior; the benchmark is held fixed.
    """
    transitions = funnel.filter(pl.col("entrants") > 0).sort("workflow_id", "from_step_id", "to_step_id")
    known = (transitions.get_column("status") == "ok").to_numpy()
    shares = transitions.select("drop_off_rate", "advance_rate", "goal_rate").to_numpy().astype(float)
    entrants = transitions.get_column("entrants").to_numpy().astype(float)
    facts = _step_facts(exit_days, credit_days, steps, workflows, day_number(as_of), funnel_days)
    graph = build_graph(transitions, facts)
    generator = np.random.default_rng(SEED)
    drawn = _draw_shares(generator, shares, transitions.get_column("effective_entrants").to_numpy().astype(float))
    benchmark = benchmarks(shares[:, 0], entrants)
    point_goal = goal_probabilities(graph, shares[None], graph.own_rates[None])[:, graph.target]
    drawn_goal = goal_probabilities(graph, drawn, _draw_own_rates(generator, graph))[:, graph.target]
    loss = (entrants * np.maximum(0.0, shares[:, 0] - benchmark) * point_goal)[0]
    losses = entrants * np.maximum(0.0, drawn[..., 0] - benchmark) * drawn_goal
    has_loss = ~np.isnan(loss)
    is_ranked = has_loss & (graph.has_goals[graph.source] | ~graph.has_goals[graph.source][has_loss].any())
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
            downstream_goal_probability=pl.Series(point_goal[0], nan_to_null=True, dtype=pl.Float64),
            avoidable_loss=pl.Series(loss, nan_to_null=True, dtype=pl.Float64),
            avoidable_loss_low=pl.Series(low, nan_to_null=True, dtype=pl.Float64),
            avoidable_loss_high=pl.Series(high, nan_to_null=True, dtype=pl.Float64),
            first_rank_probability=pl.Series(
                _first_rank(losses, is_ranked, has_loss), nan_to_null=True, dtype=pl.Float64
            ),
            loss_unit=pl.Series(np.where(graph.has_goals[graph.source], GOALS, COMPLETIONS), dtype=pl.String),
            status=pl.Series(status, dtype=pl.String),
            as_of_day=pl.lit(as_of),
            method=pl.lit(METHOD),
        )
        .sort(
            pl.col("loss_unit") == COMPLETIONS,
            "avoidable_loss",
            "drop_off_rate",
            "workflow_id",
            "from_step_id",
            "to_step_id",
            descending=[False, True, True, False, False, False],
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
    """Steps as numbers: ends and routing share of every transition, and what is reached in the steps themselves.

    Attributes:
        source: step left, by transition.
        target: step reached, by transition.
        route_share: share of the entrants of `source` routed to `target`.
        is_last: by step, whether no transition leaves it.
        goals: by step, goals or conversions reached in it beyond those of its transitions.
        visitors: by step, journeys in which they could be reached.
        has_goals: by step, whether its workflow counts goals or conversions; else reaching a last step counts.
        longest: steps of the longest workflow.
    """

    source: NDArray[np.int64]
    target: NDArray[np.int64]
    route_share: Array
    is_last: Mask
    goals: Array
    visitors: Array
    has_goals: Mask
    longest: int

    @property
    def own_rates(self) -> Array:
        """Share of visitors of each step who reach a goal in it; NaN where a last step had none."""
        rates = np.divide(self.goals, self.visitors, out=np.full(len(self.goals), np.nan), where=self.visitors > 0)
        return self.without_goals(rates)

    def without_goals(self, rates: Array) -> Array:
        """Rates by step (last axis), where reaching the last step is all that counts replaced by 1 and 0."""
        counted = np.where(self.has_goals, rates, self.is_last.astype(float))
        return np.where(self.is_last, counted, np.nan_to_num(counted))


def build_graph(transitions: pl.DataFrame, facts: pl.DataFrame) -> Graph:
    """Number the steps and join what happens in them.

    Args:
        transitions: rows of `marts.funnel` with entrants.
        facts: one row per step: `workflow_id`, `step_id`, `ended`, `goal_exits`, `conversions`, `has_goal_event`.
    """
    ends = transitions.select("workflow_id", "from_step_id", "to_step_id").rows()
    number = {step: index for index, step in enumerate(facts.select("workflow_id", "step_id").iter_rows())}
    source = np.array([number[flow, start] for flow, start, _ in ends], dtype=np.int64)
    entrants = transitions.get_column("entrants").to_numpy().astype(float)
    entered = np.bincount(source, entrants, minlength=facts.height)
    is_last = np.ones(facts.height, dtype=bool)
    is_last[source] = False
    has_event = facts.get_column("has_goal_event").to_numpy()
    credited = facts.get_column("conversions").to_numpy().astype(float)
    visitors = np.where(is_last, facts.get_column("ended").to_numpy().astype(float), entered)
    # Goals inside a flow stand in its transitions; conversions credited to the same messages would count them twice.
    in_flow = np.where(has_event, 0.0, credited)
    at_end = np.maximum(facts.get_column("goal_exits").to_numpy(), credited)
    has_goals = has_event | (facts.select(pl.col("conversions").sum().over("workflow_id")).to_series().to_numpy() > 0)
    return Graph(
        source=source,
        target=np.array([number[flow, end] for flow, _, end in ends], dtype=np.int64),
        route_share=entrants / entered[source],
        is_last=is_last,
        goals=np.minimum(np.where(is_last, at_end, in_flow), visitors),
        visitors=visitors,
        has_goals=has_goals,
        longest=max(facts.group_by("workflow_id").len().get_column("len"), default=0),
    )


def goal_probabilities(graph: Graph, shares: Array, own_rates: Array) -> Array:
    """P(goal | step entered), backwards from the last steps.

    Args:
        graph: the account's transitions.
        shares: draws x transitions x (lost, advanced, goal).
        own_rates: draws x steps: P(goal in the step itself).

    Returns:
        Draws x steps; NaN where nothing is known. Ways on of which nothing is known are left out of the average.
    """
    draws, steps = own_rates.shape
    value = np.where(graph.is_last, own_rates, 0.0)
    counted_goals = np.where(graph.has_goals[graph.source], shares[..., 2], 0.0)
    for _ in range(graph.longest):
        onward = np.where(shares[..., 1] > 0, shares[..., 1] * value[:, graph.target], 0.0 * shares[..., 1])
        reached = counted_goals + onward
        known = ~np.isnan(reached)
        total, weight = np.zeros((draws, steps)), np.zeros((draws, steps))
        for transition, source in enumerate(graph.source):
            share = graph.route_share[transition] * known[:, transition]
            total[:, source] += share * np.nan_to_num(reached[:, transition])
            weight[:, source] += share
        average = np.divide(total, weight, out=np.full((draws, steps), np.nan), where=weight > 0)
        value = np.where(graph.is_last, own_rates, np.minimum(1.0, own_rates + average))
    return value


def _step_facts(
    exit_days: pl.DataFrame,
    credit_days: pl.DataFrame,
    steps: pl.DataFrame,
    workflows: pl.DataFrame,
    tonight: int,
    funnel_days: int,
) -> pl.DataFrame:
    """One row per step: how many journeys ended there, how many with the goal, and the conversions credited to it."""
    is_recent = pl.col("day").is_between(tonight - funnel_days + 1, tonight)
    ended = (
        exit_days.filter(is_recent & (pl.col("outcome_day") <= tonight))
        .group_by("step_key")
        .agg(
            ended=pl.col("subscribers").sum(),
            goal_exits=pl.col("subscribers").filter(pl.col("exit_reason") == "goal").sum(),
        )
    )
    credited = (
        credit_days.filter(is_recent & (pl.col("view") == "report"))
        .group_by("step_key")
        .agg(pl.col("conversions").sum())
    )
    goals = workflows.select("workflow_key", has_goal_event=pl.col("goal_event_type").is_not_null())
    return (
        steps.select("step_key", "workflow_key", "workflow_id", "step_id")
        .join(ended, on="step_key", how="left")
        .join(credited, on="step_key", how="left")
        .join(goals, on="workflow_key", how="left")
        .with_columns(
            pl.col("ended", "goal_exits", "conversions").fill_null(0), pl.col("has_goal_event").fill_null(False)
        )
        .sort("workflow_id", "step_id")
    )


def _draw_shares(generator: np.random.Generator, shares: Array, effective: Array) -> Array:
    """Draws x transitions x (lost, advanced, goal) from Dirichlet posteriors; NaN where nothing is known."""
    weights = np.nan_to_num(effective[:, None] * shares, nan=1.0) + PRIOR
    gammas = generator.standard_gamma(weights, size=(DRAWS, *shares.shape))
    drawn = gammas / gammas.sum(axis=2, keepdims=True)
    # A way that nobody has gone to its end leads nowhere in any draw, as what would come after it is not known.
    drawn[..., 1] *= shares[:, 1] > 0
    return np.where(np.isnan(shares), np.nan, drawn)


def _draw_own_rates(generator: np.random.Generator, graph: Graph) -> Array:
    drawn = generator.beta(graph.goals + PRIOR, graph.visitors - graph.goals + PRIOR, size=(DRAWS, len(graph.goals)))
    # Inside a flow whose goals stand in its transitions there is nothing to draw.
    drawn = np.where(graph.is_last | (graph.goals > 0), drawn, 0.0)
    return graph.without_goals(np.where(graph.is_last & (graph.visitors == 0), np.nan, drawn))


def _first_rank(losses: Array, is_ranked: Mask, has_loss: Mask) -> Array:
    """Share of draws in which each transition has the largest loss above zero; NaN where it is not known."""
    if losses.shape[1] == 0:
        return np.zeros(0)
    comparable = np.where(is_ranked, losses, -1.0)
    first = np.argmax(comparable, axis=1)
    is_positive = comparable[np.arange(len(first)), first] > 0
    wins = np.bincount(first[is_positive], minlength=comparable.shape[1]) / len(first)
    return np.where(has_loss, wins, np.nan)
