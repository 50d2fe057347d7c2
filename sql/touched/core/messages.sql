-- Days of sending of messages with a new unsubscribe or complaint.
SELECT DISTINCT send.day AS day
FROM (
  SELECT fresh.campaign_id, fresh.subscriber_key FROM new.unsubscribes AS fresh
  UNION
  SELECT fresh.campaign_id, fresh.subscriber_key FROM new.abuse_reports AS fresh
) AS answered
JOIN core.sends AS send
  ON send.campaign_id = answered.campaign_id AND send.subscriber_key = answered.subscriber_key
