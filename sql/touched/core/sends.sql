-- Days of sending of all versions of messages with a new version.
SELECT DISTINCT CAST(FLOOR(version.sent_us / 86400000000) AS BIGINT) AS day
FROM lake.sends AS version
JOIN new.sends AS fresh
  ON fresh.campaign_id = version.campaign_id AND fresh.subscriber_key = version.subscriber_key
