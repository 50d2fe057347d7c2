-- Grain: planned transition, day of entry, assigned delay, whether it was drawn at random, segment, and calendar days
-- from entry to the first conversion (-1 = none within 60 days). Every entry counts, whether or not a message was sent.
-- A conversion is the goal of the workflow. If the workflow has no goal, any conversion counts.
WITH entrant AS (
  SELECT
    entry.subscriber_key AS subscriber_key,
    entry.workflow_key AS workflow_key,
    entry.step_key AS from_step_key,
    entry.to_step_key AS to_step_key,
    entry.entered_us AS entered_us,
    entry.day AS day,
    entry.assigned_delay_hours AS assigned_delay_hours,
    entry.is_delay_randomised AS is_delay_randomised,
    workflow.goal_event_type AS goal_event_type
  FROM core.step_entries AS entry
  LEFT JOIN core.workflows AS workflow
    ON workflow.workflow_key = entry.workflow_key
  WHERE entry.day BETWEEN $first_day AND $last_day
    AND entry.to_step_key IS NOT NULL
    AND entry.assigned_delay_hours IS NOT NULL
),
converted AS (
  SELECT
    entrant.subscriber_key AS subscriber_key,
    entrant.from_step_key AS from_step_key,
    entrant.entered_us AS entered_us,
    MIN(conversion.day) AS converted_day
  FROM entrant AS entrant
  LEFT JOIN core.conversions AS conversion
    ON conversion.subscriber_key = entrant.subscriber_key
    AND conversion.occurred_us BETWEEN entrant.entered_us AND entrant.entered_us + 5183999999999
    AND (entrant.goal_event_type IS NULL OR conversion.event_type = entrant.goal_event_type)
  WHERE conversion.day >= $first_day
  GROUP BY entrant.subscriber_key, entrant.from_step_key, entrant.entered_us
)
SELECT
  entrant.workflow_key AS workflow_key,
  entrant.from_step_key AS from_step_key,
  entrant.to_step_key AS to_step_key,
  entrant.day AS day,
  entrant.assigned_delay_hours AS assigned_delay_hours,
  entrant.is_delay_randomised AS is_delay_randomised,
  COALESCE(subscriber.plan, 'none') AS segment,
  COALESCE(converted.converted_day - entrant.day, -1) AS converted_days,
  COUNT(*) AS subscribers
FROM entrant AS entrant
LEFT JOIN converted AS converted
  ON converted.subscriber_key = entrant.subscriber_key
  AND converted.from_step_key = entrant.from_step_key
  AND converted.entered_us = entrant.entered_us
LEFT JOIN core.subscribers AS subscriber
  ON subscriber.subscriber_key = entrant.subscriber_key
GROUP BY entrant.workflow_key, entrant.from_step_key, entrant.to_step_key, entrant.day, entrant.assigned_delay_hours,
  entrant.is_delay_randomised, COALESCE(subscriber.plan, 'none'), COALESCE(converted.converted_day - entrant.day, -1)
