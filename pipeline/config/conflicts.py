"""`conflicts.yaml`: which categories of workflows get in each other's way, how badly, and what is done about it.

Only the file's shape belongs here; conflicts are found in `pipeline/decisions/conflicts.py`. Without the file nothing
conflicts: no rule of ours would know what the categories of a user mean.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, model_validator

from pipeline.config.flow_map import load_flow_map
from pipeline.config.reader import Definition, Location, Misplaced, Name, load_definition
from pipeline.decisions.conflicts import ConflictRule, Resolution

CONFLICTS_FILE = "conflicts.yaml"


class CategoryConflict(Definition):
    """What two categories mean for each other; the workflow of lower priority yields as `resolution` says."""

    between: Annotated[list[Name], Field(min_length=2, max_length=2)]
    type: Name
    severity: Literal["low", "medium", "high"]
    description: Name
    resolution: Literal["allow", "delay", "suppress", "replace"]


class Conflicts(Definition):
    """The file: a list under `conflicts`."""

    conflicts: tuple[CategoryConflict, ...] = ()

    @model_validator(mode="after")
    def _makes_sense(self, info: ValidationInfo) -> "Conflicts":
        categories: list[str] = info.context or []
        places = [(frozenset(one.between), one.type) for one in self.conflicts]
        problems: list[tuple[Location, str]] = []
        for number, one in enumerate(self.conflicts):
            if places.index(places[number]) < number:
                text = f"'{one.type}' is written twice for these categories. Keep one."
                problems.append((("conflicts", number, "type"), text))
            for place, name in enumerate(one.between):
                if name not in categories:
                    choice = ", ".join(categories) or "those written there first"
                    text = f"'{name}' is no category of flows.yaml. Write one of {choice}."
                    problems.append((("conflicts", number, "between", place), text))
        if problems:
            raise Misplaced(problems)
        return self


def load_conflict_rules(folder: Path) -> list[ConflictRule]:
    """The conflict rules of a definitions folder; none without a file.

    Raises:
        DefinitionsError: naming every mistake with file, line and field; a category that no workflow has is one.
    """
    categories = sorted({flow.category for flow in load_flow_map(folder).flows if flow.category})
    found = load_definition(folder / CONFLICTS_FILE, Conflicts, known=categories)
    return [
        ConflictRule(
            one.between[0], one.between[1], one.type, one.severity, one.description, Resolution(one.resolution)
        )
        for one in found.conflicts
    ]
