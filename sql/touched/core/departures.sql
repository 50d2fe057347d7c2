-- Days of new versions of events that end stays, of new removals, and of the subscribers' removals as they are known.
SELECT CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.event_versions AS event
WHERE event.event_type IN ('exit', 'unsubscribe')
UNION
SELECT fresh.as_of_day AS day
FROM new.removed_subscribers AS fresh
UNION
SELECT departure.day
FROM new.removed_subscribers AS fresh
JOIN core.departures AS departure
  ON departure.subscriber_key = fresh.subscriber_key AND departure.reason = 'removed'
