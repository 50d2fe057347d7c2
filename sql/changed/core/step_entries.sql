-- Days of entries after which an entry, conversion or departure changed before delay and grace had passed.
WITH horizon AS (
  SELECT edge.from_step_key, MAX(edge.delay_hours) AS delay_hours, MAX(edge.grace_hours) AS grace_hours
  FROM core.edges AS edge
  GROUP BY edge.from_step_key
)
SELECT arrival.day
FROM changed_instants AS instant
JOIN core.arrivals AS arrival
  ON arrival.subscriber_key = instant.subscriber_key
  AND arrival.entered_us <= instant.occurred_us
LEFT JOIN horizon ON horizon.from_step_key = arrival.step_key
WHERE instant.occurred_us <= arrival.entered_us + 3600000000 * (
  GREATEST(COALESCE(arrival.assigned_delay_hours, 0), COALESCE(horizon.delay_hours, 0))
  + GREATEST(COALESCE(horizon.grace_hours, 0), $default_grace_hours)
)
