-- Days of entries into steps whose entries are reported by events from now on.
WITH earlier AS (
  SELECT tracked.step_key, tracked.event_type, tracked.day FROM core.tracked_steps AS tracked
  EXCEPT
  SELECT changed.step_key, changed.event_type, changed.day FROM changed_facts AS changed
),
told AS (
  SELECT DISTINCT changed.step_key
  FROM changed_facts AS changed
  LEFT JOIN earlier ON earlier.step_key = changed.step_key AND earlier.event_type = changed.event_type
  WHERE earlier.step_key IS NULL
)
SELECT arrival.day
FROM told
JOIN core.arrivals AS arrival ON arrival.step_key = told.step_key
UNION
SELECT tracked.day
FROM told
JOIN core.tracked_steps AS tracked ON tracked.step_key = told.step_key
