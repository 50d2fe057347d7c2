-- Grain: workflow, step and day of sending. Additive counts. Unique counts count messages: one per subscriber and step.
-- Rates are shares of delivered messages: an open of a bounced message counts in `opens`, but in no unique count.
SELECT
  message.workflow_key AS workflow_key,
  message.step_key AS step_key,
  message.day AS day,
  COUNT(*) AS sent,
  COUNT(CASE WHEN message.bounce_kind IS NULL THEN 1 END) AS delivered,
  COUNT(CASE WHEN message.bounce_kind IN ('hard', 'syntax') THEN 1 END) AS hard_bounces,
  COUNT(CASE WHEN message.bounce_kind = 'soft' THEN 1 END) AS soft_bounces,
  CAST(SUM(message.opens) AS BIGINT) AS opens,
  COUNT(CASE WHEN message.bounce_kind IS NULL AND message.opens > 0 THEN 1 END) AS unique_opens,
  COUNT(CASE WHEN message.bounce_kind IS NULL AND message.human_opens > 0 THEN 1 END) AS unique_human_opens,
  COUNT(CASE WHEN NOT message.has_machine_marks THEN 1 END) AS unmarked_sent,
  CAST(SUM(message.clicks) AS BIGINT) AS clicks,
  COUNT(CASE WHEN message.bounce_kind IS NULL AND message.clicks > 0 THEN 1 END) AS unique_clicks,
  COUNT(CASE WHEN message.bounce_kind IS NULL AND message.human_clicks > 0 THEN 1 END) AS unique_human_clicks,
  COUNT(CASE WHEN message.bounce_kind IS NULL AND message.first_human_click_us < message.sent_us + 86400000000 THEN 1 END)
    AS prompt_human_clicks,
  COUNT(CASE WHEN message.bounce_kind IS NULL AND message.human_opens + message.human_clicks > 0 THEN 1 END)
    AS unique_human_engagements,
  COUNT(message.unsubscribed_us) AS unsubscribes,
  COUNT(message.complained_us) AS complaints
FROM core.messages AS message
WHERE message.day BETWEEN $first_day AND $last_day
GROUP BY message.workflow_key, message.step_key, message.day
