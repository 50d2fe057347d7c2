"""The flow map (`flows.yaml`): flows, their steps, campaigns and delays, as the user writes them down.

Mailchimp cannot be asked for this. Only shape and sense are checked here; tables are made in `dimensions.py`.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator
from datetime import date
from fractions import Fraction
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from pipeline.config.reader import Definition, Location, Misplaced, Name, load_definition

FLOWS_FILE = "flows.yaml"
_HOURS_PER_UNIT = {"minute": Fraction(1, 60), "hour": Fraction(1), "day": Fraction(24), "week": Fraction(168)}
_DURATION = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)\s*(minute|hour|day|week)s?", re.ASCII)


def parse_duration(text: Any) -> int:
    """Whole hours of a duration such as '2 days', '36 hours' or '1.5 weeks'; a part of an hour counts as one.

    Raises:
        ValueError: if it is none.
    """
    match = _DURATION.fullmatch(text.strip().lower()) if isinstance(text, str) else None
    if match is None:
        shown = f"'{text}'" if isinstance(text, str) else "this"
        raise ValueError(f"{shown} is not a duration. Write a number and a unit, such as '2 days'.")
    return math.ceil(Fraction(match[1]) * _HOURS_PER_UNIT[match[2]])


Hours = Annotated[int, BeforeValidator(parse_duration)]


class PastDelay(Definition):
    """A delay as it was for those who entered the previous step before the day `until` (00:00 UTC)."""

    until: date
    delay: Hours


class Step(Definition):
    """One step of a flow."""

    id: Name
    name: Name | None = None
    kind: Literal["email", "branch", "wait"] = "email"
    campaign: Name | None = None
    status: Literal["active", "paused", "deleted"] = "active"
    after: list[Name] | None = None
    delay: Hours | None = None
    delay_history: list[PastDelay] = Field(default_factory=list)
    grace: Hours | None = None
    default: bool = False


class Flow(Definition):
    """One flow; a classic automation may be listed under its id, without steps if those of Mailchimp will do."""

    id: Name
    name: Name | None = None
    category: Name | None = None
    priority: int = Field(default=0, ge=-1_000_000, le=1_000_000)
    trigger: Name | None = None
    goal: Name | None = None
    status: Literal["active", "paused", "archived"] = "active"
    steps: list[Step] = Field(default_factory=list)

    def predecessors(self) -> dict[str, list[str]]:
        """Step id -> ids of the steps it comes after: those named, else the step before."""
        before: list[str | None] = [None, *(step.id for step in self.steps)]
        return {
            step.id: list(dict.fromkeys(step.after)) if step.after is not None else [previous] if previous else []
            for previous, step in zip(before, self.steps, strict=False)
        }

    def successors(self) -> dict[str, list[str]]:
        """Step id -> ids of the steps that come after it, in the order of the file."""
        below: dict[str, list[str]] = {step.id: [] for step in self.steps}
        for step_id, sources in self.predecessors().items():
            for source in sources:
                below[source].append(step_id)
        return below

    @model_validator(mode="after")
    def _makes_sense(self) -> "Flow":
        problems = [*_repeated(self.steps), *self._unknown_steps()]
        # Without known steps there is no graph to judge.
        if not problems and self.steps:
            problems = [*self._graph_problems(), *self._branch_problems()]
        problems += self._step_problems()
        if problems:
            raise Misplaced(problems)
        return self

    def _unknown_steps(self) -> Iterator[tuple[Location, str]]:
        known = {step.id for step in self.steps}
        for index, step in enumerate(self.steps):
            for number, source in enumerate(step.after or []):
                if source not in known:
                    yield ("steps", index, "after", number), f"'{source}' is no step of this flow. Write a step's id."

    def _graph_problems(self) -> Iterator[tuple[Location, str]]:
        predecessors = self.predecessors()
        index_of = {step.id: index for index, step in enumerate(self.steps)}
        try:
            TopologicalSorter(predecessors).prepare()
        except CycleError as error:
            circle = error.args[1]
            text = f"the steps {' -> '.join(reversed(circle))} form a circle. Let one of them come after another step."
            yield ("steps", index_of[circle[0]], "after"), text
            return
        roots = [step_id for step_id, sources in predecessors.items() if not sources]
        for root in roots[1:]:
            text = f"'{root}' is a second first step beside '{roots[0]}'. Name in `after` the step it follows."
            yield ("steps", index_of[root], "after"), text

    def _branch_problems(self) -> Iterator[tuple[Location, str]]:
        defaults = {step.id for step in self.steps if step.default}
        for index, (source, targets) in enumerate(self.successors().items()):
            chosen = defaults.intersection(targets)
            if len(targets) > 1 and len(chosen) != 1:
                found = "none" if not chosen else "several"
                text = (
                    f"leads to {', '.join(targets)}, {found} of them the default. Write `default: true` at one of them."
                )
                yield ("steps", index), f"'{source}' {text}"

    def _step_problems(self) -> Iterator[tuple[Location, str]]:
        for index, step in enumerate(self.steps):
            if step.campaign and step.kind != "email":
                yield ("steps", index, "campaign"), f"a {step.kind} sends nothing. Remove it, or write `kind: email`."
            for number, (earlier, later) in enumerate(pairwise(step.delay_history)):
                if earlier.until >= later.until:
                    where = ("steps", index, "delay_history", number + 1, "until")
                    yield where, f"{later.until} is not after {earlier.until}. Write the oldest first."


class FlowMap(Definition):
    """All flows of the user's map; empty is valid."""

    flows: list[Flow] = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_unambiguous(self) -> "FlowMap":
        problems = [(("flows", *where), text) for where, text in _repeated(self.flows, below=())]
        owner: dict[str, str] = {}
        for index, flow in enumerate(self.flows):
            for number, step in enumerate(flow.steps):
                here = f"{flow.id}.{step.id}"
                if step.campaign and owner.setdefault(step.campaign, here) != here:
                    text = f"campaign '{step.campaign}' belongs to {owner[step.campaign]} already. Use it once."
                    problems.append((("flows", index, "steps", number, "campaign"), text))
        if problems:
            raise Misplaced(problems)
        return self


def load_flow_map(folder: Path) -> FlowMap:
    """The flow map of a definitions folder; empty if the folder has none.

    Raises:
        DefinitionsError: naming every mistake with its line and field.
    """
    return load_definition(folder / FLOWS_FILE, FlowMap)


def _repeated(entries: list[Any], below: Location = ("steps",)) -> list[tuple[Location, str]]:
    count = Counter(entry.id for entry in entries)
    seen: set[str] = set()
    problems: list[tuple[Location, str]] = []
    for index, entry in enumerate(entries):
        if count[entry.id] > 1 and entry.id in seen:
            problems.append(((*below, index, "id"), f"'{entry.id}' is used twice. Give each its own id."))
        seen.add(entry.id)
    return problems
