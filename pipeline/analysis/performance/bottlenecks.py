"""Where a typical drop-off would save the most goals: transitions ranked by avoidable loss.

The drop-off itself is estimated in `funnel`.
"""

from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.analysis.statistics import Array, Mask
from pipeline.common.time import day_number, is_recent
from pipeline.schemas import performance
from pipeline.schemas.base import conform

METHOD = "entrants x (drop-off - weighted median of other transitions) x downstream goals, posterior draws"
NO_COMPARISON = "no other transition to compare with"
NO_DOWNSTREAM = "not yet known what becomes of those who reach the next step"
GOALS, COMPLETIONS = "goals", "completions"
DRAWS = 4000
# A fixed seed, so that equal input gives equal probabilities.
SEED = 20260101
# For the benchmark, every transition counts as if this many more entrants had dropped off at the account's mean rate,
# so that a transition with a handful of entrants does not set the standard.
BENCHMARK_PSEUDO_ENTRANTS = 50.0
# Jeffreys' prior of a share.
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
    """`marts.bottlenecks`, from `marts.funnel`, the exits and credits in `reductions`, and `core.steps` and workflows.

    Args:
        exit_days: `reductions.exit_days`, which tells how many of those in a last step reach the goal there.
        credit_days: `reductions.credit_days`. Conversions after the end of a workflow are found only here.
        funnel_days: days of entry used, tonight included.

    Returns:
        One row per transition with entrants, ranked over the account by `avoidable_loss`, the goals that a typical
        drop-off would have saved in this period: entrants x max(0, drop-off - benchmark) x P(goal | next step reached).

    The benchmark is the entrants-weighted median of the account's other transitions, each shrunk towards their mean.
    P(goal) counts goals inside the workflow; in its last step it counts those or the conversions credited to its
    messages, whichever are more. A workflow without a goal event counts credited conversions in every step. A workflow
    without those, too, counts who reaches its last step (`loss_unit` says so) and ranks below the others. The interval
    and `first_rank_probability` come from 4,000 draws of the shares (lost, advanced, goal) of every transition, from a
    Dirichlet distribution with the effective entrants of the funnel and Jeffreys' prior. The benchmark is held fixed.
    """
    transitions = funnel.filter(pl.col("entrants") > 0).sort("workflow_id", "from_step_id", "to_step_id")
    known = (transitions.get_column("status") == "ok").to_numpy()
    shares = transitions.select("drop_off_rate", "advance_rate", "goal_rate").to_numpy().astype(float)
    entrants = transitions.get_column("entrants").to_numpy().astype(float)
    facts = _step_facts(exit_days, credit_days, steps, workflows, as_of, funnel_days)
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
    # Where nobody was lost at all, every draw lies above the estimate, which is zero.
    low, high = np.fmin(low, loss), np.fmax(high, loss)
    status = np.where(
        has_loss,
        "ok",
        np.where(~known, transitions["status"].to_numpy(), np.where(np.isnan(benchmark), NO_COMPARISON, NO_DOWNSTREAM)),
    )
    numbers = {
        "benchmark_rate": benchmark,
        "downstream_goal_probability": point_goal[0],
        "avoidable_loss": loss,
        "avoidable_loss_low": low,
        "avoidable_loss_high": high,
        "first_rank_probability": _first_rank(losses, is_ranked, has_loss),
    }
    table = (
        transitions.with_columns(pl.Series(name, values).fill_nan(None) for name, values in numbers.items())
        .with_columns(
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
    """For each transition the drop-off that is typical of the others: their entrants-weighted median after shrinkage.

    Args:
        drop_off: share lost of each transition; NaN where it is not known.
        entrants: entrants of each transition.

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
    """The account's steps, numbered: both ends of every transition, and what is reached in the steps themselves.

    Attributes:
        source: for each transition, the step that it leaves.
        target: for each transition, the step that it reaches.
        route_share: for each transition, the share of the entrants of `source` that are routed to `target`.
        is_last: for each step, whether no transition leaves it.
        goals: for each step, the goals or conversions reached in it beyond those of its transitions.
        visitors: for each step, the journeys in which they could be reached.
        has_goals: for each step, whether its workflow counts goals or conversions; if not, reaching a last step counts.
        longest: number of steps of the longest workflow.
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
        """Share of the visitors of each step who reach a goal in it; NaN for a last step without visitors."""
        rates = np.divide(self.goals, self.visitors, out=np.full(len(self.goals), np.nan), where=self.visitors > 0)
        return self.without_goals(rates)

    def without_goals(self, rates: Array) -> Array:
        """The rates by step (last axis); where only reaching a last step counts, 1 for last steps and 0 for others."""
        counted = np.where(self.has_goals, rates, self.is_last.astype(float))
        return np.where(self.is_last, counted, np.nan_to_num(counted))


def build_graph(transitions: pl.DataFrame, facts: pl.DataFrame) -> Graph:
    """Number the steps and attach what happens in them.

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
    # Goals inside a workflow are counted by its transitions; credited conversions would count them a second time.
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
    """P(goal | step entered), computed backwards from the last steps.

    Args:
        graph: the account's transitions.
        shares: draws x transitions x (lost, advanced, goal).
        own_rates: draws x steps: P(goal in the step itself).

    Returns:
        Draws x steps; NaN where nothing is known. Transitions of which nothing is known are left out of the average.
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
    as_of: date,
    funnel_days: int,
) -> pl.DataFrame:
    """One row per step: how many journeys ended there, how many with the goal, and the conversions credited to it."""
    recent = is_recent(as_of, funnel_days)
    ended = (
        exit_days.filter(recent & (pl.col("outcome_day") <= day_number(as_of)))
        .group_by("step_key")
        .agg(
            ended=pl.col("subscribers").sum(),
            goal_exits=pl.col("subscribers").filter(pl.col("exit_reason") == "goal").sum(),
        )
    )
    credited = (
        credit_days.filter(recent & (pl.col("view") == "report")).group_by("step_key").agg(pl.col("conversions").sum())
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
    # A transition that nobody has completed leads nowhere in any draw, because what comes after it is not known.
    drawn[..., 1] *= shares[:, 1] > 0
    return np.where(np.isnan(shares), np.nan, drawn)


def _draw_own_rates(generator: np.random.Generator, graph: Graph) -> Array:
    drawn = generator.beta(graph.goals + PRIOR, graph.visitors - graph.goals + PRIOR, size=(DRAWS, len(graph.goals)))
    # Where the transitions of a workflow count its goals, there is nothing to draw.
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
