-- Days of entries and outcomes that changed, and of later outcomes within 26 weeks, which may count otherwise now.
SELECT CAST(FLOOR(instant.occurred_us / 86400000000) AS BIGINT) AS day
FROM changed_instants AS instant
UNION
SELECT conversion.day
FROM changed_instants AS instant
JOIN core.conversions AS conversion
  ON conversion.subscriber_key = instant.subscriber_key
  AND conversion.occurred_us BETWEEN instant.occurred_us AND instant.occurred_us + 15724800000000
UNION
SELECT departure.day
FROM changed_instants AS instant
JOIN core.departures AS departure
  ON departure.subscriber_key = instant.subscriber_key
  AND departure.occurred_us BETWEEN instant.occurred_us AND instant.occurred_us + 15724800000000
WHERE departure.reason IN ('unsubscribed', 'complaint')
