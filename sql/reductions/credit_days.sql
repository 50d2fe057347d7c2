-- Grain: workflow, step, day of sending of the credited message, and attribution view. Credited conversions, revenue,
-- and the squares of the messages' revenue, from which intervals of means come.
WITH message AS (
  SELECT
    credit.workflow_key AS workflow_key,
    credit.step_key AS step_key,
    credit.subscriber_key AS subscriber_key,
    credit.message_day AS day,
    credit.view AS view,
    COUNT(*) AS conversions,
    COUNT(CASE WHEN credit.is_order THEN 1 END) AS orders,
    CAST(SUM(credit.net_cents) AS BIGINT) AS net_cents
  FROM core.credits AS credit
  WHERE credit.message_day BETWEEN $first_day AND $last_day
  GROUP BY credit.workflow_key, credit.step_key, credit.subscriber_key, credit.message_day, credit.view
)
SELECT
  message.workflow_key AS workflow_key,
  message.step_key AS step_key,
  message.day AS day,
  message.view AS view,
  CAST(SUM(message.conversions) AS BIGINT) AS conversions,
  CAST(SUM(message.orders) AS BIGINT) AS orders,
  CAST(SUM(message.net_cents) AS BIGINT) AS net_cents,
  -- A square of cents may be beyond 64 bits: an order of 30 million, which are 1,200 dollars in dong, is.
  CAST(SUM(CAST(message.net_cents AS DECIMAL(38, 0)) * CAST(message.net_cents AS DECIMAL(38, 0))) AS DECIMAL(38, 0))
    AS squared_cents
FROM message AS message
GROUP BY message.workflow_key, message.step_key, message.day, message.view
