-- Grain: workflow, step, link and day of sending. Clicks on links of delivered messages. Unique counts count messages:
-- one per subscriber and step. Links that unsubscribe are left out, as everywhere.
SELECT
  engagement.workflow_key AS workflow_key,
  engagement.step_key AS step_key,
  engagement.url AS url,
  engagement.day AS day,
  COUNT(*) AS clicks,
  COUNT(DISTINCT engagement.subscriber_key) AS unique_clicks,
  COUNT(DISTINCT CASE WHEN engagement.is_human THEN engagement.subscriber_key END) AS unique_human_clicks
FROM core.engagements AS engagement
LEFT JOIN core.messages AS message
  ON message.step_key = engagement.step_key
  AND message.subscriber_key = engagement.subscriber_key
  AND message.day = engagement.day
WHERE engagement.day BETWEEN $first_day AND $last_day
  AND engagement.action = 'click'
  AND NOT LOWER(engagement.url) LIKE '%unsubscribe%'
  AND message.sent_us IS NOT NULL
  AND message.bounce_kind IS NULL
GROUP BY engagement.workflow_key, engagement.step_key, engagement.url, engagement.day
