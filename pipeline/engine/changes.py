"""Which windows become due because dimensions changed. Dimensions are compared with their copy in schema `engine`."""

from collections.abc import Sequence

import duckdb

from pipeline.engine.state import State
from pipeline.engine.windows import EVERYTHING, Window

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
NEW_CAMPAIGN_DAYS = """
SELECT DISTINCT CAST(FLOOR(send.sent_us / 86400000000) AS BIGINT) AS day
FROM lake.sends AS send
JOIN core.steps AS step ON step.campaign_id = send.campaign_id
JOIN core.workflows AS workflow ON workflow.workflow_key = step.workflow_key AND workflow.kind = 'campaign'
LEFT JOIN engine.steps AS known ON known.step_key = step.step_key
WHERE known.step_key IS NULL
"""
FLOWS_CHANGED = """
SELECT COUNT(*) FROM (
  (SELECT * FROM engine.{table} EXCEPT SELECT {columns} FROM core.{table})
  UNION ALL
  (SELECT {columns} FROM core.{table} {of_flows} EXCEPT SELECT * FROM engine.{table})
)
"""
CHANGED_SUBSCRIBERS = """
SELECT DISTINCT fact.day
FROM core.subscribers AS subscriber
JOIN engine.subscribers AS known ON known.subscriber_key = subscriber.subscriber_key
JOIN {fact} AS fact ON fact.subscriber_key = subscriber.subscriber_key
WHERE {changed}
UNION
SELECT DISTINCT fact.day
FROM {fact} AS fact
LEFT JOIN engine.subscribers AS known ON known.subscriber_key = fact.subscriber_key
LEFT JOIN core.subscribers AS subscriber ON subscriber.subscriber_key = fact.subscriber_key
WHERE (known.subscriber_key IS NULL) <> (subscriber.subscriber_key IS NULL)
"""
BEHAVIOUR = """
(SELECT event.subscriber_key, CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM lake.events AS event
WHERE event.event_type IN ('entry', 'visit'))
"""
SUBSCRIBER_EFFECTS = (
    ("core.messages", "core.sends", "subscriber.zone IS DISTINCT FROM known.zone"),
    (
        "reductions.cohort_cells",
        "core.step_entries",
        "subscriber.plan IS DISTINCT FROM known.plan OR subscriber.signup_us IS DISTINCT FROM known.signup_us "
        "OR subscriber.first_purchase_us IS DISTINCT FROM known.first_purchase_us "
        "OR subscriber.cohort_value IS DISTINCT FROM known.cohort_value",
    ),
    ("reductions.assigned_delays", "core.step_entries", "subscriber.plan IS DISTINCT FROM known.plan"),
    ("reductions.subscriber_hours", "core.conversions", "subscriber.zone IS DISTINCT FROM known.zone"),
    ("reductions.subscriber_hours", BEHAVIOUR, "subscriber.zone IS DISTINCT FROM known.zone"),
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
    if known.keys() >= WATCHED.keys():
        # An older release watched other columns, so it is not known whether today's columns changed.
        is_older = any(known[table] != columns for table, columns in WATCHED.items())
        if is_older or _flows_changed(connection):
            for model in models:
                state.add_pending(model, [EVERYTHING])
        else:
            state.add_pending("core.sends", _days(connection, NEW_CAMPAIGN_DAYS))
            for model, fact, changed in SUBSCRIBER_EFFECTS:
                state.add_pending(model, _days(connection, CHANGED_SUBSCRIBERS.format(fact=fact, changed=changed)))
    for table, columns in WATCHED.items():
        connection.execute(f"CREATE OR REPLACE TABLE engine.{table} AS SELECT {columns} FROM core.{table}")


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


def _days(connection: duckdb.DuckDBPyConnection, sql: str) -> list[Window]:
    return [Window(day, day) for (day,) in connection.execute(sql).fetchall()]
