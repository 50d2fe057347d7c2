-- Days of new entry events, of entries known from a queue, and of all entries and messages of people whose feed is awaited
-- since these files, or no longer. Those whose feed was listed and read by the same files were never left out.
WITH changed AS (
  SELECT fresh.subscriber_key
  FROM new.recipients AS fresh
  GROUP BY fresh.campaign_id, fresh.subscriber_key
  HAVING MIN(fresh.feed_state) <> 'awaited' OR MAX(fresh.feed_state) = 'awaited'
)
SELECT CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM changed
JOIN lake.events AS event ON event.subscriber_key = changed.subscriber_key
WHERE event.event_type IN ('step_entered', 'entry')
UNION
SELECT send.day
FROM changed
JOIN core.sends AS send ON send.subscriber_key = changed.subscriber_key
UNION
SELECT CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.event_versions AS event
WHERE event.event_type IN ('step_entered', 'entry')
UNION
SELECT arrival.day
FROM core.arrivals AS arrival
WHERE arrival.entry_source = 'queue'
UNION
-- One planned delay before the planned sending, at the latest the night of the queue, as in core/arrivals.sql.
SELECT LEAST(
  CAST(FLOOR((queued.next_send_us - 3600000000 * COALESCE(planned.delay_hours, 0)) / 86400000000) AS BIGINT),
  queued.as_of_day
) AS day
FROM lake.automation_queue AS queued
LEFT JOIN core.steps AS step
  ON step.workflow_id = queued.workflow_id
  AND step.step_id = queued.step_id
LEFT JOIN (
  SELECT edge.to_step_key AS step_key, MIN(edge.delay_hours) AS delay_hours
  FROM core.edges AS edge
  WHERE edge.valid_to_us > (SELECT MAX(newest.as_of_day) * 86400000000 FROM lake.automation_queue AS newest)
  GROUP BY edge.to_step_key
) AS planned ON planned.step_key = step.step_key
WHERE queued.as_of_day = (SELECT MAX(newest.as_of_day) FROM lake.automation_queue AS newest)
