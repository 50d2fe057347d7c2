-- Days of entry after which a new entry, conversion or departure came before delay and grace had passed.
WITH happening AS (
  SELECT arrival.subscriber_key, arrival.occurred_us
  FROM touched.event_versions AS arrival
  WHERE arrival.event_type IN ('step_entered', 'entry')
  UNION
  SELECT conversion.subscriber_key, conversion.occurred_us FROM touched.conversion_instants AS conversion
  UNION
  SELECT departure.subscriber_key, departure.occurred_us FROM touched.departure_instants AS departure
),
horizon AS (
  SELECT edge.from_step_key, MAX(edge.delay_hours) AS delay_hours, MAX(edge.grace_hours) AS grace_hours
  FROM core.edges AS edge
  GROUP BY edge.from_step_key
)
SELECT DISTINCT arrival.day AS day
FROM happening
JOIN core.arrivals AS arrival
  ON arrival.subscriber_key = happening.subscriber_key
  AND arrival.entered_us <= happening.occurred_us
LEFT JOIN horizon ON horizon.from_step_key = arrival.step_key
WHERE happening.occurred_us <= arrival.entered_us + 3600000000 * (
  GREATEST(COALESCE(arrival.assigned_delay_hours, 0), COALESCE(horizon.delay_hours, 0))
  + GREATEST(COALESCE(horizon.grace_hours, 0), $default_grace_hours)
)
