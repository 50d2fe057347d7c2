"""`conflicts.yaml`: which categories of workflows get in each other's way, how badly, and what is done about it.

Only the file's shape belongs here; conflicts are found in `pipeline/decisions/conflicts.py`. Without the file nothing
conflicts: no rule of ours would know what the categories of a user mean.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline.decisions.conflicts import ConflictRule, Resolution
from pipeline.ingest.definitions import Definition, Location, Misplaced, Name, load_definition
from pipeline.ingest.flow_map import load_flow_map

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
    def _each_once(self) -> "Conflicts":
        places = [(frozenset(one.between), one.type) for one in self.conflicts]
        repeated: list[tuple[Location, str]] = [
            (("conflicts", number, "type"), f"'{one.type}' is written twice for these categories. Keep one.")
            for number, (one, place) in enumerate(zip(self.conflicts, places, strict=True))
            if places.index(place) < number
        ]
        if repeated:
            raise Misplaced(repeated)
        return self


def load_conflict_rules(folder: Path) -> list[ConflictRule]:
    """The conflict rules of a definitions folder; none without a file.

    Raises:
        DefinitionsError: naming every mistake with file, line and field; a category that no workflow has is one.
    """
    known = sorted({flow.category for flow in load_flow_map(folder).flows if flow.category})

    class Known(Conflicts):
        @model_validator(mode="after")
        def _categories_exist(self) -> "Known":
            unknown: list[tuple[Location, str]] = [
                (
                    ("conflicts", number, "between", place),
                    f"'{name}' is no category of flows.yaml. Write one of {', '.join(known) or 'them there first'}.",
                )
                for number, one in enumerate(self.conflicts)
                for place, name in enumerate(one.between)
                if name not in known
            ]
            if unknown:
                raise Misplaced(unknown)
            return self

    return [
        ConflictRule(
            one.between[0], one.between[1], one.type, one.severity, one.description, Resolution(one.resolution)
        )
        for one in load_definition(folder / CONFLICTS_FILE, Known).conflicts
    ]
