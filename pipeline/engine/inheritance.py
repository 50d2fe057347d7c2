"""What a recomputed window hands on: the days of other models that rows of it make due which appeared or disappeared.

This happens in the transaction that replaces the rows, so that no change is lost if the run is cut short.
"""

from collections.abc import Mapping
from pathlib import Path

import duckdb

from pipeline.engine.model import Model, parameters_of
from pipeline.engine.state import State
from pipeline.engine.windows import Window

# If a row of a table changes, the same day of these models becomes due, by the named column of the table.
INHERITED_DAYS: Mapping[str, Mapping[str, str]] = {
    "core.engagements": {"core.sends": "day"},
    "core.messages": {"core.sends": "day", "core.engagements": "day"},
    "core.conversions": {"core.conversion_claims": "day"},
    "core.arrivals": {"core.sends": "day"},
    "core.departures": {"core.sends": "day", "core.opt_outs": "day"},
    "core.step_entries": {"core.arrivals": "day"},
    "core.credits": {"core.conversions": "day"},
    "reductions.step_days": {"core.messages": "day"},
    "reductions.link_days": {"core.messages": "day", "core.engagements": "day"},
    "reductions.frequency_days": {"core.sends": "day", "core.messages": "day"},
    "reductions.hours_of_week": {"core.messages": "day"},
    "reductions.subscriber_hours": {"core.messages": "day", "core.engagements": "day", "core.conversions": "day"},
    "reductions.credit_days": {"core.credits": "message_day"},
    "reductions.entry_days": {"core.step_entries": "day"},
    "reductions.funnel_transitions": {"core.step_entries": "day"},
    "reductions.transition_hours": {"core.step_entries": "day"},
    "reductions.exit_days": {"core.step_entries": "day"},
}

# A model that looks back on earlier days of a table: so many days after a changed day become due, too.
DAYS_LOOKED_BACK: Mapping[str, Mapping[str, int]] = {"reductions.frequency_days": {"core.sends": 28}}

# If rows of these tables change, the days that `sql/changed/MODEL.sql` lists become due. These queries run on DuckDB
# only. They may read `changed_facts`, the rows that appeared or disappeared, and `changed_instants`, their subscribers
# and times.
DAYS_BY_QUERY: Mapping[str, tuple[str, ...]] = {
    "core.arrivals": ("core.tracked_steps",),
    "core.conversions": ("core.conversion_claims",),
    "core.messages": ("core.opt_outs",),
    "core.step_entries": ("core.arrivals", "core.conversions", "core.departures"),
    "core.credits": ("core.engagements",),
    "reductions.cohort_cells": ("core.arrivals", "core.conversions", "core.departures"),
    "reductions.assigned_delays": ("core.step_entries", "core.conversions"),
}
INSTANTS: Mapping[str, str] = {
    "core.arrivals": "entered_us",
    "core.conversions": "occurred_us",
    "core.departures": "occurred_us",
    "core.engagements": "occurred_us",
    "core.step_entries": "entered_us",
}

CHANGED_FACTS = """
CREATE OR REPLACE TEMP TABLE changed_facts AS
(SELECT * FROM facts_before EXCEPT SELECT * FROM {model} WHERE day BETWEEN {first_day} AND {last_day})
UNION ALL
(SELECT * FROM {model} WHERE day BETWEEN {first_day} AND {last_day} EXCEPT SELECT * FROM facts_before)
"""


class Inheritance:
    """Makes days of models due that read a model."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        state: State,
        models: Mapping[str, Model],
        folder: Path,
        parameters: Mapping[str, int | str],
    ) -> None:
        self._connection = connection
        self._state = state
        self._folder = folder
        self._parameters = parameters
        self._readers = {name: [reader for reader in models.values() if name in reader.depends_on] for name in models}
        self._heirs = {
            name: [reader for reader in readers if _inherits(reader.name, name)]
            for name, readers in self._readers.items()
        }

    def text(self, model: Model) -> str:
        """The SQL that finds the days of a model. Empty if there is none."""
        return self._query(model.name).read_text() if model.name in DAYS_BY_QUERY else ""

    def remember(self, model: Model, window: Window) -> None:
        """Keep the rows of a window as they are before it is recomputed."""
        if self._heirs[model.name] and not window.is_everything:
            rows = f"SELECT * FROM {model.name} WHERE day BETWEEN {window.first_day} AND {window.last_day}"
            self._connection.execute(f"CREATE OR REPLACE TEMP TABLE facts_before AS {rows}")

    def hand_on(self, model: Model, window: Window) -> None:
        """Make due, after a window is recomputed, what its changed rows reach."""
        heirs = self._heirs[model.name]
        if window.is_everything:
            for reader in self._readers[model.name]:
                self._state.add_pending(reader.name, [window])
        elif heirs and self._find_changed(model, window):
            for heir in heirs:
                self._hand_on_to(heir, model)

    def _find_changed(self, model: Model, window: Window) -> bool:
        days = {"first_day": window.first_day, "last_day": window.last_day}
        self._connection.execute(CHANGED_FACTS.format(model=model.name, **days))
        if model.name in INSTANTS:
            instants = f"SELECT subscriber_key, {INSTANTS[model.name]} AS occurred_us FROM changed_facts"
            self._connection.execute(f"CREATE OR REPLACE TEMP VIEW changed_instants AS {instants}")
        return self._connection.execute("SELECT 1 FROM changed_facts LIMIT 1").fetchone() is not None

    def _hand_on_to(self, heir: Model, model: Model) -> None:
        column = INHERITED_DAYS.get(heir.name, {}).get(model.name)
        if column:
            later = DAYS_LOOKED_BACK.get(heir.name, {}).get(model.name, 0)
            days = self._connection.execute(f"SELECT DISTINCT {column} FROM changed_facts").fetchall()
            self._state.add_pending(heir.name, [Window(day, day + later) for (day,) in days])
        if model.name in DAYS_BY_QUERY.get(heir.name, ()):
            sql = self._query(heir.name).read_text()
            arguments = {name: self._parameters[name] for name in parameters_of(sql)}
            self._state.add_pending_days(heir.name, sql, arguments)

    def _query(self, name: str) -> Path:
        return self._folder.joinpath(*name.split(".")).with_suffix(".sql")


def _inherits(heir: str, name: str) -> bool:
    return name in INHERITED_DAYS.get(heir, {}) or name in DAYS_BY_QUERY.get(heir, ())
