-- Days of new versions of departures, and of what is known of the departures of their subscribers for that reason.
WITH fresh AS (
  SELECT told.subscriber_key, 'unsubscribed' AS reason, told.occurred_us
  FROM new.unsubscribes AS told
  UNION
  SELECT told.subscriber_key, 'complaint' AS reason, told.occurred_us
  FROM new.abuse_reports AS told
  UNION
  SELECT told.subscriber_key, 'removed' AS reason, told.as_of_day * 86400000000 AS occurred_us
  FROM new.removed_subscribers AS told
)
SELECT CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.event_versions AS event
WHERE event.event_type IN ('exit', 'unsubscribe')
UNION
SELECT CAST(FLOOR(fresh.occurred_us / 86400000000) AS BIGINT) AS day
FROM fresh
UNION
SELECT departure.day
FROM fresh
JOIN core.departures AS departure
  ON departure.subscriber_key = fresh.subscriber_key AND departure.reason = fresh.reason
