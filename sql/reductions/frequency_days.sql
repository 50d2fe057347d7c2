-- Grain: workflow, step, day of sending, and how many messages the subscriber had got in the 7 and 28 days before.
-- Delivered messages only. A message at the same instant counts as earlier if its step has the lower key.
-- Messages before an instant are counted by rank among all messages and the instants that are asked for, because a join
-- of every message with all earlier ones would grow with their square.
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
instant AS (
  SELECT
    send.subscriber_key AS subscriber_key, send.step_key AS step_key, send.sent_us AS at_us, 0 AS days_before
  FROM send AS send
  UNION ALL
  SELECT
    send.subscriber_key AS subscriber_key, send.step_key AS step_key, send.sent_us - 604800000000 AS at_us,
    7 AS days_before
  FROM send AS send
  WHERE send.day >= $first_day
  UNION ALL
  SELECT
    send.subscriber_key AS subscriber_key, send.step_key AS step_key, send.sent_us - 2419200000000 AS at_us,
    28 AS days_before
  FROM send AS send
  WHERE send.day >= $first_day
),
marked AS (
  SELECT
    instant.subscriber_key AS subscriber_key,
    instant.step_key AS step_key,
    instant.at_us AS at_us,
    instant.days_before AS days_before,
    CASE WHEN instant.days_before = 0 THEN 1 ELSE 0 END AS is_message
  FROM instant AS instant
),
ranked AS (
  SELECT
    marked.subscriber_key AS subscriber_key,
    marked.step_key AS step_key,
    marked.days_before AS days_before,
    marked.is_message AS is_message,
    ROW_NUMBER() OVER (
      PARTITION BY marked.subscriber_key
      ORDER BY marked.at_us ASC NULLS FIRST, marked.is_message ASC NULLS FIRST, marked.step_key ASC NULLS FIRST,
        marked.days_before ASC NULLS FIRST
    ) AS place,
    ROW_NUMBER() OVER (
      PARTITION BY marked.subscriber_key, marked.is_message
      ORDER BY marked.at_us ASC NULLS FIRST, marked.step_key ASC NULLS FIRST, marked.days_before ASC NULLS FIRST
    ) AS place_of_kind
  FROM marked AS marked
),
earlier AS (
  SELECT
    ranked.subscriber_key AS subscriber_key,
    ranked.step_key AS step_key,
    MAX(CASE WHEN ranked.days_before = 0 THEN ranked.place_of_kind - 1 END) AS before_message,
    MAX(CASE WHEN ranked.days_before = 7 THEN ranked.place - ranked.place_of_kind END) AS before_week,
    MAX(CASE WHEN ranked.days_before = 28 THEN ranked.place - ranked.place_of_kind END) AS before_month
  FROM ranked AS ranked
  GROUP BY ranked.subscriber_key, ranked.step_key
),
pressure AS (
  SELECT
    send.workflow_key AS workflow_key,
    send.step_key AS step_key,
    send.subscriber_key AS subscriber_key,
    send.day AS day,
    earlier.before_message - earlier.before_week AS week_messages,
    earlier.before_message - earlier.before_month AS month_messages
  FROM send AS send
  LEFT JOIN earlier AS earlier
    ON earlier.subscriber_key = send.subscriber_key
    AND earlier.step_key = send.step_key
  WHERE send.day >= $first_day
)
SELECT
  pressure.workflow_key AS workflow_key,
  pressure.step_key AS step_key,
  pressure.day AS day,
  -- Beyond these numbers all are alike: they are the last classes of the table.
  CASE WHEN pressure.week_messages > 10 THEN 10 ELSE pressure.week_messages END AS messages_7d,
  CASE WHEN pressure.month_messages > 20 THEN 20 ELSE pressure.month_messages END AS messages_28d,
  COUNT(*) AS delivered,
  CAST(SUM(CASE WHEN message.human_clicks > 0 THEN 1 ELSE 0 END) AS BIGINT) AS unique_human_clicks,
  CAST(SUM(CASE WHEN message.unsubscribed_us IS NOT NULL THEN 1 ELSE 0 END) AS BIGINT) AS unsubscribes
FROM pressure AS pressure
LEFT JOIN core.messages AS message
  ON message.step_key = pressure.step_key
  AND message.subscriber_key = pressure.subscriber_key
  AND message.day = pressure.day
GROUP BY pressure.workflow_key, pressure.step_key, pressure.day,
  CASE WHEN pressure.week_messages > 10 THEN 10 ELSE pressure.week_messages END,
  CASE WHEN pressure.month_messages > 20 THEN 20 ELSE pressure.month_messages END
