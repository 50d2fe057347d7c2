-- Grain: planned transition, version of its delay, day of entry, outcome, and calendar days until the outcome.
-- Timeouts after tonight are subscribers who are still waiting. The analysis, which knows tonight, censors them.
SELECT
  entry.workflow_key AS workflow_key,
  entry.step_key AS from_step_key,
  entry.to_step_key AS to_step_key,
  entry.delay_version AS delay_version,
  entry.day AS day,
  entry.outcome AS outcome,
  entry.outcome_day - entry.day AS elapsed_days,
  COUNT(*) AS subscribers
FROM core.step_entries AS entry
WHERE entry.day BETWEEN $first_day AND $last_day
  AND entry.to_step_key IS NOT NULL
GROUP BY entry.workflow_key, entry.step_key, entry.to_step_key, entry.delay_version, entry.day, entry.outcome,
  entry.outcome_day - entry.day
