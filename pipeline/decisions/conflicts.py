"""Conflicts between workflows of one subscriber: found tonight, replayed over the past, and caps of a local day.

Decisions inside a workflow are in `selection`. Quiet hours belong to send times.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from pipeline.schemas.vocabulary import ConflictSeverity, Resolution

REPLAY_DAYS = 30
METHOD = "category rules, priority"


@dataclass(frozen=True)
class ConflictRule:
    """What happens if a subscriber is in workflows of two categories. The order of the categories does not matter."""

    category: str
    other_category: str
    conflict_type: str
    severity: ConflictSeverity
    description: str
    resolution: Resolution


def workflow_conflicts(
    active: pl.DataFrame, workflows: pl.DataFrame, rules: list[ConflictRule], *, as_of_day: date
) -> pl.DataFrame:
    """Every pair of active workflows of a subscriber for which there is a conflict rule.

    Args:
        active: one row per subscriber and active workflow: `subscriber_key`, `workflow_id`, `entered_day`.
        workflows: `workflow_id`, `name`, `category` (null = no conflicts), `priority` (the higher one prevails).
        rules: conflict rules. Two rules for one pair of categories give two conflicts.
        as_of_day: tonight.

    Returns:
        Rows of `schemas.decisions.WorkflowConflicts`: `workflow_id` yields to `prevailing_workflow_id`. If priorities
        are equal, the workflow that was entered first prevails, so that nobody is taken out of a workflow.
    """
    pairs = _pairs(active, workflows, rules)
    return pairs.select(*_SUBSCRIBER_COLUMNS, as_of_day=pl.lit(as_of_day, dtype=pl.Date), method=pl.lit(METHOD)).sort(
        "subscriber_key", "workflow_id", "prevailing_workflow_id", "conflict_type"
    )


def proposed_conflicts(
    active: pl.DataFrame,
    workflows: pl.DataFrame,
    rules: list[ConflictRule],
    *,
    proposed_workflow_id: str,
    audience: pl.DataFrame,
    as_of_day: date,
) -> pl.DataFrame:
    """The conflicts that would arise if a workflow were started tonight.

    Args:
        active, workflows, rules, as_of_day: as for `workflow_conflicts`.
        proposed_workflow_id: the workflow to start. It must be in `workflows`.
        audience: `subscriber_key` of those who would enter. Those who are in it already are left out.

    Returns:
        As `workflow_conflicts`, but only conflicts of the proposed workflow.

    Raises:
        ValueError: the proposed workflow is not in `workflows`.
    """
    if proposed_workflow_id not in workflows["workflow_id"]:
        raise ValueError(f"workflow '{proposed_workflow_id}' is not in flows.yaml. Add it there before checking it.")
    inside = active.filter(pl.col("workflow_id") == proposed_workflow_id)
    entering = audience.join(inside, on="subscriber_key", how="anti").select(
        "subscriber_key",
        workflow_id=pl.lit(proposed_workflow_id),
        entered_day=pl.lit(as_of_day, dtype=pl.Date),
    )
    concerned = active.join(entering, on="subscriber_key", how="semi").select(entering.columns)
    found = workflow_conflicts(pl.concat([concerned, entering]), workflows, rules, as_of_day=as_of_day)
    return found.filter(
        (pl.col("workflow_id") == proposed_workflow_id) | (pl.col("prevailing_workflow_id") == proposed_workflow_id)
    )


def conflict_replay(
    memberships: pl.DataFrame, workflows: pl.DataFrame, rules: list[ConflictRule], *, as_of_day: date
) -> pl.DataFrame:
    """What would have collided in the past 30 days under these rules.

    Args:
        memberships: one row per stay: `subscriber_key`, `workflow_id`, `entered_day`, `exited_day` (null while in it).
        workflows, rules: as for `workflow_conflicts`.
        as_of_day: tonight, the last day that is replayed.

    Returns:
        Rows of `schemas.decisions.ConflictReplay`, one per pair of workflows and rule.
    """
    first = as_of_day - timedelta(days=REPLAY_DAYS - 1)
    window = memberships.with_columns(
        last_day=pl.min_horizontal(pl.col("exited_day").fill_null(as_of_day), pl.lit(as_of_day))
    ).filter((pl.col("last_day") >= first) & (pl.col("entered_day") <= as_of_day))
    return (
        _pairs(window, workflows, rules)
        .with_columns(
            collision_first=pl.max_horizontal("entered_day", "prevailing_entered_day", pl.lit(first)),
            collision_last=pl.min_horizontal("last_day", "prevailing_last_day"),
        )
        .filter(pl.col("collision_first") <= pl.col("collision_last"))
        .group_by("workflow_id", "prevailing_workflow_id", "conflict_type", "severity", "description", "resolution")
        .agg(
            subscribers=pl.col("subscriber_key").n_unique().cast(pl.Int64),
            collisions=pl.len().cast(pl.Int64),
            collision_days=((pl.col("collision_last") - pl.col("collision_first")).dt.total_days() + 1).sum(),
            first_day=pl.col("collision_first").min(),
            last_day=pl.col("collision_last").max(),
        )
        .with_columns(as_of_day=pl.lit(as_of_day, dtype=pl.Date), method=pl.lit(f"{METHOD}, {REPLAY_DAYS} days"))
        .sort("workflow_id", "prevailing_workflow_id", "conflict_type")
    )


def cap_sends(sends: pl.DataFrame, workflows: pl.DataFrame, *, daily_cap: int) -> pl.DataFrame:
    """Keep at most `daily_cap` messages per subscriber and local day: those of the highest priority.

    Args:
        sends: planned messages: `subscriber_key`, `workflow_id`, `step_id`, `local_day` (Date), `planned_at`.
        workflows: `workflow_id`, `priority`.
        daily_cap: messages allowed per local day, at least 1.

    Returns:
        The sends with `is_capped`, `resolved_local_day` and `reason` (null if the message is sent as planned). A
        message that does not fit moves to the next local day with room. There it precedes messages of lower priority.
    """
    waiting = (
        sends.join(workflows.select("workflow_id", "priority"), on="workflow_id", how="left")
        .with_columns(pl.col("priority").fill_null(0), resolved_local_day=pl.col("local_day"))
        .with_row_index("send")
    )
    settled: list[pl.DataFrame] = []
    while not waiting.is_empty():
        ranked = waiting.with_columns(
            place=pl.struct(-pl.col("priority"), "planned_at", "send")
            .rank("ordinal")
            .over("subscriber_key", "resolved_local_day")
        )
        # Only the first day of a subscriber is settled: a message of an earlier day could still move into the others.
        is_first = pl.col("resolved_local_day") == pl.col("resolved_local_day").min().over("subscriber_key")
        fits = pl.col("place") <= daily_cap
        settled.append(ranked.filter(is_first & fits).drop("place"))
        pushed = (
            pl.when(is_first).then(pl.col("resolved_local_day") + pl.duration(days=1)).otherwise("resolved_local_day")
        )
        waiting = ranked.filter(~(is_first & fits)).with_columns(resolved_local_day=pushed).drop("place")
    is_capped = pl.col("resolved_local_day") != pl.col("local_day")
    return (
        pl.concat(settled or [waiting])
        .sort("send")
        .with_columns(
            is_capped=is_capped,
            reason=pl.when(is_capped).then(
                pl.format(
                    "cap of {} a local day: messages of higher priority or planned earlier go first", pl.lit(daily_cap)
                )
            ),
        )
        .select(*sends.columns, "is_capped", "resolved_local_day", "reason")
    )


_SUBSCRIBER_COLUMNS = (
    "subscriber_key",
    "workflow_id",
    "prevailing_workflow_id",
    "conflict_type",
    "severity",
    "description",
    "resolution",
    "reason",
)


def _pairs(memberships: pl.DataFrame, workflows: pl.DataFrame, rules: list[ConflictRule]) -> pl.DataFrame:
    """Pairs of memberships of one subscriber under a rule, the yielding one first."""
    known = memberships.join(
        workflows.select("workflow_id", "name", "category", "priority").filter(pl.col("category").is_not_null()),
        on="workflow_id",
    )
    columns = [name for name in known.columns if name != "subscriber_key"]
    other = known.rename({name: f"prevailing_{name}" for name in columns})
    yields = (
        (pl.col("priority") < pl.col("prevailing_priority"))
        | (
            (pl.col("priority") == pl.col("prevailing_priority"))
            & (pl.col("entered_day") > pl.col("prevailing_entered_day"))
        )
        | (
            (pl.col("priority") == pl.col("prevailing_priority"))
            & (pl.col("entered_day") == pl.col("prevailing_entered_day"))
            & (pl.col("workflow_id") > pl.col("prevailing_workflow_id"))
        )
    )
    why = (
        pl.when(pl.col("priority") < pl.col("prevailing_priority"))
        .then(pl.format("priority {} is below {}", "priority", "prevailing_priority"))
        .when(pl.col("entered_day") > pl.col("prevailing_entered_day"))
        .then(pl.format("equal priority {}, entered later", "priority"))
        .otherwise(pl.format("equal priority {} and day of entry, later in the alphabet", "priority"))
    )
    return (
        known.join(_rule_frame(rules), on="category")
        .join(other, on=["subscriber_key", "prevailing_category"])
        .filter((pl.col("workflow_id") != pl.col("prevailing_workflow_id")) & yields)
        .with_columns(reason=pl.format("{}: '{}' against '{}', {}", "resolution", "name", "prevailing_name", why))
    )


def _rule_frame(rules: list[ConflictRule]) -> pl.DataFrame:
    """Both directions of every rule."""
    rows = {
        (category, other, rule.conflict_type, rule.severity, rule.description, rule.resolution)
        for rule in rules
        for category, other in ((rule.category, rule.other_category), (rule.other_category, rule.category))
    }
    names = ("category", "prevailing_category", "conflict_type", "severity", "description", "resolution")
    return pl.DataFrame(sorted(rows), schema=dict.fromkeys(names, pl.String), orient="row")
