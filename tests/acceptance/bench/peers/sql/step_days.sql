-- The daily metrics as one would write them for DuckDB or for ClickHouse, which understand the same words here.
SELECT
  message.workflow_key AS workflow_key,
  message.step_key AS step_key,
  message.day AS day,
  count(*) AS sent,
  count(*) FILTER (WHERE message.bounce_kind IS NULL) AS delivered,
  count(*) FILTER (WHERE message.bounce_kind IN ('hard', 'syntax')) AS hard_bounces,
  count(*) FILTER (WHERE message.bounce_kind = 'soft') AS soft_bounces,
  sum(message.opens) AS opens,
  count(*) FILTER (WHERE message.bounce_kind IS NULL AND message.opens > 0) AS unique_opens,
  count(*) FILTER (WHERE message.bounce_kind IS NULL AND message.human_opens > 0) AS unique_human_opens,
  count(*) FILTER (WHERE NOT message.has_machine_marks) AS unmarked_sent,
  sum(message.clicks) AS clicks,
  count(*) FILTER (WHERE message.bounce_kind IS NULL AND message.clicks > 0) AS unique_clicks,
  count(*) FILTER (WHERE message.bounce_kind IS NULL AND message.human_clicks > 0) AS unique_human_clicks,
  count(*) FILTER (
    WHERE message.bounce_kind IS NULL AND message.first_human_click_us < message.sent_us + 86400000000
  ) AS prompt_human_clicks,
  count(*) FILTER (WHERE message.bounce_kind IS NULL AND message.human_opens + message.human_clicks > 0)
    AS unique_human_engagements,
  count(message.unsubscribed_us) AS unsubscribes,
  count(message.complained_us) AS complaints
FROM messages AS message
GROUP BY message.workflow_key, message.step_key, message.day
