"""Names that match nothing, in the event files and in the user's definitions, each with the nearest known one.

Nothing is refused here. Who writes `Onboarding` for `onboarding` is told, because such an event counts for no workflow.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from pipeline.common.errors import scrub
from pipeline.common.names import with_nearest
from pipeline.common.rates import WATCHED_RATES, WATCHED_VOLUMES
from pipeline.common.time import day_number
from pipeline.config.constraints import CONSTRAINTS_FILE, load_constraints
from pipeline.config.decisions import RULES_FILE, load_decisions
from pipeline.config.flow_map import load_flow_map
from pipeline.config.holdouts import HOLDOUTS_FILE, load_holdouts
from pipeline.config.mutes import MUTES_FILE, load_mutes
from pipeline.decisions.profile import merge_field_names, profile_schema
from pipeline.decisions.rules import compile_rule
from pipeline.events.reading import unread_files
from pipeline.events.rows import MEANINGFUL_TYPES, MISSING
from pipeline.lake.store import Lake
from pipeline.published.reader import Tables
from pipeline.schemas.base import identity
from pipeline.schemas.lake import Events, Members, Quarantine
from pipeline.settings import Settings

NIGHTS = 28
"""Nights for which an event that names what is unknown is told after it was read."""

NAMES_SHOWN = 5
"""Unknown names told in the morning; the doctor tells all."""

STRANGER = "a subscriber who is no member"


@dataclass(frozen=True)
class EventNames:
    """What events of the last nights name that is unknown.

    Attributes:
        events: events that name anything unknown.
        found: for each unknown name the number of its events and the name in words, the most frequent first and
            strangers last.
    """

    events: int
    found: tuple[tuple[int, str], ...]


def unknown_in_events(lake: Lake, tables: Tables) -> EventNames:
    """Workflows, steps, types and subscribers that events name and that are unknown.

    Subscribers are counted and not named: their addresses are not kept with the events.

    Args:
        lake: events, members, and rows set aside.
        tables: the standing publication, whose workflows, steps, goals and triggers are the known ones.
    """
    tonight = day_number(date.fromisoformat(tables["manifest"].item(0, "as_of")))
    is_recent = pl.col("as_of_day").is_between(tonight - NIGHTS + 1, tonight)
    members = lake.scan(Members).select("subscriber_key", is_member=pl.lit(True)).unique()
    workflows = tables["workflows"].select("workflow_id", knows_workflow=pl.lit(True))
    steps = tables["steps"].select("workflow_id", "step_id", knows_step=pl.lit(True))
    used = [tables["workflows"][name].drop_nulls() for name in ("goal_event_type", "trigger")]
    types = {*MEANINGFUL_TYPES, *used[0], *used[1]}
    named = (
        lake.scan(Events)
        .filter(is_recent)
        .join(members, on="subscriber_key", how="left")
        .group_by("workflow_id", "step_id", "event_type", "is_member")
        .agg(events=pl.len())
        .collect()
        .join(workflows, on="workflow_id", how="left")
        .join(steps, on=["workflow_id", "step_id"], how="left")
        .with_columns(
            no_workflow=pl.col("workflow_id").is_not_null() & pl.col("knows_workflow").is_null(),
            no_step=pl.col("step_id").is_not_null() & pl.col("knows_workflow") & pl.col("knows_step").is_null(),
            no_type=~pl.col("event_type").is_in(types),
            no_member=pl.col("is_member").is_null(),
        )
    )
    set_aside = (
        lake.scan(Quarantine)
        .filter(is_recent & (pl.col("source") == identity(Events).name) & (pl.col("field") == "subscriber"))
        .filter(pl.col("reason") != MISSING)
        .group_by("reason")
        .agg(events=pl.len())
        .collect()
    )
    is_unknown = pl.any_horizontal("no_workflow", "no_step", "no_type", "no_member")
    events = sum(named.filter(is_unknown)["events"]) + sum(set_aside["events"])
    found = [*_in_words(named, tables, types)]
    found += [(rows, f"a subscriber that {reason.partition(':')[0]}") for reason, rows in set_aside.iter_rows()]
    return EventNames(events, tuple(sorted(found, key=lambda one: (one[1] == STRANGER, -one[0], one[1]))))


def _in_words(named: pl.DataFrame, tables: Tables, types: set[str]) -> Iterator[tuple[int, str]]:
    """The number of events for each unknown name, and the name in words."""
    workflows, steps = tables["workflows"]["workflow_id"].to_list(), tables["steps"]
    for workflow, events in _counts(named.filter("no_workflow"), "workflow_id"):
        yield events, f"the workflow {with_nearest(workflow, workflows)}"
    for workflow, step, events in _counts(named.filter("no_step"), "workflow_id", "step_id"):
        known = steps.filter(pl.col("workflow_id") == workflow)["step_id"].to_list()
        yield events, f"the step {with_nearest(step, known)} of {workflow}"
    for event_type, events in _counts(named.filter("no_type"), "event_type"):
        yield events, f"the type {with_nearest(event_type, types)}"
    if strangers := sum(named.filter("no_member")["events"]):
        yield strangers, STRANGER


def _counts(named: pl.DataFrame, *names: str) -> Iterator[tuple[Any, ...]]:
    return named.group_by(*names).agg(pl.col("events").sum()).iter_rows()


def event_line(settings: Settings, tables: Tables) -> str | None:
    """What the morning says of the event files; none if all is well."""
    lake = Lake(settings.lake_dir)
    unread, names = unread_files(lake), unknown_in_events(lake, tables)
    told = []
    if unread:
        name, fault = next(iter(unread.items()))
        number = "1 file" if len(unread) == 1 else f"{len(unread):,} files"
        told.append(f"{number} could not be read: {scrub(name)} {fault}")
    if names.events:
        shown = ", ".join(f"{events:,} {what}" for events, what in names.found[:NAMES_SHOWN])
        more = " and more (driptune doctor)" if len(names.found) > NAMES_SHOWN else ""
        told.append(f"{_naming(names.events)} what is unknown: {shown}{more}")
    return "; ".join(told) or None


def event_findings(settings: Settings, tables: Tables) -> list[tuple[bool, str]]:
    """What the doctor says of the event files."""
    lake = Lake(settings.lake_dir)
    unread = [(False, f"events: {scrub(name)} {fault}") for name, fault in unread_files(lake).items()]
    named = [
        # Who is no member may still be a customer.
        (what == STRANGER, f"events: in {NIGHTS} nights {_naming(events)} {what}")
        for events, what in unknown_in_events(lake, tables).found
    ]
    return [*unread, *named]


def definition_findings(settings: Settings, tables: Tables) -> list[tuple[bool, str]]:
    """What the doctor says of names in the definitions that match nothing."""
    flows = load_flow_map(settings.definitions).flows
    campaigns = set(tables["workflows"].filter(pl.col("kind") == "campaign")["workflow_id"])
    workflows = {*tables["workflows"]["workflow_id"], *(flow.id for flow in flows)}
    steps = {*tables["steps"].select("workflow_id", "step_id").rows()}
    steps |= {(flow.id, step.id) for flow in flows for step in flow.steps}
    problems = [
        *_unknown_in_constraints(settings, workflows, steps),
        *_unknown_in_holdouts(settings, workflows - campaigns),
        *_unknown_in_mutes(settings, workflows, steps),
        *_unknown_in_rules(settings, sorted(workflows - campaigns)),
    ]
    return [(False, problem) for problem in problems]


def _unknown_in_constraints(settings: Settings, workflows: set[str], steps: set[tuple[str, str]]) -> Iterator[str]:
    for limits in load_constraints(settings.definitions).workflows:
        if limits.id not in workflows:
            yield f"{CONSTRAINTS_FILE}: there is no workflow {with_nearest(limits.id, workflows)}"
            continue
        known = {step for workflow, step in steps if workflow == limits.id}
        for one in limits.steps:
            if one.id not in known:
                yield f"{CONSTRAINTS_FILE}: there is no step {with_nearest(one.id, known)} of {limits.id}"


def _unknown_in_holdouts(settings: Settings, workflows: set[str]) -> Iterator[str]:
    for one in load_holdouts(settings.definitions):
        if one.workflow_id is not None and one.workflow_id not in workflows:
            yield f"{HOLDOUTS_FILE}: there is no workflow {with_nearest(one.workflow_id, workflows)}"


def _unknown_in_mutes(settings: Settings, workflows: set[str], steps: set[tuple[str, str]]) -> Iterator[str]:
    metrics = {*(rate.name for rate in WATCHED_RATES), *WATCHED_VOLUMES}
    for workflow, step, metric, _ in load_mutes(settings.definitions).iter_rows():
        known = {name for flow, name in steps if workflow is None or flow == workflow}
        if workflow is not None and workflow not in workflows:
            yield f"{MUTES_FILE}: there is no workflow {with_nearest(workflow, workflows)}"
        elif step is not None and step not in known:
            yield f"{MUTES_FILE}: there is no step {with_nearest(step, known)}"
        if metric is not None and metric not in metrics:
            yield f"{MUTES_FILE}: there is no metric {with_nearest(metric, metrics)}"


def _unknown_in_rules(settings: Settings, workflows: list[str]) -> Iterator[str]:
    merge_fields = merge_field_names(Lake(settings.lake_dir).scan(Members))
    schema = profile_schema(merge_fields, workflows)
    for rule in load_decisions(settings.definitions).rules:
        if error := compile_rule(rule, schema, datetime.now(UTC)).error:
            yield f"{RULES_FILE}: {rule.rule_id} matches nobody, for it cannot be answered: {error}"


def _naming(events: int) -> str:
    return "1 event names" if events == 1 else f"{events:,} events name"
