-- Days of sending of messages with new engagements. A new one can change the marks of others of that day. A link that is
-- new to a campaign can change the marks of all engagements of the campaign.
WITH message AS (
  SELECT fresh.campaign_id, fresh.subscriber_key FROM new.email_activity AS fresh
  UNION
  SELECT detail.campaign_id, detail.subscriber_key FROM new.open_details AS detail
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
SELECT send.day
FROM message
JOIN core.sends AS send
  ON send.campaign_id = message.campaign_id AND send.subscriber_key = message.subscriber_key
UNION
SELECT engagement.day
FROM relinked
JOIN core.engagements AS engagement ON engagement.campaign_id = relinked.campaign_id
