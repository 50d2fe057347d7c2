"""`mutes.yaml`: anomalies that somebody knows about and does not want to be told again until a day.

Only the file's shape belongs here; what a mute does to an anomaly is in `pipeline/analysis/anomaly_incidents.py`.
"""

from datetime import date
from pathlib import Path

import polars as pl

from pipeline.config.reader import Definition, Name, load_definition

MUTES_FILE = "mutes.yaml"


class Mute(Definition):
    """Anomalies of a workflow, step and metric up to a day; what is not named is any."""

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
        `workflow_id`, `step_id`, `metric` (String, null = any) and `until` (Date, the last day muted), a row a mute;
        none without a file.

    Raises:
        DefinitionsError: naming every mistake with file, line and field.
    """
    rows = [
        (mute.workflow, mute.step, mute.metric, mute.until)
        for mute in load_definition(folder / MUTES_FILE, Mutes).mutes
    ]
    schema = {"workflow_id": pl.String, "step_id": pl.String, "metric": pl.String, "until": pl.Date}
    return pl.DataFrame(rows, schema=schema, orient="row")
