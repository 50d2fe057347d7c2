-- Days of conversions within 30 days after an engagement that changed.
SELECT conversion.day
FROM changed_instants AS instant
JOIN core.conversions AS conversion
  ON conversion.subscriber_key = instant.subscriber_key
  AND conversion.occurred_us BETWEEN instant.occurred_us AND instant.occurred_us + 2592000000000
