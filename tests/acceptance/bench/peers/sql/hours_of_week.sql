SELECT
  message.workflow_key AS workflow_key,
  message.day AS day,
  message.local_hour_of_week AS local_hour_of_week,
  count(*) AS delivered,
  count(*) FILTER (WHERE message.human_opens > 0) AS unique_human_opens,
  count(*) FILTER (WHERE message.human_clicks > 0) AS unique_human_clicks
FROM messages AS message
WHERE message.bounce_kind IS NULL
GROUP BY ALL
