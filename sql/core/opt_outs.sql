-- Grain: unsubscribe or complaint about a campaign (campaign, subscriber, reason), by day. The latest version counts.
WITH version AS (
  SELECT
    unsubscribe.campaign_id AS campaign_id,
    unsubscribe.subscriber_key AS subscriber_key,
    'unsubscribed' AS reason,
    unsubscribe.occurred_us AS occurred_us,
    unsubscribe.as_of_day AS as_of_day
  FROM lake.unsubscribes AS unsubscribe
  UNION ALL
  SELECT
    complaint.campaign_id AS campaign_id,
    complaint.subscriber_key AS subscriber_key,
    'complaint' AS reason,
    complaint.occurred_us AS occurred_us,
    complaint.as_of_day AS as_of_day
  FROM lake.abuse_reports AS complaint
),
ranked AS (
  SELECT
    version.campaign_id AS campaign_id,
    version.subscriber_key AS subscriber_key,
    version.reason AS reason,
    version.occurred_us AS occurred_us,
    ROW_NUMBER() OVER (
      PARTITION BY version.campaign_id, version.subscriber_key, version.reason
      ORDER BY version.as_of_day DESC NULLS FIRST, version.occurred_us DESC NULLS FIRST
    ) AS version_rank
  FROM version AS version
)
SELECT
  ranked.campaign_id AS campaign_id,
  ranked.subscriber_key AS subscriber_key,
  ranked.reason AS reason,
  ranked.occurred_us AS occurred_us,
  CAST(FLOOR(ranked.occurred_us / 86400000000) AS BIGINT) AS day
FROM ranked AS ranked
WHERE ranked.version_rank = 1
  AND ranked.occurred_us >= $first_day * 86400000000
  AND ranked.occurred_us < ($last_day + 1) * 86400000000
