-- Grain: entry into a step (step, subscriber, time), by day of entry. Where entries are known from: the step's own
-- `step_entered` events; for a first step without any, the workflow's `entry` events; for a step without either, the
-- sending of its message, and until then the first night its queue held the subscriber (end of that day), whose assigned
-- wait is that until the planned sending.
WITH event AS (
  SELECT
    version.event_type AS event_type,
    version.subscriber_key AS subscriber_key,
    version.workflow_id AS workflow_id,
    version.step_id AS step_id,
    version.occurred_us AS occurred_us,
    version.next_step_id AS next_step_id,
    version.assigned_delay_hours AS assigned_delay_hours,
    version.is_delay_randomised AS is_delay_randomised,
    version.event_id AS event_id,
    ROW_NUMBER() OVER (
      PARTITION BY version.event_id, CAST(FLOOR(version.occurred_us / 86400000000) AS BIGINT)
      ORDER BY version.as_of_day DESC NULLS FIRST, version.occurred_us DESC NULLS FIRST
    ) AS version_rank
  FROM lake.events AS version
  WHERE version.event_type IN ('step_entered', 'entry')
    AND version.occurred_us >= $first_day * 86400000000
    AND version.occurred_us < ($last_day + 1) * 86400000000
),
step_source AS (
  SELECT
    tracked.step_key AS step_key,
    MAX(tracked.event_type) AS event_type
  FROM core.tracked_steps AS tracked
  GROUP BY tracked.step_key
),
sighting AS (
  SELECT
    queued.workflow_id AS workflow_id,
    queued.step_id AS step_id,
    queued.subscriber_key AS subscriber_key,
    MIN(queued.as_of_day) AS first_day_seen,
    MAX(queued.next_send_us) AS next_send_us
  FROM lake.automation_queue AS queued
  GROUP BY queued.workflow_id, queued.step_id, queued.subscriber_key
  HAVING MAX(queued.as_of_day) = (SELECT MAX(newest.as_of_day) AS last_night FROM lake.automation_queue AS newest)
),
arrival AS (
  SELECT
    event.subscriber_key AS subscriber_key,
    step.workflow_key AS workflow_key,
    step.step_key AS step_key,
    event.occurred_us AS entered_us,
    'event' AS entry_source,
    routed.step_key AS next_step_key,
    event.assigned_delay_hours AS assigned_delay_hours,
    COALESCE(event.is_delay_randomised, FALSE) AS is_delay_randomised,
    event.event_id AS tie_breaker
  FROM event AS event
  LEFT JOIN core.steps AS step
    ON step.workflow_id = event.workflow_id
    AND (
      (event.event_type = 'step_entered' AND step.step_id = event.step_id)
      OR (event.event_type = 'entry' AND step.position = 1)
    )
  LEFT JOIN step_source AS step_source
    ON step_source.step_key = step.step_key
  LEFT JOIN core.steps AS routed
    ON routed.workflow_id = event.workflow_id
    AND routed.step_id = event.next_step_id
  WHERE event.version_rank = 1
    AND step_source.event_type = event.event_type
  UNION ALL
  SELECT
    send.subscriber_key AS subscriber_key,
    send.workflow_key AS workflow_key,
    send.step_key AS step_key,
    send.sent_us AS entered_us,
    'sent_to' AS entry_source,
    NULL AS next_step_key,
    NULL AS assigned_delay_hours,
    FALSE AS is_delay_randomised,
    '' AS tie_breaker
  FROM core.sends AS send
  LEFT JOIN step_source AS step_source
    ON step_source.step_key = send.step_key
  WHERE send.day BETWEEN $first_day AND $last_day
    AND step_source.step_key IS NULL
  UNION ALL
  SELECT
    sighting.subscriber_key AS subscriber_key,
    step.workflow_key AS workflow_key,
    step.step_key AS step_key,
    (sighting.first_day_seen + 1) * 86400000000 - 1 AS entered_us,
    'queue' AS entry_source,
    NULL AS next_step_key,
    CASE
      WHEN sighting.next_send_us >= (sighting.first_day_seen + 1) * 86400000000
        THEN CAST(FLOOR((sighting.next_send_us - sighting.first_day_seen * 86400000000) / 3600000000) AS BIGINT) - 23
      ELSE 0
    END AS assigned_delay_hours,
    FALSE AS is_delay_randomised,
    '' AS tie_breaker
  FROM sighting AS sighting
  LEFT JOIN core.steps AS step
    ON step.workflow_id = sighting.workflow_id
    AND step.step_id = sighting.step_id
  LEFT JOIN step_source AS step_source
    ON step_source.step_key = step.step_key
  LEFT JOIN core.sends AS send
    ON send.step_key = step.step_key
    AND send.subscriber_key = sighting.subscriber_key
  WHERE sighting.first_day_seen BETWEEN $first_day AND $last_day
    AND step.step_key IS NOT NULL
    AND step_source.step_key IS NULL
    AND send.step_key IS NULL
),
ranked AS (
  SELECT
    arrival.subscriber_key AS subscriber_key,
    arrival.workflow_key AS workflow_key,
    arrival.step_key AS step_key,
    arrival.entered_us AS entered_us,
    arrival.entry_source AS entry_source,
    arrival.next_step_key AS next_step_key,
    arrival.assigned_delay_hours AS assigned_delay_hours,
    arrival.is_delay_randomised AS is_delay_randomised,
    ROW_NUMBER() OVER (
      PARTITION BY arrival.step_key, arrival.subscriber_key, arrival.entered_us
      ORDER BY arrival.tie_breaker ASC NULLS FIRST
    ) AS duplicate_rank
  FROM arrival AS arrival
)
SELECT
  ranked.subscriber_key AS subscriber_key,
  ranked.workflow_key AS workflow_key,
  ranked.step_key AS step_key,
  ranked.entered_us AS entered_us,
  CAST(FLOOR(ranked.entered_us / 86400000000) AS BIGINT) AS day,
  ranked.entry_source AS entry_source,
  CAST(ranked.next_step_key AS BIGINT) AS next_step_key,
  CAST(ranked.assigned_delay_hours AS BIGINT) AS assigned_delay_hours,
  ranked.is_delay_randomised AS is_delay_randomised
FROM ranked AS ranked
WHERE ranked.duplicate_rank = 1
