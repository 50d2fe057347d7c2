-- Steps whose entries are reported by events for the first time in the new rows.
SELECT tracked.step_key, tracked.event_type
FROM core.tracked_steps AS tracked
GROUP BY tracked.step_key, tracked.event_type
HAVING MIN(tracked.told_day) >= (SELECT MIN(event.as_of_day) FROM new.events AS event)
