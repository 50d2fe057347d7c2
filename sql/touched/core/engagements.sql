-- Days of sending of messages with new engagements, or with engagements that new ones mark otherwise.
-- A new click can change the marks of other clicks from its IP address on that day. A link that is new to a campaign can
-- change the marks of all engagements of the campaign.
WITH message AS (
  SELECT fresh.campaign_id, fresh.subscriber_key FROM new.email_activity AS fresh
  UNION
  SELECT detail.campaign_id, detail.subscriber_key FROM new.open_details AS detail
  UNION
  SELECT click.campaign_id, click.subscriber_key
  FROM new.email_activity AS fresh
  JOIN core.shared_ips AS shared_ip
    ON shared_ip.ip_key = fresh.ip_key
    AND shared_ip.day = CAST(FLOOR(fresh.occurred_us / 86400000000) AS BIGINT)
  JOIN around.email_activity AS click
    ON click.ip_key = shared_ip.ip_key
    AND CAST(FLOOR(click.occurred_us / 86400000000) AS BIGINT) = shared_ip.day
  WHERE fresh.action = 'click' AND click.action = 'click'
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
