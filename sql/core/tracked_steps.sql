-- Grain: step, event type and day of the events. The steps whose entries are reported by events.
-- An `entry` event reports an entry into the workflow, and so into its first step.
WITH event AS (
  SELECT
    version.workflow_id AS workflow_id,
    version.step_id AS step_id,
    version.event_type AS event_type,
    CAST(FLOOR(version.occurred_us / 86400000000) AS BIGINT) AS day
  FROM lake.events AS version
  WHERE version.event_type IN ('step_entered', 'entry')
    AND version.occurred_us >= $first_day * 86400000000
    AND version.occurred_us < ($last_day + 1) * 86400000000
  GROUP BY version.workflow_id, version.step_id, version.event_type,
    CAST(FLOOR(version.occurred_us / 86400000000) AS BIGINT)
)
SELECT
  step.step_key AS step_key,
  event.event_type AS event_type,
  event.day AS day
FROM event AS event
LEFT JOIN core.steps AS step
  ON step.workflow_id = event.workflow_id
  AND (
    (event.event_type = 'step_entered' AND step.step_id = event.step_id)
    OR (event.event_type = 'entry' AND step.position = 1)
  )
WHERE step.step_key IS NOT NULL
GROUP BY step.step_key, event.event_type, event.day
