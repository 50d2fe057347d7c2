-- Days of new entry events; of entries into steps that are told in another way from now on; and of who waits in a queue.
SELECT CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.event_versions AS event
WHERE event.event_type IN ('step_entered', 'entry')
UNION
SELECT arrival.day
FROM core.arrivals AS arrival
JOIN touched.newly_told_steps AS told ON told.step_key = arrival.step_key
UNION
SELECT tracked.day
FROM touched.newly_told_steps AS told
JOIN core.tracked_steps AS tracked ON tracked.step_key = told.step_key
UNION
SELECT arrival.day
FROM core.arrivals AS arrival
WHERE arrival.entry_source = 'queue'
UNION
SELECT queued.first_day_seen
FROM (
  SELECT MIN(sighting.as_of_day) AS first_day_seen, MAX(sighting.as_of_day) AS last_day_seen
  FROM lake.automation_queue AS sighting
  GROUP BY sighting.workflow_id, sighting.step_id, sighting.subscriber_key
) AS queued
WHERE queued.last_day_seen = (SELECT MAX(newest.as_of_day) FROM lake.automation_queue AS newest)
