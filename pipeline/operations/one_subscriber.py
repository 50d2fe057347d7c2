"""What is asked about one subscriber: who it is, what is decided for them, why a rule holds, and what collides.

Every answer is as of the last night. It is made from the facts that the night left in the working file, by the code
that the night itself runs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import Any

import polars as pl

from pipeline.common.errors import SourceError
from pipeline.config.decisions import load_decisions
from pipeline.decisions.learning import PolicyModel
from pipeline.decisions.log import model_from_text
from pipeline.decisions.night import Facts, moment_of, profiles_of
from pipeline.decisions.profile import merge_field_names
from pipeline.decisions.rules import evaluate_rules, explain_rules
from pipeline.decisions.selection import decide_one
from pipeline.decisions.targets import chosen_by
from pipeline.engine.reading import read_column, read_tables
from pipeline.lake.keys import load_keys
from pipeline.lake.store import Lake
from pipeline.published.manifest import Manifest
from pipeline.schemas.lake import PolicyModels, Renamed
from pipeline.settings import Settings

MEMBER_ID_DIGITS = 32
"""Hex digits of Mailchimp's member id. A key of a subscriber never has so many."""
LARGEST_KEY = 2**63 - 1
CHECKED_COLUMNS = ("arm", "is_default", "choice_probability", "model_version", "reasoning")
"""Columns in which the answer for one subscriber must equal the row of the night."""

_FACTS = {
    "subscribers": "core.subscribers",
    "messages": "core.messages",
    "conversions": "core.conversions",
    "subscriber_hours": "reductions.subscriber_hours",
    "step_entries": "core.step_entries",
}
_DECIDED = ("marts.path_decisions", "marts.content_decisions")
_DIMENSIONS = {"workflows": "core.workflows", "steps": "core.steps", "edges": "core.edges"}


@dataclass(frozen=True)
class Person:
    """A subscriber as the night knew them: the key, one row of `subscriber_profiles`, and what the night decided."""

    subscriber_key: int
    profile: pl.DataFrame
    decided: pl.DataFrame


@dataclass(frozen=True)
class Answer:
    """A decision about one subscriber, made now, beside the row that the night itself published."""

    now: Mapping[str, Any]
    of_night: Mapping[str, Any]

    @property
    def is_equal(self) -> bool:
        """Whether both say the same."""
        return all(self.now[name] == self.of_night[name] for name in CHECKED_COLUMNS)


@dataclass(frozen=True)
class Explanation:
    """Whether a rule holds for a subscriber, and its conditions as `explain_rules` tells them."""

    is_match: bool
    conditions: pl.DataFrame


class LastNight:
    """What the last nightly knew, for questions about single subscribers.

    Args:
        settings: say where everything is.

    Raises:
        SourceError: if no nightly has run.
    """

    def __init__(self, settings: Settings) -> None:
        manifest = Manifest.read(settings.published_dir)
        if manifest is None:
            raise SourceError("the publication", "there is none yet", "Run driptune nightly first.")
        self._working_file, self._lake = settings.working_file, Lake(settings.lake_dir)
        self._keys = load_keys(settings)
        self.as_of = date.fromisoformat(manifest.as_of)
        self.definitions = load_decisions(settings.definitions)

    def find(self, written: str) -> Person:
        """The subscriber with this e-mail address, Mailchimp member id or subscriber key.

        Raises:
            SourceError: if there is no such subscriber.
        """
        keys = self._keys.known_as(self._lake.latest(Renamed).collect())
        if "@" in written:
            key = keys.of_address(written)
        elif len(written) == MEMBER_ID_DIGITS:
            key = keys.of_member_id(written)
        else:
            key = int(written) if written.isascii() and written.isdigit() else 0
        person = self.person(key) if key <= LARGEST_KEY else None
        if person is None:
            raise SourceError(
                "SUBSCRIBER",
                f"nobody was known by this on {self.as_of}",
                "Write an e-mail address, a Mailchimp member id (32 hex digits) or a subscriber_key of the tables. "
                "Who joined since is known after the next driptune nightly.",
            )
        return person

    def person(self, subscriber_key: int) -> Person | None:
        """The subscriber of a key; none if there is none."""
        names = (*_FACTS.values(), *_DECIDED)
        *facts, paths, content = read_tables(self._working_file, names, subscriber_key)
        of_person = dict(zip(_FACTS, facts, strict=True))
        if of_person["subscribers"].is_empty():
            return None
        known: dict[str, Any] = {name: rows.lazy() for name, rows in of_person.items()} | self._dimensions
        profile = profiles_of(Facts(**known), self._merge_fields, as_of=self.as_of)
        return Person(subscriber_key, profile, pl.concat([paths, content]))

    def decide(self, person: Person, point_id: str) -> Answer:
        """The arm that a subscriber gets at a decision point or content block.

        Raises:
            SourceError: if the point is unknown, or the night decided nothing there for this subscriber.
        """
        one = self.definitions.point(point_id)
        of_night = next(person.decided.filter(pl.col("decision_point_id") == point_id).iter_rows(named=True), None)
        if of_night is None:
            raise SourceError(
                "SUBSCRIBER",
                f"the night of {self.as_of} decided nothing for this subscriber at '{point_id}'",
                "Who cannot be mailed gets no decision. At a new decision point the next driptune nightly decides.",
            )
        policy, version = chosen_by(of_night["model_version"], [arm.arm for arm in one.point.arms])
        if policy is None and one.mode == "rules":
            version = None
        model = None if version is None else self._models[point_id, version]
        [profile] = person.profile.to_dicts()
        now = moment_of(self.as_of)
        made = decide_one(profile, one.point, model, now=now, as_of_day=self.as_of, policy=policy)
        return Answer(made, of_night)

    def explain(self, person: Person, rule_id: str) -> Explanation:
        """Why a rule holds for a subscriber, or does not.

        Raises:
            SourceError: if the rule is unknown.
        """
        rules, now = [self.definitions.rule(rule_id)], moment_of(self.as_of)
        is_match = evaluate_rules(person.profile, rules, now).item(0, rule_id)
        return Explanation(is_match, explain_rules(person.profile, rules, now))

    def decided(self) -> list[int]:
        """The subscribers for whom the night decided anything, sorted by key."""
        keys = [read_column(self._working_file, name, "subscriber_key") for name in _DECIDED]
        return pl.concat(keys).unique().sort().to_list()

    @cached_property
    def _dimensions(self) -> dict[str, pl.DataFrame]:
        return dict(zip(_DIMENSIONS, read_tables(self._working_file, tuple(_DIMENSIONS.values())), strict=True))

    @cached_property
    def _merge_fields(self) -> list[str]:
        return merge_field_names(read_column(self._working_file, "core.subscribers", "merge_fields").to_frame().lazy())

    @cached_property
    def _models(self) -> dict[tuple[str, str], PolicyModel]:
        rows = self._lake.latest(PolicyModels).collect().to_dicts()
        return {(row["decision_point_id"], row["model_version"]): model_from_text(row["model"]) for row in rows}


def check_decisions(settings: Settings, subscribers: int) -> Iterator[tuple[bool, str]]:
    """Whether the answer for one subscriber equals the row of the night, at every decision point.

    Args:
        settings: say where everything is.
        subscribers: how many subscribers are asked for, spread evenly over all keys.

    Yields:
        For each decision point whether all answers are equal, and how many are, in words.
    """
    night = LastNight(settings)
    keys = night.decided()
    asked: dict[str, list[bool]] = {}
    for key in keys[:: max(1, len(keys) // subscribers)][:subscribers]:
        if person := night.person(key):
            for point_id in person.decided["decision_point_id"]:
                asked.setdefault(point_id, []).append(night.decide(person, point_id).is_equal)
    for point_id, answers in sorted(asked.items()):
        equal = sum(answers)
        yield all(answers), f"{point_id}: {equal:,} of {len(answers):,} answers equal those of the night"
