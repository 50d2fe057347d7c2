"""Which windows become due because dimensions changed. Dimensions are compared with their copy in schema `engine`."""

from collections.abc import Sequence

import duckdb

from pipeline.engine.state import State
from pipeline.engine.views import create_view
from pipeline.engine.windows import EVERYTHING

# The columns that SQL reads. A change of another column, such as a title, changes no fact.
WATCHED = {
    "workflows": "workflow_key, workflow_id, goal_event_type, kind",
    "steps": "step_key, workflow_key, workflow_id, step_id, position, campaign_id",
    "edges": "from_step_key, to_step_key, delay_version, delay_hours, grace_hours, valid_from_us, valid_to_us, "
    "is_default",
    "zone_offsets": "zone, from_us, offset_us",
    "subscribers": "subscriber_key, zone, signup_us, first_purchase_us, plan, cohort_value",
}
# A new one-off campaign touches only the days of its own sends, because no other workflow shares its step.
NEW_CAMPAIGNS = """
SELECT DISTINCT step.campaign_id
FROM core.steps AS step
JOIN core.workflows AS workflow ON workflow.workflow_key = step.workflow_key AND workflow.kind = 'campaign'
LEFT JOIN engine.steps AS known ON known.step_key = step.step_key
WHERE known.step_key IS NULL AND step.campaign_id IS NOT NULL
"""
NEW_CAMPAIGN_DAYS = f"""
SELECT CAST(FLOOR(send.sent_us / 86400000000) AS BIGINT) AS day
FROM lake.sends AS send
WHERE send.campaign_id IN ({NEW_CAMPAIGNS})
"""
FLOWS_CHANGED = """
SELECT COUNT(*) FROM (
  (SELECT * FROM engine.{table} EXCEPT SELECT {columns} FROM core.{table})
  UNION ALL
  (SELECT {columns} FROM core.{table} {of_flows} EXCEPT SELECT * FROM engine.{table})
)
"""
CHANGED_SUBSCRIBERS = """
CREATE OR REPLACE TEMP TABLE changed_subscribers AS
SELECT
  COALESCE(subscriber.subscriber_key, known.subscriber_key) AS subscriber_key,
  subscriber.subscriber_key IS NULL OR known.subscriber_key IS NULL AS is_new_or_gone,
  subscriber.zone IS DISTINCT FROM known.zone AS has_other_zone,
  subscriber.plan IS DISTINCT FROM known.plan AS has_other_plan,
  has_other_plan OR subscriber.signup_us IS DISTINCT FROM known.signup_us
    OR subscriber.first_purchase_us IS DISTINCT FROM known.first_purchase_us
    OR subscriber.cohort_value IS DISTINCT FROM known.cohort_value AS has_other_cohort
FROM core.subscribers AS subscriber
FULL JOIN engine.subscribers AS known ON known.subscriber_key = subscriber.subscriber_key
WHERE is_new_or_gone OR has_other_zone OR has_other_cohort
"""
COPY_CHANGED_SUBSCRIBERS = f"""
DELETE FROM engine.subscribers WHERE subscriber_key IN (SELECT subscriber_key FROM changed_subscribers);
INSERT INTO engine.subscribers
SELECT {WATCHED["subscribers"]} FROM core.subscribers
WHERE subscriber_key IN (SELECT subscriber_key FROM changed_subscribers)
"""
# Days of a model that hold something of the changed subscribers: the model, its facts of subscribers, the change.
SUBSCRIBER_DAYS = """
SELECT fact.day
FROM changed_subscribers AS changed
JOIN {fact} AS fact ON fact.subscriber_key = changed.subscriber_key
WHERE changed.is_new_or_gone OR changed.{change}
"""
SUBSCRIBER_EFFECTS = (
    ("core.messages", "core.messages", "has_other_zone"),
    ("reductions.subscriber_hours", "reductions.subscriber_hours", "has_other_zone"),
    ("reductions.cohort_cells", "core.arrivals", "has_other_cohort"),
    ("reductions.cohort_cells", "core.conversions", "has_other_cohort"),
    ("reductions.cohort_cells", "core.departures", "has_other_cohort"),
    ("reductions.assigned_delays", "core.step_entries", "has_other_plan"),
    ("reductions.assigned_delays", "core.conversions", "has_other_plan"),
)


def observe_dimensions(connection: duckdb.DuckDBPyConnection, state: State, models: Sequence[str]) -> None:
    """Make due what changed since the dimensions were last observed, and keep a copy of them as they are now.

    A changed workflow, step, edge or zone offset makes everything due. A changed subscriber makes their own days due.
    """
    listed = connection.execute(
        "SELECT table_name, string_agg(column_name, ', ' ORDER BY ordinal_position) "
        "FROM information_schema.columns WHERE table_schema = 'engine' GROUP BY table_name"
    )
    known = dict(listed.fetchall())
    # An older release watched other columns, so it is not known whether today's columns changed.
    is_comparable = all(known.get(table) == columns for table, columns in WATCHED.items())
    if is_comparable and not _flows_changed(connection):
        _observe_campaigns(connection, state)
        _observe_subscribers(connection, state)
    else:
        for model in models:
            state.add_pending(model, [EVERYTHING])
        _copy(connection, "subscribers")
    for table in WATCHED.keys() - {"subscribers"}:
        _copy(connection, table)


def _observe_campaigns(connection: duckdb.DuckDBPyConnection, state: State) -> None:
    if connection.execute(NEW_CAMPAIGNS).fetchone():
        create_view(connection, "lake", "sends", state.files("sends"))
        state.add_pending_days("core.sends", NEW_CAMPAIGN_DAYS)


def _observe_subscribers(connection: duckdb.DuckDBPyConnection, state: State) -> None:
    connection.execute(CHANGED_SUBSCRIBERS)
    if connection.execute("SELECT 1 FROM changed_subscribers LIMIT 1").fetchone():
        for model, fact, change in SUBSCRIBER_EFFECTS:
            state.add_pending_days(model, SUBSCRIBER_DAYS.format(fact=fact, change=change))
        connection.execute(COPY_CHANGED_SUBSCRIBERS)


def _copy(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    connection.execute(f"CREATE OR REPLACE TABLE engine.{table} AS SELECT {WATCHED[table]} FROM core.{table}")


def _flows_changed(connection: duckdb.DuckDBPyConnection) -> bool:
    campaigns = "(SELECT workflow_key FROM core.workflows WHERE kind = 'campaign')"
    of_flows = {
        "workflows": "WHERE kind <> 'campaign'",
        "steps": f"WHERE workflow_key NOT IN {campaigns}",
        "edges": "",
        # A later end of the last period, or a new zone, changes nothing that was computed.
        "zone_offsets": "WHERE FALSE",
    }
    counts = (
        connection.execute(FLOWS_CHANGED.format(table=table, columns=WATCHED[table], of_flows=restriction)).fetchone()
        for table, restriction in of_flows.items()
    )
    return any(row is not None and row[0] > 0 for row in counts)
