SELECT
  entry.workflow_key AS workflow_key,
  entry.step_key AS from_step_key,
  entry.to_step_key AS to_step_key,
  entry.delay_version AS delay_version,
  entry.day AS day,
  entry.outcome AS outcome,
  entry.outcome_day - entry.day AS elapsed_days,
  count(*) AS subscribers
FROM step_entries AS entry
WHERE entry.to_step_key IS NOT NULL
GROUP BY ALL
