-- Engagements that new lake rows may add, change or mark differently: message and instant.
-- A new row can change the marks of its message, and of what came within half an hour of sending to the messages of the
-- same day. A link that is new to a campaign can change the marks of all engagements of the campaign.
WITH message AS (
  SELECT fresh.campaign_id, fresh.subscriber_key FROM new.email_activity AS fresh
  UNION
  SELECT detail.campaign_id, detail.subscriber_key FROM new.open_details AS detail
  UNION
  SELECT send.campaign_id, send.subscriber_key FROM new.sends AS send
),
sending AS (
  SELECT DISTINCT CAST(FLOOR(version.sent_us / 86400000000) AS BIGINT) AS day
  FROM lake.sends AS version
  JOIN message ON message.campaign_id = version.campaign_id AND message.subscriber_key = version.subscriber_key
),
relinked AS (
  SELECT DISTINCT link.campaign_id
  FROM new.click_details AS link
  LEFT JOIN lake.click_details AS earlier
    ON earlier.campaign_id = link.campaign_id
    AND earlier.url = link.url
    AND earlier.as_of_day < link.as_of_day
  WHERE earlier.campaign_id IS NULL
)
SELECT activity.campaign_id, activity.subscriber_key, activity.occurred_us
FROM lake.email_activity AS activity
JOIN message ON message.campaign_id = activity.campaign_id AND message.subscriber_key = activity.subscriber_key
UNION
SELECT activity.campaign_id, activity.subscriber_key, activity.occurred_us
FROM sending
JOIN core.sends AS send ON send.day = sending.day
JOIN lake.email_activity AS activity
  ON activity.campaign_id = send.campaign_id
  AND activity.subscriber_key = send.subscriber_key
  AND activity.occurred_us < send.sent_us + 1800000000
UNION
SELECT activity.campaign_id, activity.subscriber_key, activity.occurred_us
FROM lake.email_activity AS activity
JOIN relinked ON relinked.campaign_id = activity.campaign_id
