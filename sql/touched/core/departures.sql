-- Days on which a departure may appear, disappear or change.
SELECT DISTINCT CAST(FLOOR(instant.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.departure_instants AS instant
