"""`driptune conflicts`: what a workflow would have collided with over the past month, before it is started."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from pipeline.common.errors import SourceError
from pipeline.common.time import DAY_US, HOUR_US, end_of_day_us
from pipeline.common.words import counted
from pipeline.config.conflicts import load_conflict_rules
from pipeline.config.constraints import load_constraints
from pipeline.config.flow_map import Flow
from pipeline.decisions.conflicts import REPLAY_DAYS, conflict_replay, proposed_conflicts
from pipeline.decisions.memberships import planned_messages, planned_stays, stays
from pipeline.engine.reading import read_tables
from pipeline.lake.store import Lake
from pipeline.published.manifest import Manifest
from pipeline.schemas import lake as tables
from pipeline.settings import Settings

SIGNUP = "signup"


@dataclass(frozen=True)
class Facts:
    """What the last nightly left in the working file."""

    as_of: date
    workflows: pl.DataFrame
    step_entries: pl.DataFrame
    messages: pl.DataFrame


def check_workflow(settings: Settings, flow: Flow) -> Iterator[str]:
    """Lines on the collisions and the mail load of a workflow over the past 30 days.

    Args:
        settings: say where everything is.
        flow: the workflow, running or not.

    Raises:
        SourceError: if no nightly has run.
    """
    facts = _read(settings)
    past = stays(facts.step_entries.lazy(), facts.workflows, as_of=facts.as_of, days=REPLAY_DAYS)
    mailed = facts.messages.select("subscriber_key", day=pl.col("day").cast(pl.Int32).cast(pl.Date))
    added = mailed.clear()
    if flow.id not in past["workflow_id"]:
        entries, hours = _entries(settings, flow, facts.as_of), _hours(flow)
        past = pl.concat([past, planned_stays(entries, flow.id, hours, as_of=facts.as_of)])
        added = planned_messages(entries, hours, as_of=facts.as_of)
    workflows = _with(facts.workflows, flow)
    replayed = conflict_replay(past, workflows, load_conflict_rules(settings.definitions), as_of_day=facts.as_of)
    concerned = replayed.filter((pl.col("workflow_id") == flow.id) | (pl.col("prevailing_workflow_id") == flow.id))
    people = past.filter(pl.col("workflow_id") == flow.id)["subscriber_key"].n_unique()
    one, many = ("was", "were") if added.is_empty() else ("would have been", "would have been")
    told = counted(people, f"subscriber {one}", f"subscribers {many}")
    yield f"{flow.id}: {told} in it in the {REPLAY_DAYS} days to {facts.as_of}"
    yield from _conflicts(concerned, flow)
    yield from _load(mailed, added, facts.as_of, settings)


def check_for_subscriber(settings: Settings, flow: Flow, subscriber_key: int) -> Iterator[str]:
    """Lines on the conflicts that would arise if a subscriber entered a workflow tonight.

    Raises:
        SourceError: as `check_workflow`.
    """
    facts = _read(settings)
    inside = stays(facts.step_entries.lazy(), facts.workflows, as_of=facts.as_of, days=0)
    active = inside.filter((pl.col("subscriber_key") == subscriber_key) & pl.col("exited_day").is_null())
    names = active["workflow_id"].unique().sort().to_list()
    yield f"In {facts.as_of}'s night the subscriber is in {', '.join(names) or 'no workflow'}."
    if flow.id in names:
        yield f"  no conflict: the subscriber is in {flow.id} already"
        return
    found = proposed_conflicts(
        active,
        _with(facts.workflows, flow),
        load_conflict_rules(settings.definitions),
        proposed_workflow_id=flow.id,
        audience=pl.DataFrame({"subscriber_key": [subscriber_key]}),
        as_of_day=facts.as_of,
    )
    if found.is_empty():
        yield f"  no conflict: no rule of conflicts.yaml speaks against {flow.id}"
    for row in found.iter_rows(named=True):
        yield (
            f"  {row['severity']:<7} {row['conflict_type']}: {row['workflow_id']} yields to "
            f"{row['prevailing_workflow_id']}. {row['reason']}. {row['description']}"
        )


def _conflicts(rows: pl.DataFrame, flow: Flow) -> Iterator[str]:
    if rows.is_empty():
        yield "  no conflict: nobody was in two workflows of a rule of conflicts.yaml at once"
    for row in rows.sort("subscribers", descending=True).iter_rows(named=True):
        yields = row["workflow_id"] == flow.id
        other = row["prevailing_workflow_id"] if yields else row["workflow_id"]
        who = f"yields to {other}" if yields else f"prevails over {other}"
        people = counted(row["subscribers"], "subscriber", "subscribers")
        extent = f"{people}, {counted(row['collision_days'], 'day', 'days')}"
        yield (
            f"  {row['severity']:<7} {row['conflict_type']}: {who} ({row['resolution']}); {extent}, "
            f"{row['first_day']} to {row['last_day']}. {row['description']}"
        )


def _load(mailed: pl.DataFrame, added: pl.DataFrame, as_of: date, settings: Settings) -> Iterator[str]:
    """How many messages a subscriber gets a day, now and with the workflow, and how often the cap is passed."""
    since = pl.col("day") > as_of - timedelta(days=REPLAY_DAYS)
    for label, frame in (("now", mailed), ("with it", pl.concat([mailed, added]))):
        daily = frame.filter(since).group_by("subscriber_key", "day").len()
        if daily.is_empty():
            yield f"  mail    {label}: none"
            continue
        several = daily.filter(pl.col("len") > 1).height
        text = f"  mail    {label}: {several:,} of {daily.height:,} subscriber-days with mail hold several messages"
        fullest = daily.select(pl.col("len").max()).item()
        text += f", the fullest {fullest}"
        if cap := load_constraints(settings.definitions).frequency_cap:
            window = daily.sort("day").rolling("day", period=f"{cap.days}d", group_by="subscriber_key")
            over = window.agg(pl.col("len").sum()).filter(pl.col("len") > cap.messages).height
            text += f"; {over:,} pass the cap of {cap.messages} in {cap.days} days"
        yield text
        if added.is_empty():
            return


def _with(workflows: pl.DataFrame, flow: Flow) -> pl.DataFrame:
    if flow.id in workflows["workflow_id"]:
        return workflows
    added = {"workflow_id": flow.id, "name": flow.name or flow.id, "category": flow.category, "priority": flow.priority}
    columns = workflows.select("workflow_id", "name", "category", "priority")
    return pl.concat([columns, pl.DataFrame([added], schema=columns.schema)])


def _entries(settings: Settings, flow: Flow, as_of: date) -> pl.DataFrame:
    """The subscribers whom the trigger would have let in, and when. They signed up, or had an event of that type."""
    end_us = end_of_day_us(as_of)
    lake = Lake(settings.lake_dir)
    if flow.trigger == SIGNUP:
        moments = lake.latest(tables.Members).select("subscriber_key", pl.col("signup_us").alias("entered_us"))
    else:
        of_type = lake.latest(tables.Events).filter(pl.col("event_type") == flow.trigger)
        moments = of_type.select("subscriber_key", pl.col("occurred_us").alias("entered_us"))
    longest = max(_hours(flow), default=0) * HOUR_US
    window = pl.col("entered_us").is_between(end_us - REPLAY_DAYS * DAY_US - longest, end_us - 1)
    return moments.filter(window).sort("entered_us").unique("subscriber_key", keep="last").collect()


def _hours(flow: Flow) -> list[int]:
    """Hours from entry to each message, along the planned delays."""
    before = flow.predecessors()
    delay = {step.id: step.delay or 0 for step in flow.steps}

    def until(step_id: str) -> int:
        return delay[step_id] + (until(before[step_id][0]) if before[step_id] else 0)

    return [until(step.id) for step in flow.steps if step.kind == "email"]


def _read(settings: Settings) -> Facts:
    manifest = Manifest.read(settings.published_dir)
    if manifest is None:
        raise SourceError("driptune conflicts", "no nightly has run yet", "Run driptune nightly first.")
    frames = read_tables(settings.working_file, ("core.workflows", "core.step_entries", "core.messages"))
    return Facts(date.fromisoformat(manifest.as_of), *frames)
