-- Days of entry within 26 weeks before a conversion or departure that may have changed.
SELECT DISTINCT entry.day AS day
FROM (
  SELECT conversion.subscriber_key, conversion.occurred_us FROM touched.conversion_instants AS conversion
  UNION
  SELECT departure.subscriber_key, departure.occurred_us FROM touched.departure_instants AS departure
) AS instant
JOIN core.step_entries AS entry
  ON entry.subscriber_key = instant.subscriber_key
  AND entry.entered_us BETWEEN instant.occurred_us - 15724800000000 AND instant.occurred_us
JOIN core.steps AS step ON step.step_key = entry.step_key AND step.position = 1
