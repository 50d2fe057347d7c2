"""`mutes.yaml`: anomalies that are known and shall not be reported until a day.

Only the shape of the file is checked here. Mutes are applied in `pipeline/analysis/anomalies/incidents.py`.
"""

from datetime import date
from pathlib import Path

import polars as pl

from pipeline.config.reader import Definition, Name, load_definition

MUTES_FILE = "mutes.yaml"


class Mute(Definition):
    """Anomalies of a workflow, step and metric, up to and including a day. A field that is not given means all."""

    workflow: Name | None = None
    step: Name | None = None
    metric: Name | None = None
    until: date
    reason: Name


class Mutes(Definition):
    """The file: a list under `mutes`."""

    mutes: tuple[Mute, ...] = ()


def load_mutes(folder: Path) -> pl.DataFrame:
    """The mutes of a definitions folder.

    Returns:
        One row per mute: `workflow_id`, `step_id`, `metric` (String, null = all) and `until` (Date, the last muted
        day). No row without a file.

    Raises:
        DefinitionsError: names every mistake with file, line and field.
    """
    rows = [
        (mute.workflow, mute.step, mute.metric, mute.until)
        for mute in load_definition(folder / MUTES_FILE, Mutes).mutes
    ]
    schema = {"workflow_id": pl.String, "step_id": pl.String, "metric": pl.String, "until": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")
