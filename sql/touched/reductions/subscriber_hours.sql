-- Days of new entries and visits; messages, engagements and orders hand their days on themselves.
SELECT DISTINCT CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.event_versions AS event
WHERE event.event_type IN ('entry', 'visit')
