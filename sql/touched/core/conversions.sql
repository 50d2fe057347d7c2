-- Days on which a conversion may appear, disappear or change.
SELECT DISTINCT CAST(FLOOR(instant.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.conversion_instants AS instant
