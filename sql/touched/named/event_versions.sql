-- All versions of the events with a new version. All versions of an event are in the partition of one day.
SELECT version.event_type, version.subscriber_key, version.occurred_us
FROM around.events AS version
JOIN (SELECT DISTINCT told.event_id FROM new.events AS told) AS fresh ON fresh.event_id = version.event_id
