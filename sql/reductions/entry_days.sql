-- Grain: workflow, step and day of entry. Entries into the step. A subscriber who enters twice counts twice.
SELECT
  entry.workflow_key AS workflow_key,
  entry.step_key AS step_key,
  entry.day AS day,
  COUNT(*) AS entries
FROM core.step_entries AS entry
WHERE entry.day BETWEEN $first_day AND $last_day
GROUP BY entry.workflow_key, entry.step_key, entry.day
