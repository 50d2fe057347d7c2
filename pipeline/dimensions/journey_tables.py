"""Journeys as tables for people: a row per version, and what is probably not meant in them."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import date
from typing import Any

import polars as pl

from pipeline.common.time import numbered_day, to_timestamp
from pipeline.common.words import counted
from pipeline.config.flow_map import journey_workflow_id
from pipeline.dimensions.journey_flows import MappedJourney
from pipeline.dimensions.journeys import OF_JOURNEY, Journey, Row, Snapshot
from pipeline.schemas.base import conform, polars_schema
from pipeline.schemas.journeys.marts import JourneyLint, PublishedJourneys
from pipeline.schemas.vocabulary import JourneyFinding

METHOD = "read from Mailchimp and compared with flows.yaml"
_TOLD = {
    "status": "status",
    "delay_hours": "delay in hours",
    "campaign_id": "e-mail",
    "subject_line": "subject",
    "started_by": "trigger",
    "step_kind": "kind",
}
_CHANGED = {"name": "name", "status": "status", "can_reenter": "re-entry", "has_exit_condition": "exit condition"}

Finding = tuple[str, JourneyFinding, int | None, str]
"""Step (empty for the journey), finding, people it holds back, and the finding in words."""


def journey_versions(
    journeys: Sequence[Journey], mapped: Mapping[str, MappedJourney], workflows: Collection[str], as_of: date
) -> pl.DataFrame:
    """`marts.journeys`.

    Args:
        journeys: the journeys that were ever read.
        mapped: those that the flow map completes, by the id of the entry.
        workflows: ids of all workflows.
        as_of: tonight.
    """
    owners = _workflows(mapped)
    rows = []
    for journey in journeys:
        workflow_id = owners.get(journey.journey_id, journey_workflow_id(journey.journey_id))
        following = [*(version.night for version in journey.versions[1:]), None]
        for number, (version, next_night) in enumerate(zip(journey.versions, following, strict=True), 1):
            before = journey.versions[number - 2] if number > 1 else None
            is_current = next_night is None
            rows.append(
                {
                    **_described(version),
                    "version": number,
                    "workflow_id": workflow_id if workflow_id in workflows else None,
                    "status": "gone" if is_current and journey.is_gone else version.journey["status"],
                    "is_current": is_current,
                    "first_day": numbered_day(version.night),
                    "last_day": None if next_night is None else numbered_day(next_night - 1),
                    "changes": "; ".join(_changes(before, version)) if before else "",
                    "trigger": journey.trigger_of(version),
                    "as_of_day": as_of,
                }
            )
    schema = {**polars_schema(PublishedJourneys), "last_started_at": pl.Int64()}
    frame = pl.DataFrame(rows, schema=schema).with_columns(to_timestamp("last_started_at").alias("last_started_at"))
    return conform(frame.sort("journey_id", "version"), PublishedJourneys)


def journey_lint(
    journeys: Sequence[Journey],
    mapped: Mapping[str, MappedJourney],
    workflows: Collection[str],
    audiences: Collection[str],
    as_of: date,
) -> pl.DataFrame:
    """`marts.journey_lint`.

    Args:
        journeys: the journeys that were ever read. Those that Mailchimp lists no more, and drafts, are left out.
        mapped: those that the flow map completes, by the id of the entry.
        workflows: ids of all workflows.
        audiences: ids of the audiences that exist.
        as_of: tonight.
    """
    owners = _workflows(mapped)
    by_journey = {one.journey.journey_id: one for one in mapped.values()}
    senders: dict[str, str] = {}
    rows = []
    for journey in journeys:
        if journey.is_gone or journey.is_draft:
            continue
        workflow_id = owners.get(journey.journey_id, journey_workflow_id(journey.journey_id))
        found = [*_of_journey(journey, audiences), *_of_steps(journey, senders)]
        if journey.journey_id in by_journey:
            found += _against_map(by_journey[journey.journey_id])
        rows += [
            {
                "journey_id": journey.journey_id,
                "workflow_id": workflow_id if workflow_id in workflows else None,
                "step_id": step_id,
                "finding": finding,
                "people": people,
                "detail": detail,
                "as_of_day": as_of,
                "method": METHOD,
            }
            for step_id, finding, people, detail in found
        ]
    frame = pl.DataFrame(rows, schema=polars_schema(JourneyLint))
    return conform(frame.sort("journey_id", "step_id", "finding"), JourneyLint)


def _workflows(mapped: Mapping[str, MappedJourney]) -> dict[str, str]:
    return {one.journey.journey_id: workflow_id for workflow_id, one in mapped.items()}


def _described(version: Snapshot) -> Row:
    journey, steps = version.journey, version.steps
    kinds = [step["step_kind"] for step in steps]
    told = ("journey_id", "name", "audience_id", "can_reenter", "has_exit_condition")
    counted = ("started", "in_progress", "completed")
    shown = ("step_id", "step_kind", "status", "delay_hours", "campaign_id", "queue_count", "completed")
    return {
        **{name: journey[name] for name in (*told, *counted)},
        "last_started_at": journey["last_started_us"],
        "emails": kinds.count("email"),
        "branches": kinds.count("branch"),
        "delay_hours": sum(step["delay_hours"] or 0.0 for step in steps),
        "queued": _sum(steps, "queue_count"),
        "sent": _sum(steps, "emails_sent"),
        "steps": json.dumps([{name: step[name] for name in shown} for step in steps], ensure_ascii=False),
    }


def _sum(steps: Sequence[Row], column: str) -> int | None:
    told = [step[column] for step in steps if step[column] is not None]
    return sum(told) if told else None


def _changes(before: Snapshot, now: Snapshot) -> Iterator[str]:
    for name in OF_JOURNEY:
        if name in _CHANGED and before.journey[name] != now.journey[name]:
            yield f"{_CHANGED[name]}: {_shown(before.journey[name])} to {_shown(now.journey[name])}"
    known = {step["step_id"]: step for step in before.steps}
    for step in now.steps:
        was = known.pop(step["step_id"], None)
        if was is None:
            yield f"step {step['step_id']} ({step['step_kind']}) is new"
            continue
        for name, words in _TOLD.items():
            if was[name] != step[name]:
                yield f"{words} of step {step['step_id']}: {_shown(was[name])} to {_shown(step[name])}"
        if step["has_lost_tag"] and not was["has_lost_tag"]:
            yield f"the tag of step {step['step_id']} no longer exists"
    for step_id, step in known.items():
        yield f"step {step_id} ({step['step_kind']}) was taken out"
    shared = {step["step_id"] for step in now.steps} - known.keys()
    orders = ([step["step_id"] for step in one.steps if step["step_id"] in shared] for one in (before, now))
    if len({tuple(order) for order in orders}) > 1 and not shared - {step["step_id"] for step in before.steps}:
        yield "the steps stand in another order"


def _shown(value: Any) -> str:
    return "nothing" if value is None or value == "" else f"{value:g}" if isinstance(value, float) else str(value)


def _of_journey(journey: Journey, audiences: Collection[str]) -> Iterator[Finding]:
    row, steps = journey.row, journey.now.steps
    queued = _sum(steps, "queue_count") or 0
    if row["status"] == "paused" and queued:
        stopped = counted(queued, "person", "people")
        yield "", "paused journey with a queue", queued, f"The journey is paused, and {stopped} stopped in it."
    if not any(step["step_kind"] == "trigger" for step in steps):
        yield "", "no trigger", None, "Nothing lets people in."
    if row["audience_id"] and row["audience_id"] not in audiences:
        yield "", "deleted audience", None, "The audience of the journey no longer exists, so nobody can enter."
    if row["can_reenter"]:
        again = "People may enter more than once, and then get the same mail again. Each counts once for each e-mail."
        yield "", "re-entry", None, again
    if row["has_exit_condition"] is False:
        yield "", "no exit condition", None, "Nothing takes people out before the end, not even the goal of the flow."


def _of_steps(journey: Journey, senders: dict[str, str]) -> Iterator[Finding]:
    """What is found in single steps; `senders` collects which journey sends an e-mail first."""
    for step in journey.now.steps:
        step_id, queued = step["step_id"], step["queue_count"] or 0
        if step["status"] == "paused" and queued:
            wait = counted(queued, "person waits", "people wait")
            detail = f"The step is paused, and {wait} at it. Start it, or take it out."
            yield step_id, "paused step with a queue", queued, detail
        if step["has_lost_tag"]:
            yield step_id, "lost trigger tag", None, "The tag that lets people in no longer exists. Choose another one."
        if step["step_kind"] == "delay" and step["delay_hours"] is None:
            yield step_id, "unknown delay", None, "Mailchimp tells no length of this delay. Write it into flows.yaml."
        campaign = step["campaign_id"]
        if campaign and senders.setdefault(campaign, journey.journey_id) != journey.journey_id:
            yield (
                step_id,
                "shared e-mail",
                None,
                f"Journey {senders[campaign]} sends it too, and its messages count there.",
            )


def _against_map(mapped: MappedJourney) -> Iterator[Finding]:
    flow, of_step = mapped.flow, mapped.of_step
    steps = {step.id: step for step in flow.steps}
    for source, targets in flow.successors().items():
        for target in targets:
            planned = steps[target].delay
            if planned is not None and source in of_step and target in of_step:
                told = mapped.delays(source, target)[-1][1]
                if told != planned:
                    held = "The map's wait holds" if flow.waits == "map" else "Mailchimp's wait holds"
                    detail = (
                        f"flows.yaml plans {planned} hours after '{source}', and Mailchimp waits {told} hours. {held}."
                    )
                    yield target, "differs from the map", None, detail
    for row in mapped.unlisted:
        detail = f"The journey sends '{row['title'] or row['step_id']}', which flows.yaml does not list."
        yield row["step_id"], "not in the map", None, detail
    for step in flow.steps:
        if step.campaign and step.status != "deleted" and step.id not in of_step:
            yield (
                step.id,
                "not in Mailchimp",
                None,
                f"The journey sends no e-mail {step.campaign}. Correct the campaign.",
            )
