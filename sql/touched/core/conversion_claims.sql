-- Days of new versions of events and orders, and of what is known of these orders.
SELECT CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day
FROM touched.event_versions AS event
WHERE event.event_type IN ('purchase', 'conversion', 'refund')
  OR event.event_type IN (SELECT workflow.goal_event_type FROM core.workflows AS workflow)
UNION
SELECT CAST(FLOOR(fresh.processed_us / 86400000000) AS BIGINT) AS day
FROM new.orders AS fresh
UNION
SELECT claim.day
FROM new.orders AS fresh
JOIN core.conversion_claims AS claim
  ON claim.claim_source = 'store'
  AND claim.claim_id = fresh.store_id
  AND claim.order_id = fresh.order_id
