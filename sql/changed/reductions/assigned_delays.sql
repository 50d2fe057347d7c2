-- Days of entry within 60 days before a conversion that changed.
SELECT entry.day
FROM changed_instants AS instant
JOIN core.step_entries AS entry
  ON entry.subscriber_key = instant.subscriber_key
  AND entry.entered_us BETWEEN instant.occurred_us - 5184000000000 AND instant.occurred_us
WHERE entry.to_step_key IS NOT NULL
