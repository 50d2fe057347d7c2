-- Grain: planned transition, day of entry, assigned delay, whether it was drawn at random, segment, and the day on which
-- it happened: entrants on the day of entry, conversions on the day of the first one within 60 days. So a conversion
-- changes its own day and not that of the entry. Every entry counts, whether or not a message was sent.
-- A conversion is the goal of the workflow. If the workflow has no goal, any conversion counts.
WITH buyer AS (
  SELECT
    conversion.subscriber_key AS subscriber_key
  FROM core.conversions AS conversion
  WHERE conversion.day BETWEEN $first_day AND $last_day
  GROUP BY conversion.subscriber_key
),
entrant AS (
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
  LEFT JOIN buyer AS buyer
    ON buyer.subscriber_key = entry.subscriber_key
  -- Conversions count within 60 days after the entry.
  WHERE entry.day BETWEEN $first_day - 60 AND $last_day
    AND entry.to_step_key IS NOT NULL
    AND entry.assigned_delay_hours IS NOT NULL
    AND (entry.day >= $first_day OR buyer.subscriber_key IS NOT NULL)
),
converted AS (
  SELECT
    entrant.subscriber_key AS subscriber_key,
    entrant.from_step_key AS from_step_key,
    entrant.entered_us AS entered_us,
    MIN(conversion.day) AS day
  FROM entrant AS entrant
  LEFT JOIN core.conversions AS conversion
    ON conversion.subscriber_key = entrant.subscriber_key
    AND conversion.occurred_us BETWEEN entrant.entered_us AND entrant.entered_us + 5183999999999
    AND (entrant.goal_event_type IS NULL OR conversion.event_type = entrant.goal_event_type)
  WHERE conversion.day BETWEEN $first_day - 60 AND $last_day
  GROUP BY entrant.subscriber_key, entrant.from_step_key, entrant.entered_us
),
counted AS (
  SELECT
    entrant.subscriber_key AS subscriber_key,
    entrant.workflow_key AS workflow_key,
    entrant.from_step_key AS from_step_key,
    entrant.to_step_key AS to_step_key,
    entrant.day AS entry_day,
    entrant.day AS day,
    entrant.assigned_delay_hours AS assigned_delay_hours,
    entrant.is_delay_randomised AS is_delay_randomised,
    1 AS entrants,
    0 AS conversions
  FROM entrant AS entrant
  WHERE entrant.day >= $first_day
  UNION ALL
  SELECT
    entrant.subscriber_key AS subscriber_key,
    entrant.workflow_key AS workflow_key,
    entrant.from_step_key AS from_step_key,
    entrant.to_step_key AS to_step_key,
    entrant.day AS entry_day,
    converted.day AS day,
    entrant.assigned_delay_hours AS assigned_delay_hours,
    entrant.is_delay_randomised AS is_delay_randomised,
    0 AS entrants,
    1 AS conversions
  FROM entrant AS entrant
  LEFT JOIN converted AS converted
    ON converted.subscriber_key = entrant.subscriber_key
    AND converted.from_step_key = entrant.from_step_key
    AND converted.entered_us = entrant.entered_us
  WHERE converted.day >= $first_day
)
SELECT
  counted.workflow_key AS workflow_key,
  counted.from_step_key AS from_step_key,
  counted.to_step_key AS to_step_key,
  counted.day AS day,
  counted.entry_day AS entry_day,
  counted.assigned_delay_hours AS assigned_delay_hours,
  counted.is_delay_randomised AS is_delay_randomised,
  COALESCE(subscriber.plan, 'none') AS segment,
  CAST(SUM(counted.entrants) AS BIGINT) AS entrants,
  CAST(SUM(counted.conversions) AS BIGINT) AS conversions
FROM counted AS counted
LEFT JOIN core.subscribers AS subscriber
  ON subscriber.subscriber_key = counted.subscriber_key
GROUP BY counted.workflow_key, counted.from_step_key, counted.to_step_key, counted.day, counted.entry_day,
  counted.assigned_delay_hours, counted.is_delay_randomised, COALESCE(subscriber.plan, 'none')
