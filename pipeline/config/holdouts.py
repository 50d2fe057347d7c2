"""`holdouts.yaml`: people who get nothing of a flow, or of no flow at all, so that its revenue can be told.

Only shape and sense are checked here. What a hold-out shows is computed in `pipeline/analysis/experiments/holdouts.py`.
"""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

from pydantic import Field

from pipeline.analysis.experiments.holdouts import Holdout
from pipeline.config.reader import Definition, Mistake, Name, load_definition, repeated_ids

HOLDOUTS_FILE = "holdouts.yaml"
LARGEST_SHARE = 0.5


class _Holdout(Definition):
    """One hold-out. Without a workflow it is kept out of every flow."""

    id: Name
    workflow: Name | None = None
    share: float = Field(gt=0, le=LARGEST_SHARE)
    start: date


class _Holdouts(Definition):
    """The file: a list under `holdouts`."""

    holdouts: tuple[_Holdout, ...] = ()

    def mistakes(self, known: Any) -> Iterator[Mistake]:
        """Ids that are written twice, and a second hold-out of a workflow or of the account."""
        yield from repeated_ids(self.holdouts, "holdouts")
        first: dict[str | None, str] = {}
        for number, one in enumerate(self.holdouts):
            if first.setdefault(one.workflow, one.id) != one.id:
                place = f"workflow '{one.workflow}'" if one.workflow else "the whole account"
                text = f"{place} has the hold-out '{first[one.workflow]}' already. Keep one of them."
                yield ("holdouts", number, "workflow" if one.workflow else "id"), text


def load_holdouts(folder: Path) -> tuple[Holdout, ...]:
    """The hold-outs of a definitions folder; none without a file.

    Raises:
        DefinitionsError: names every mistake with file, line and field.
    """
    read = load_definition(folder / HOLDOUTS_FILE, _Holdouts).holdouts
    return tuple(Holdout(one.id, one.workflow, one.share, one.start) for one in read)
