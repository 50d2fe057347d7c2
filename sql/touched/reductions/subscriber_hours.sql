-- Days of new entries and visits. Days of messages, engagements and orders come from the tables they are read from.
SELECT DISTINCT CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.event_versions AS event
WHERE event.event_type IN ('entry', 'visit')
