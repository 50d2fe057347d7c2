"""Journeys as they were read night by night: their steps, the waits between them, and whom they can be a workflow for.

Pure functions on the versions that the lake holds. Workflows are made of them in `flows.py`.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import polars as pl

from pipeline.schemas.base import latest
from pipeline.schemas.lake import Sends

Row = dict[str, Any]
# What tells one version of a journey or step from another. Counts change every night and make no version.
OF_JOURNEY = ("name", "status", "can_reenter", "has_exit_condition", "step_ids")
OF_STEP = ("step_kind", "status", "delay_hours", "started_by", "has_lost_tag", "campaign_id", "subject_line")
RUNNING = ("sending", "active", "paused")
# A way that fewer people went, or a smaller share of those who left the step, may be chance or a change long ago.
LEAST_PEOPLE, LEAST_SHARE = 5, 0.02


@dataclass(frozen=True)
class Snapshot:
    """A journey as it was from one night on: its row, and the rows of its steps in their order."""

    night: int
    journey: Row
    steps: tuple[Row, ...]

    def wait(self, source: str | None, target: str | None) -> float:
        """Hours planned from one step to another; where one of them is unknown, what is known around the other.

        Between neighbours it is the sum of all delays. Otherwise a branch lies between them, and what Mailchimp lists
        between may belong to other ways: only the delays up to the branch and those right before the target count.
        """
        places = {step["step_id"]: at for at, step in enumerate(self.steps)}
        first, last = places.get(source or ""), places.get(target or "")
        if first is not None and last is not None:
            between = self.steps[first + 1 : last]
            if not any(step["step_kind"] == "email" for step in between):
                return _hours(between)
        after = [] if first is None else list(_until_next(self.steps[first + 1 :]))
        leads_to_branch = first is not None and self._kind_at(first + 1 + len(after)) == "branch"
        before = [] if last is None else list(_until_next(reversed(self.steps[:last])))
        return (_hours(after) if leads_to_branch else 0.0) + _hours(before)

    def _kind_at(self, place: int) -> str | None:
        return self.steps[place]["step_kind"] if place < len(self.steps) else None


@dataclass(frozen=True)
class Journey:
    """A journey with its versions, oldest first, and whether Mailchimp lists it no more."""

    journey_id: str
    versions: tuple[Snapshot, ...]
    is_gone: bool

    @property
    def now(self) -> Snapshot:
        """The journey as last read."""
        return self.versions[-1]

    @property
    def row(self) -> Row:
        """The latest row of `lake.journeys`."""
        return self.now.journey

    @cached_property
    def shown(self) -> list[Row]:
        """E-mails and branches of today in their order, and then e-mails that were taken out, each campaign once."""
        today = [step for step in self.now.steps if step["step_kind"] in ("email", "branch")]
        campaigns = {step["campaign_id"] for step in today}
        ids = {step["step_id"] for step in self.now.steps}
        removed: dict[str, Row] = {}
        for version in reversed(self.versions):
            for step in version.steps:
                campaign = step["campaign_id"]
                if step["step_kind"] == "email" and campaign and campaign not in campaigns:
                    step_id = campaign if step["step_id"] in ids else step["step_id"]
                    removed.setdefault(campaign, {**step, "step_id": step_id, "status": "deleted"})
        return [*today, *removed.values()]

    @property
    def is_draft(self) -> bool:
        """Whether it never ran: it is no workflow as long as nobody started it and nothing was sent."""
        sent = any(step["emails_sent"] for step in self.now.steps)
        return self.row["status"] not in RUNNING and not self.row["started"] and not sent

    @property
    def trigger(self) -> str | None:
        """What lets people in today, in words."""
        return self.trigger_of(self.now)

    def trigger_of(self, version: Snapshot) -> str | None:
        """What let people in, in words."""
        triggers = [step for step in version.steps if step["step_kind"] == "trigger"]
        return " or ".join(dict.fromkeys(_trigger(step) for step in triggers)) or None

    def waits(self, source: str | None, target: str | None) -> list[tuple[int, int]]:
        """The night from which each planned wait between two steps held, and its whole hours, oldest first."""
        found: list[tuple[int, int]] = []
        for version in self.versions:
            hours = -int(-version.wait(source, target) // 1)
            if not found or found[-1][1] != hours:
                found.append((version.night, hours))
        return found

    def ways(self, observed: dict[tuple[str, str], int]) -> dict[tuple[str, str], int | None]:
        """The ways between e-mails: planned up to the first branch, and from there on those that people went.

        Args:
            observed: people by campaign and the campaign of the same journey that they got next.

        Returns:
            Pairs of step ids, and how many people went the way; none for a planned one.
        """
        kinds = [step["step_kind"] for step in self.now.steps]
        before_branch = kinds[: kinds.index("branch")] if "branch" in kinds else kinds
        emails = [step for step in self.now.steps if step["step_kind"] == "email"]
        ids = [step["step_id"] for step in emails]
        planned = ids[: before_branch.count("email")]
        found: dict[tuple[str, str], int | None] = dict.fromkeys(pairwise(planned))
        # The last e-mail before the branch leads to it.
        for at in range(max(0, len(planned) - 1) if "branch" in kinds else len(ids), len(ids)):
            going = {
                following["step_id"]: observed.get((emails[at]["campaign_id"], following["campaign_id"]), 0)
                for following in emails[at + 1 :]
            }
            total = sum(going.values())
            most = max(going.values(), default=0)
            for target, people in going.items():
                if people and (people == most or (people >= LEAST_PEOPLE and people >= LEAST_SHARE * total)):
                    found[ids[at], target] = people
        return found


def known_journeys(journeys: pl.DataFrame, steps: pl.DataFrame, gone: Iterable[str] = ()) -> list[Journey]:
    """Every journey whose steps were ever read, with a version for each night on which its definition differed.

    Args:
        journeys: all versions of `lake.journeys`.
        steps: all versions of `lake.journey_steps`.
        gone: ids of journeys that Mailchimp lists no more.
    """
    gone = set(gone)
    of_journey = _by(journeys, "journey_id")
    of_steps = _by(steps, "journey_id")
    found = []
    for journey_id in sorted(of_journey):
        versions = tuple(_versions(of_journey[journey_id], of_steps.get(journey_id, [])))
        if versions and versions[-1].steps:
            found.append(Journey(journey_id, versions, journey_id in gone))
    return found


def observed_ways(sends: pl.LazyFrame, journeys: Iterable[Journey]) -> dict[tuple[str, str], int]:
    """How many people got which e-mail of a journey next after which: pairs of campaigns, in the journey's order.

    Args:
        sends: all versions of `lake.sends`.
        journeys: the journeys; those without a branch need no observation.
    """
    places = [
        (journey.journey_id, step["campaign_id"], at)
        for journey in journeys
        if any(step["step_kind"] == "branch" for step in journey.now.steps)
        for at, step in enumerate(journey.now.steps)
        if step["campaign_id"]
    ]
    place = pl.LazyFrame(
        places, schema={"journey_id": pl.String, "campaign_id": pl.String, "place": pl.Int64}, orient="row"
    ).unique("campaign_id", keep="first", maintain_order=True)
    person = ["journey_id", "subscriber_key"]
    following = pl.col("campaign_id", "place").shift(-1).over(person).name.prefix("next_")
    pairs = (
        latest(sends, Sends)
        .join(place, on="campaign_id")
        .sort(*person, "sent_us", "place")
        .with_columns(following)
        .filter(pl.col("next_place") > pl.col("place"))
        .group_by("campaign_id", "next_campaign_id")
        .len()
        .collect()
    )
    return {(source, target): people for source, target, people in pairs.iter_rows()}


def _versions(journeys: list[Row], steps: list[Row]) -> Iterator[Snapshot]:
    """A snapshot for each night on which the definition differs, with the latest counts before the next."""
    by_night: dict[int, list[Row]] = {}
    for row in (*journeys, *steps):
        by_night.setdefault(row["as_of_day"], []).append(row)
    journey: Row = {}
    known: dict[str, Row] = {}
    last: Snapshot | None = None
    for night in sorted(by_night):
        for row in by_night[night]:
            if "step_id" in row:
                known[row["step_id"]] = row
            else:
                journey = row
        order = json.loads(journey.get("step_ids", "[]"))
        now = Snapshot(night, journey, tuple(known[step] for step in order if step in known))
        if not now.steps:
            continue
        if last is not None and definition(last) != definition(now):
            yield last
            last = now
        # A night that brought new counts alone belongs to the version before it.
        last = Snapshot(last.night if last else night, now.journey, now.steps)
    if last is not None:
        yield last


def definition(snapshot: Snapshot) -> list[Any]:
    """What a version of a journey is told by."""
    return [
        [snapshot.journey[name] for name in OF_JOURNEY],
        *([step["step_id"], *(step[name] for name in OF_STEP)] for step in snapshot.steps),
    ]


def _by(frame: pl.DataFrame, column: str) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in frame.sort("as_of_day", *frame.columns).iter_rows(named=True):
        found.setdefault(row[column], []).append(row)
    return found


def _trigger(step: Row) -> str:
    kind = step["step_type"].removeprefix("trigger-") or "unknown"
    return f"{kind}: {step['started_by']}" if step["started_by"] else kind


def _until_next(steps: Iterable[Row]) -> Iterator[Row]:
    """The delays and actions up to the next e-mail, branch or trigger."""
    for step in steps:
        if step["step_kind"] not in ("delay", "action"):
            return
        yield step


def _hours(steps: Iterable[Row]) -> float:
    return sum(step["delay_hours"] or 0.0 for step in steps)
