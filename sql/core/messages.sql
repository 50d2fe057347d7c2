-- Grain: message (step, subscriber) with what became of it, by day of sending.
-- Mailchimp marks opens by machines for messages sent since 2024-06-22 (1719014400000000).
WITH reaction AS (
  SELECT
    engagement.step_key AS step_key,
    engagement.subscriber_key AS subscriber_key,
    COUNT(CASE WHEN engagement.action = 'open' THEN 1 END) AS opens,
    COUNT(CASE WHEN engagement.action = 'open' AND engagement.is_human THEN 1 END) AS human_opens,
    MIN(CASE WHEN engagement.action = 'open' THEN engagement.occurred_us END) AS first_open_us,
    MIN(CASE WHEN engagement.action = 'open' AND engagement.is_human THEN engagement.occurred_us END)
      AS first_human_open_us,
    COUNT(CASE WHEN engagement.action = 'click' THEN 1 END) AS clicks,
    COUNT(CASE WHEN engagement.action = 'click' AND engagement.is_human THEN 1 END) AS human_clicks,
    MIN(CASE WHEN engagement.action = 'click' THEN engagement.occurred_us END) AS first_click_us,
    MIN(CASE WHEN engagement.action = 'click' AND engagement.is_human THEN engagement.occurred_us END)
      AS first_human_click_us
  FROM core.engagements AS engagement
  WHERE engagement.day BETWEEN $first_day AND $last_day
  GROUP BY engagement.step_key, engagement.subscriber_key
)
SELECT
  send.subscriber_key AS subscriber_key,
  send.step_key AS step_key,
  send.workflow_key AS workflow_key,
  send.campaign_id AS campaign_id,
  send.sent_us AS sent_us,
  send.sent_at_source AS sent_at_source,
  send.day AS day,
  -- 1970-01-01 was a Thursday, 72 hours after the start of a Monday.
  MOD(CAST(FLOOR((send.sent_us + COALESCE(zone.offset_us, 0)) / 3600000000) AS BIGINT) + 72, 168)
    AS local_hour_of_week,
  send.bounce_kind AS bounce_kind,
  send.sent_us >= 1719014400000000 AS has_machine_marks,
  COALESCE(reaction.opens, 0) AS opens,
  COALESCE(reaction.human_opens, 0) AS human_opens,
  reaction.first_open_us AS first_open_us,
  reaction.first_human_open_us AS first_human_open_us,
  COALESCE(reaction.clicks, 0) AS clicks,
  COALESCE(reaction.human_clicks, 0) AS human_clicks,
  reaction.first_click_us AS first_click_us,
  reaction.first_human_click_us AS first_human_click_us,
  unsubscribe.occurred_us AS unsubscribed_us,
  complaint.occurred_us AS complained_us
FROM core.sends AS send
LEFT JOIN reaction AS reaction
  ON reaction.step_key = send.step_key
  AND reaction.subscriber_key = send.subscriber_key
LEFT JOIN core.subscribers AS subscriber
  ON subscriber.subscriber_key = send.subscriber_key
LEFT JOIN core.zone_offsets AS zone
  ON zone.zone = subscriber.zone
  AND zone.from_us <= send.sent_us
  AND zone.to_us > send.sent_us
LEFT JOIN core.opt_outs AS unsubscribe
  ON unsubscribe.campaign_id = send.campaign_id
  AND unsubscribe.subscriber_key = send.subscriber_key
  AND unsubscribe.reason = 'unsubscribed'
LEFT JOIN core.opt_outs AS complaint
  ON complaint.campaign_id = send.campaign_id
  AND complaint.subscriber_key = send.subscriber_key
  AND complaint.reason = 'complaint'
WHERE send.day BETWEEN $first_day AND $last_day
