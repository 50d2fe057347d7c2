-- Grain: what one source tells of a conversion (an event, or an order of a store), by day of the event or order.
-- Of several versions the latest counts. Other currencies than the workspace's do not count; an event without one has it.
WITH goal AS (
  SELECT workflow.goal_event_type AS event_type
  FROM core.workflows AS workflow
  WHERE workflow.goal_event_type IS NOT NULL
    AND workflow.goal_event_type NOT IN ('purchase', 'conversion', 'refund')
  GROUP BY workflow.goal_event_type
),
event AS (
  SELECT
    version.event_id AS event_id,
    version.event_type AS event_type,
    version.subscriber_key AS subscriber_key,
    version.order_id AS order_id,
    version.revenue_cents AS revenue_cents,
    version.occurred_us AS occurred_us,
    ROW_NUMBER() OVER (
      PARTITION BY version.event_id, CAST(FLOOR(version.occurred_us / 86400000000) AS BIGINT)
      ORDER BY version.as_of_day DESC NULLS FIRST, version.occurred_us DESC NULLS FIRST,
        version.revenue_cents DESC NULLS FIRST
    ) AS version_rank
  FROM lake.events AS version
  LEFT JOIN goal AS goal
    ON goal.event_type = version.event_type
  WHERE (version.event_type IN ('purchase', 'conversion', 'refund') OR goal.event_type IS NOT NULL)
    AND (version.currency IS NULL OR version.currency = $currency)
    AND version.occurred_us >= $first_day * 86400000000
    AND version.occurred_us < ($last_day + 1) * 86400000000
),
store_order AS (
  SELECT
    version.store_id AS store_id,
    version.order_id AS order_id,
    version.subscriber_key AS subscriber_key,
    version.currency AS currency,
    version.total_cents - version.tax_cents - version.shipping_cents AS net_cents,
    LOWER(COALESCE(version.financial_status, 'paid')) AS status,
    version.processed_us AS processed_us,
    ROW_NUMBER() OVER (
      PARTITION BY version.store_id, version.order_id
      ORDER BY version.as_of_day DESC NULLS FIRST, version.processed_us DESC NULLS FIRST,
        version.total_cents DESC NULLS FIRST
    ) AS version_rank
  FROM lake.orders AS version
)
SELECT
  'event' AS claim_source,
  event.event_id AS claim_id,
  event.event_type AS event_type,
  event.subscriber_key AS subscriber_key,
  event.order_id AS order_id,
  event.occurred_us AS occurred_us,
  CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day,
  COALESCE(event.revenue_cents, 0) AS net_cents
FROM event AS event
WHERE event.version_rank = 1
UNION ALL
SELECT
  'store' AS claim_source,
  store_order.store_id AS claim_id,
  'purchase' AS event_type,
  store_order.subscriber_key AS subscriber_key,
  store_order.order_id AS order_id,
  store_order.processed_us AS occurred_us,
  CAST(FLOOR(store_order.processed_us / 86400000000) AS BIGINT) AS day,
  CASE WHEN store_order.status = 'refunded' THEN 0 ELSE store_order.net_cents END AS net_cents
FROM store_order AS store_order
WHERE store_order.version_rank = 1
  AND store_order.processed_us >= $first_day * 86400000000
  AND store_order.processed_us < ($last_day + 1) * 86400000000
  -- The order of a guest is nobody's conversion.
  AND store_order.subscriber_key IS NOT NULL
  AND store_order.currency = $currency
  AND store_order.status NOT IN ('cancelled', 'canceled', 'voided')
