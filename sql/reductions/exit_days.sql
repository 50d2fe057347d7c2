-- Grain: step in which stays ended, day of entry into it, day of the end, and reason.
SELECT
  entry.workflow_key AS workflow_key,
  entry.step_key AS step_key,
  entry.day AS day,
  entry.outcome_day AS outcome_day,
  entry.exit_reason AS exit_reason,
  COUNT(*) AS subscribers
FROM core.step_entries AS entry
WHERE entry.day BETWEEN $first_day AND $last_day
  AND entry.exit_reason IS NOT NULL
GROUP BY entry.workflow_key, entry.step_key, entry.day, entry.outcome_day, entry.exit_reason
