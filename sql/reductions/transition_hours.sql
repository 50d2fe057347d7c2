-- Grain: planned transition, version of its delay, day of entry, outcome, and whole hours until the outcome.
SELECT
  entry.workflow_key AS workflow_key,
  entry.step_key AS from_step_key,
  entry.to_step_key AS to_step_key,
  entry.delay_version AS delay_version,
  entry.day AS day,
  entry.outcome AS outcome,
  CAST(FLOOR((entry.outcome_us - entry.entered_us) / 3600000000) AS BIGINT) AS elapsed_hours,
  COUNT(*) AS subscribers
FROM core.step_entries AS entry
WHERE entry.day BETWEEN $first_day AND $last_day
  AND entry.to_step_key IS NOT NULL
GROUP BY entry.workflow_key, entry.step_key, entry.to_step_key, entry.delay_version, entry.day, entry.outcome,
  CAST(FLOOR((entry.outcome_us - entry.entered_us) / 3600000000) AS BIGINT)
