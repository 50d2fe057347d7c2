-- Every instant at which new lake rows may add, remove or change a conversion: those of all versions of their orders
-- and events.
WITH goal AS (
  SELECT DISTINCT workflow.goal_event_type AS event_type
  FROM core.workflows AS workflow
  WHERE workflow.goal_event_type IS NOT NULL
  UNION
  SELECT unnest(['purchase', 'conversion', 'refund']) AS event_type
),
fresh AS (
  SELECT event.subscriber_key, event.order_id, event.occurred_us
  FROM touched.event_versions AS event
  JOIN goal ON goal.event_type = event.event_type
),
named AS (
  SELECT fresh.order_id FROM fresh WHERE fresh.order_id IS NOT NULL
  UNION
  SELECT store_order.order_id FROM new.orders AS store_order
)
SELECT fresh.subscriber_key, fresh.occurred_us FROM fresh
UNION
SELECT event.subscriber_key, event.occurred_us
FROM lake.events AS event
JOIN named ON named.order_id = event.order_id
UNION
SELECT store_order.subscriber_key, store_order.processed_us AS occurred_us
FROM lake.orders AS store_order
JOIN named ON named.order_id = store_order.order_id
