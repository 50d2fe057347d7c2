-- All versions of the events of which something new was told; versions of one event stand on one day.
SELECT version.*
FROM around.events AS version
JOIN (SELECT DISTINCT told.event_id FROM new.events AS told) AS fresh ON fresh.event_id = version.event_id
