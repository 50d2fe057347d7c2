-- Days of new events that report entries.
SELECT DISTINCT CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.event_versions AS event
WHERE event.event_type IN ('step_entered', 'entry')
