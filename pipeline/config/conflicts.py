"""`conflicts.yaml`: which categories of workflows conflict, how severely, and what is done about it.

Only the shape of the file is checked here. Conflicts are found in `pipeline/decisions/conflicts.py`. Without the file
there are none, because only the user knows what the categories mean.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipeline.config.flow_map import load_flow_map
from pipeline.config.reader import Definition, Mistake, Name, load_definition
from pipeline.decisions.conflicts import ConflictRule
from pipeline.schemas.vocabulary import ConflictSeverity, Resolution

CONFLICTS_FILE = "conflicts.yaml"


class CategoryConflict(Definition):
    """What happens between two categories. The workflow of lower priority yields, as `resolution` says."""

    between: Annotated[list[Name], Field(min_length=2, max_length=2)]
    type: Name
    severity: ConflictSeverity
    description: Name
    resolution: Resolution


class Conflicts(Definition):
    """The file: a list under `conflicts`."""

    conflicts: tuple[CategoryConflict, ...] = ()

    def mistakes(self, known: list[str] | None) -> Iterator[Mistake]:
        """Conflicts that are written twice, and categories that are not among the known ones."""
        places = [(frozenset(one.between), one.type) for one in self.conflicts]
        advice = f"Write one of {', '.join(known)}." if known else "Write categories there."
        for number, one in enumerate(self.conflicts):
            if places.index(places[number]) < number:
                yield ("conflicts", number, "type"), f"'{one.type}' is written twice for these categories. Keep one."
            for place, name in enumerate(one.between):
                if name not in (known or ()):
                    yield ("conflicts", number, "between", place), f"'{name}' is not a category of flows.yaml. {advice}"


def load_conflict_rules(folder: Path) -> list[ConflictRule]:
    """The conflict rules of a definitions folder; none without a file.

    Raises:
        DefinitionsError: names every mistake with file, line and field, also a category that no workflow has.
    """
    categories = sorted({flow.category for flow in load_flow_map(folder).flows if flow.category})
    found = load_definition(folder / CONFLICTS_FILE, Conflicts, known=categories)
    return [
        ConflictRule(one.between[0], one.between[1], one.type, one.severity, one.description, one.resolution)
        for one in found.conflicts
    ]
