-- Grain: IP address (keyed hash) and day. The addresses that clicked for so many recipients that they must be scanners.
SELECT
  click.ip_key AS ip_key,
  CAST(FLOOR(click.occurred_us / 86400000000) AS BIGINT) AS day,
  COUNT(DISTINCT click.subscriber_key) AS recipients
FROM lake.email_activity AS click
WHERE click.action = 'click'
  AND click.ip_key IS NOT NULL
  AND click.occurred_us >= $first_day * 86400000000
  AND click.occurred_us < ($last_day + 1) * 86400000000
GROUP BY click.ip_key, CAST(FLOOR(click.occurred_us / 86400000000) AS BIGINT)
HAVING COUNT(DISTINCT click.subscriber_key) >= $shared_ip_recipients
