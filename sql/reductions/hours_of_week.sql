-- Grain: workflow, day of sending, and local hour of the week of sending. Delivered messages, and those with an open or
-- click without a mark of a machine.
SELECT
  message.workflow_key AS workflow_key,
  message.day AS day,
  message.local_hour_of_week AS local_hour_of_week,
  COUNT(*) AS delivered,
  COUNT(CASE WHEN message.human_opens > 0 THEN 1 END) AS unique_human_opens,
  COUNT(CASE WHEN message.human_clicks > 0 THEN 1 END) AS unique_human_clicks
FROM core.messages AS message
WHERE message.day BETWEEN $first_day AND $last_day
  AND message.bounce_kind IS NULL
GROUP BY message.workflow_key, message.day, message.local_hour_of_week
