-- Days of entries and conversions that changed, and of later conversions within 60 days, which may count otherwise now.
SELECT CAST(FLOOR(instant.occurred_us / 86400000000) AS BIGINT) AS day
FROM changed_instants AS instant
UNION
SELECT conversion.day
FROM changed_instants AS instant
JOIN core.conversions AS conversion
  ON conversion.subscriber_key = instant.subscriber_key
  AND conversion.occurred_us BETWEEN instant.occurred_us AND instant.occurred_us + 5184000000000
