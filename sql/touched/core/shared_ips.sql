-- Days of new clicks.
SELECT DISTINCT CAST(FLOOR(click.occurred_us / 86400000000) AS BIGINT) AS day
FROM new.email_activity AS click
WHERE click.action = 'click'
