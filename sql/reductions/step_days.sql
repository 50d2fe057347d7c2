-- Grain: workflow, step and day of sending. Additive counts. Unique counts count messages: one per subscriber and step.
-- Rates are shares of delivered messages: an open of a bounced message counts in `opens`, but in no unique count.
SELECT
  message.workflow_key AS workflow_key,
  message.step_key AS step_key,
  message.day AS day,
  COUNT(*) AS sent,
  CAST(SUM(CASE WHEN message.bounce_kind IS NULL THEN 1 ELSE 0 END) AS BIGINT) AS delivered,
  CAST(SUM(CASE WHEN message.bounce_kind IN ('hard', 'syntax') THEN 1 ELSE 0 END) AS BIGINT) AS hard_bounces,
  CAST(SUM(CASE WHEN message.bounce_kind = 'soft' THEN 1 ELSE 0 END) AS BIGINT) AS soft_bounces,
  CAST(SUM(message.opens) AS BIGINT) AS opens,
  CAST(SUM(CASE WHEN message.bounce_kind IS NULL AND message.opens > 0 THEN 1 ELSE 0 END) AS BIGINT) AS unique_opens,
  CAST(SUM(CASE WHEN message.bounce_kind IS NULL AND message.human_opens > 0 THEN 1 ELSE 0 END) AS BIGINT)
    AS unique_human_opens,
  CAST(SUM(CASE WHEN message.has_machine_marks THEN 0 ELSE 1 END) AS BIGINT) AS unmarked_sent,
  CAST(SUM(message.clicks) AS BIGINT) AS clicks,
  CAST(SUM(CASE WHEN message.bounce_kind IS NULL AND message.clicks > 0 THEN 1 ELSE 0 END) AS BIGINT) AS unique_clicks,
  CAST(SUM(CASE WHEN message.bounce_kind IS NULL AND message.human_clicks > 0 THEN 1 ELSE 0 END) AS BIGINT)
    AS unique_human_clicks,
  CAST(SUM(CASE
    WHEN message.bounce_kind IS NULL AND message.first_human_click_us < message.sent_us + 86400000000 THEN 1
    ELSE 0
  END) AS BIGINT) AS prompt_human_clicks,
  CAST(SUM(CASE WHEN message.bounce_kind IS NULL AND message.human_opens + message.human_clicks > 0 THEN 1 ELSE 0 END)
    AS BIGINT) AS unique_human_engagements,
  CAST(SUM(CASE WHEN message.unsubscribed_us IS NOT NULL THEN 1 ELSE 0 END) AS BIGINT) AS unsubscribes,
  CAST(SUM(CASE WHEN message.complained_us IS NOT NULL THEN 1 ELSE 0 END) AS BIGINT) AS complaints
FROM core.messages AS message
WHERE message.day BETWEEN $first_day AND $last_day
GROUP BY message.workflow_key, message.step_key, message.day
