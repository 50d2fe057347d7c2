-- Grain: entry into a step (step, subscriber, time), by day of entry.
-- Entries come from the `step_entered` events of the step. A first step without them takes the `entry` events of the
-- workflow. Any other step is entered when its message is sent, or before that when its queue of the newest night lists
-- the subscriber: one planned delay before the planned sending, at the latest at the end of that night. So the result
-- does not depend on which earlier nights were read.
-- Whoever still awaits the reading of their activity feed for a message of the workflow is left out of the workflow, as
-- nobody knows which steps they entered: else they would look as if they had stopped there. What was read once stays
-- read, so of the words for the state of a feed the greatest counts ('awaited', 'declined', 'read').
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
planned AS (
  SELECT
    edge.to_step_key AS step_key,
    MIN(edge.delay_hours) AS delay_hours
  FROM core.edges AS edge
  WHERE edge.valid_to_us > (
    SELECT COALESCE(MAX(newest.as_of_day), 0) * 86400000000 AS last_night_us FROM lake.automation_queue AS newest
  )
  GROUP BY edge.to_step_key
),
waiting AS (
  SELECT
    queued.subscriber_key AS subscriber_key,
    step.workflow_key AS workflow_key,
    step.step_key AS step_key,
    queued.next_send_us AS next_send_us,
    CASE
      WHEN queued.next_send_us - 3600000000 * COALESCE(planned.delay_hours, 0) < (queued.as_of_day + 1) * 86400000000
        THEN queued.next_send_us - 3600000000 * COALESCE(planned.delay_hours, 0)
      ELSE (queued.as_of_day + 1) * 86400000000 - 1
    END AS entered_us
  FROM lake.automation_queue AS queued
  LEFT JOIN core.steps AS step
    ON step.workflow_id = queued.workflow_id
    AND step.step_id = queued.step_id
  LEFT JOIN planned AS planned
    ON planned.step_key = step.step_key
  WHERE queued.as_of_day = (SELECT MAX(newest.as_of_day) AS last_night FROM lake.automation_queue AS newest)
    AND step.step_key IS NOT NULL
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
    waiting.subscriber_key AS subscriber_key,
    waiting.workflow_key AS workflow_key,
    waiting.step_key AS step_key,
    waiting.entered_us AS entered_us,
    'queue' AS entry_source,
    NULL AS next_step_key,
    CASE
      WHEN waiting.next_send_us > waiting.entered_us
        THEN CAST(FLOOR((waiting.next_send_us - waiting.entered_us + 3599999999) / 3600000000) AS BIGINT)
      ELSE 0
    END AS assigned_delay_hours,
    FALSE AS is_delay_randomised,
    '' AS tie_breaker
  FROM waiting AS waiting
  LEFT JOIN step_source AS step_source
    ON step_source.step_key = waiting.step_key
  LEFT JOIN core.sends AS send
    ON send.step_key = waiting.step_key
    AND send.subscriber_key = waiting.subscriber_key
  WHERE waiting.entered_us >= $first_day * 86400000000
    AND waiting.entered_us < ($last_day + 1) * 86400000000
    AND step_source.step_key IS NULL
    AND send.step_key IS NULL
),
awaited AS (
  SELECT
    step.workflow_key AS workflow_key,
    recipient.subscriber_key AS subscriber_key
  FROM lake.recipients AS recipient
  LEFT JOIN core.steps AS step
    ON step.campaign_id = recipient.campaign_id
  GROUP BY step.workflow_key, recipient.subscriber_key, recipient.campaign_id
  HAVING MAX(recipient.feed_state) = 'awaited'
),
unread AS (
  SELECT
    awaited.workflow_key AS workflow_key,
    awaited.subscriber_key AS subscriber_key
  FROM awaited AS awaited
  GROUP BY awaited.workflow_key, awaited.subscriber_key
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
  LEFT JOIN unread AS unread
    ON unread.workflow_key = arrival.workflow_key
    AND unread.subscriber_key = arrival.subscriber_key
  WHERE unread.subscriber_key IS NULL
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
