-- Grain: workflow, step, day of sending, and how many messages the subscriber had got in the 7 and 28 days before.
-- Delivered messages only. A message at the same instant counts as earlier if its step has the lower key.
WITH send AS (
  SELECT
    message.subscriber_key AS subscriber_key,
    message.workflow_key AS workflow_key,
    message.step_key AS step_key,
    message.sent_us AS sent_us,
    message.day AS day
  FROM core.sends AS message
  WHERE message.day BETWEEN $first_day - 28 AND $last_day
    AND message.bounce_kind IS NULL
),
pressure AS (
  SELECT
    send.workflow_key AS workflow_key,
    send.step_key AS step_key,
    send.subscriber_key AS subscriber_key,
    send.day AS day,
    COUNT(*) OVER (
      PARTITION BY send.subscriber_key ORDER BY send.sent_us ASC NULLS FIRST
      RANGE BETWEEN 604800000000 PRECEDING AND 1 PRECEDING
    ) AS week_messages,
    COUNT(*) OVER (
      PARTITION BY send.subscriber_key ORDER BY send.sent_us ASC NULLS FIRST
      RANGE BETWEEN 2419200000000 PRECEDING AND 1 PRECEDING
    ) AS month_messages,
    ROW_NUMBER() OVER (
      PARTITION BY send.subscriber_key, send.sent_us ORDER BY send.step_key ASC NULLS FIRST
    ) - 1 AS same_instant
  FROM send AS send
),
counted AS (
  SELECT
    pressure.workflow_key AS workflow_key,
    pressure.step_key AS step_key,
    pressure.subscriber_key AS subscriber_key,
    pressure.day AS day,
    -- Beyond these numbers all are alike: they are the last classes of the table.
    CASE
      WHEN pressure.week_messages + pressure.same_instant > 10 THEN 10
      ELSE pressure.week_messages + pressure.same_instant
    END AS messages_7d,
    CASE
      WHEN pressure.month_messages + pressure.same_instant > 20 THEN 20
      ELSE pressure.month_messages + pressure.same_instant
    END AS messages_28d
  FROM pressure AS pressure
  WHERE pressure.day >= $first_day
)
SELECT
  counted.workflow_key AS workflow_key,
  counted.step_key AS step_key,
  counted.day AS day,
  counted.messages_7d AS messages_7d,
  counted.messages_28d AS messages_28d,
  COUNT(*) AS delivered,
  COUNT(CASE WHEN message.human_clicks > 0 THEN 1 END) AS unique_human_clicks,
  COUNT(message.unsubscribed_us) AS unsubscribes
FROM counted AS counted
LEFT JOIN core.messages AS message
  ON message.step_key = counted.step_key
  AND message.subscriber_key = counted.subscriber_key
  AND message.day = counted.day
GROUP BY counted.workflow_key, counted.step_key, counted.day, counted.messages_7d, counted.messages_28d
