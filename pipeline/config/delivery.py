"""How what is defined reaches the mail, and what people call it: keys that several of the user's files share."""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from pipeline.common.means import LONGEST_FIELD, LONGEST_PREFIX, of_tag, too_long
from pipeline.config.reader import Definition, Location, Mistake, Name

LONGEST_EVENT = 30
"""Most characters of a custom event's name in Mailchimp, which takes 2 at least."""
_FIELD = re.compile(rf"[A-Z][A-Z0-9_]{{0,{LONGEST_FIELD - 1}}}", re.ASCII)
_EVENT = re.compile(rf"[A-Za-z0-9_-]{{2,{LONGEST_EVENT}}}", re.ASCII)
_SEPARATORS = (":", "|")


def _shown(text: Any) -> str:
    return f"'{text}'" if isinstance(text, str) else "this"


def _field(text: Any) -> str:
    if not isinstance(text, str) or not _FIELD.fullmatch(text):
        raise ValueError(
            f"{_shown(text)} is not a merge field's name. Write a capital letter and up to {LONGEST_FIELD - 1} more, "
            "0-9 or _."
        )
    return text


def _prefix(text: Any) -> str:
    is_good = isinstance(text, str) and text.strip() and text.isprintable() and len(text.strip()) <= LONGEST_PREFIX
    if not is_good or any(mark in text for mark in _SEPARATORS):
        raise ValueError(
            f"{_shown(text)} is not the beginning of a tag. Write visible text of at most {LONGEST_PREFIX} characters "
            "without ':' and '|'."
        )
    return str(text).strip()


def _event(text: Any) -> str:
    if not isinstance(text, str) or not _EVENT.fullmatch(text):
        raise ValueError(
            f"{_shown(text)} is not an event's name. Write 2 to {LONGEST_EVENT} letters, digits, _ or -, "
            "such as driptune_release."
        )
    return text


FieldName = Annotated[str, BeforeValidator(_field)]
"""The name of a merge field, such as ROUTE."""


class Trigger(Definition):
    """A step of a journey with the API starting point, by Mailchimp's numbers."""

    journey: int = Field(ge=1)
    step: int = Field(ge=1)


class Deliver(Definition):
    """One of the four means. A merge field and a tag carry a value; an event and a trigger start a flow."""

    field: FieldName | None = None
    tag: Annotated[str, BeforeValidator(_prefix)] | None = None
    event: Annotated[str, BeforeValidator(_event)] | None = None
    trigger: Trigger | None = None

    @property
    def means(self) -> str | None:
        """What carries a value, as `pipeline.common.means` writes it; none for an event or a trigger."""
        return of_tag(self.tag) if self.tag else self.field

    @property
    def start(self) -> dict[str, Any] | None:
        """What lets a person into a flow: a trigger, an event or a tag; none for a merge field."""
        return None if self.field else self.model_dump(exclude_none=True)

    def mistakes(self, known: Any) -> Iterator[Mistake]:
        """Not exactly one of the four."""
        named = [name for name in Deliver.model_fields if getattr(self, name) is not None]
        if len(named) != 1:
            found = " and ".join(named) or "none of them"
            yield (), f"names {found}. Write one of field, tag, event and trigger."


class Described(Definition):
    """What people call a thing, what it is for, and who answers for it."""

    name: Name | None = None
    description: Name | None = None
    owner: Name | None = None


def value_mistakes(here: Location, deliver: Deliver | None, values: Iterable[str]) -> Iterator[Mistake]:
    """What is wrong with a delivery that is to carry values."""
    if deliver is None:
        return
    if deliver.means is None:
        yield (*here, "deliver"), "an event or a trigger carries no value. Write a field or a tag."
        return
    for value in values:
        if problem := too_long(deliver.means, value):
            yield (*here, "deliver"), f"'{value}' is too long: {problem}. Shorten the name."


def shared_means(entries: Iterable[Any], where: str, taken: Iterable[tuple[str, str]] = ()) -> Iterator[Mistake]:
    """A mistake for each entry whose means another one writes already.

    Args:
        entries: the entries of a list, each with an `id` and perhaps with `deliver`.
        where: the name of the list.
        taken: (means, id) of entries in other files.
    """
    owners = dict(taken)
    for number, entry in enumerate(entries):
        means = entry.deliver and entry.deliver.means
        if means and owners.setdefault(means, entry.id) != entry.id:
            text = f"'{owners[means]}' is delivered by the same means already. Name another one."
            yield (where, number, "deliver"), text
