-- Days of conversions within 30 days after an engagement that may have changed. A minute is added, because a mark may
-- depend on engagements ten seconds away.
SELECT DISTINCT conversion.day AS day
FROM touched.activity_instants AS instant
JOIN core.conversions AS conversion
  ON conversion.subscriber_key = instant.subscriber_key
  AND conversion.occurred_us BETWEEN instant.occurred_us - 60000000 AND instant.occurred_us + 2592060000000
