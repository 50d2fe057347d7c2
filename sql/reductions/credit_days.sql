-- Grain: workflow, step, day of sending of the credited message, and attribution view. Credited conversions, revenue.
SELECT
  credit.workflow_key AS workflow_key,
  credit.step_key AS step_key,
  credit.message_day AS day,
  credit.view AS view,
  COUNT(*) AS conversions,
  CAST(SUM(CASE WHEN credit.is_order THEN 1 ELSE 0 END) AS BIGINT) AS orders,
  CAST(SUM(credit.net_cents) AS BIGINT) AS net_cents
FROM core.credits AS credit
WHERE credit.message_day BETWEEN $first_day AND $last_day
GROUP BY credit.workflow_key, credit.step_key, credit.message_day, credit.view
