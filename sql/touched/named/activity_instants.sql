-- Engagements that new lake rows may add, change or mark differently: message and instant.
-- A new click can change the marks of other clicks from its IP address on that day, and of its message. A link that is
-- new to a campaign can change the marks of all clicks of the campaign.
WITH fresh AS (
  SELECT click.campaign_id, click.subscriber_key, click.occurred_us, click.ip_key, click.action
  FROM new.email_activity AS click
),
message AS (
  SELECT fresh.campaign_id, fresh.subscriber_key FROM fresh
  UNION
  SELECT detail.campaign_id, detail.subscriber_key FROM new.open_details AS detail
  UNION
  SELECT send.campaign_id, send.subscriber_key FROM new.sends AS send
),
scanner AS (
  SELECT DISTINCT fresh.ip_key, CAST(FLOOR(fresh.occurred_us / 86400000000) AS BIGINT) AS day
  FROM fresh
  JOIN core.shared_ips AS shared_ip
    ON shared_ip.ip_key = fresh.ip_key
    AND shared_ip.day = CAST(FLOOR(fresh.occurred_us / 86400000000) AS BIGINT)
  WHERE fresh.action = 'click'
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
FROM lake.email_activity AS activity
JOIN scanner
  ON scanner.ip_key = activity.ip_key
  AND scanner.day = CAST(FLOOR(activity.occurred_us / 86400000000) AS BIGINT)
WHERE activity.action = 'click'
UNION
SELECT activity.campaign_id, activity.subscriber_key, activity.occurred_us
FROM lake.email_activity AS activity
JOIN relinked ON relinked.campaign_id = activity.campaign_id
WHERE activity.action = 'click'
