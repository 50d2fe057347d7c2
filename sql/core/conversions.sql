-- Grain: conversion (an order, or a goal event), by day of the conversion.
-- An order that both store and events report counts once, with the values of the events. Refunds lower its revenue, and
-- a cancelled order does not count. Other currencies than the workspace's do not count; an event without one has it.
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
    AND (
      version.order_id IS NOT NULL
      OR version.occurred_us BETWEEN $first_day * 86400000000 AND ($last_day + 1) * 86400000000 - 1
    )
),
store_order AS (
  SELECT
    version.store_id AS store_id,
    version.order_id AS order_id,
    version.subscriber_key AS subscriber_key,
    version.currency AS currency,
    version.total_cents AS total_cents,
    version.tax_cents AS tax_cents,
    version.shipping_cents AS shipping_cents,
    LOWER(COALESCE(version.financial_status, 'paid')) AS status,
    version.processed_us AS processed_us,
    ROW_NUMBER() OVER (
      PARTITION BY version.store_id, version.order_id
      ORDER BY version.as_of_day DESC NULLS FIRST, version.processed_us DESC NULLS FIRST,
        version.total_cents DESC NULLS FIRST
    ) AS version_rank
  FROM lake.orders AS version
),
refund AS (
  SELECT
    event.order_id AS order_id,
    CAST(SUM(event.revenue_cents) AS BIGINT) AS refunded_cents
  FROM event AS event
  WHERE event.event_type = 'refund'
    AND event.version_rank = 1
    AND event.order_id IS NOT NULL
  GROUP BY event.order_id
),
claim AS (
  SELECT
    event.order_id AS order_id,
    event.event_id AS event_id,
    event.subscriber_key AS subscriber_key,
    event.event_type AS event_type,
    event.occurred_us AS occurred_us,
    COALESCE(event.revenue_cents, 0) AS net_cents,
    CASE WHEN event.event_type = 'purchase' THEN 1 ELSE 2 END AS precedence
  FROM event AS event
  WHERE event.event_type <> 'refund'
    AND event.version_rank = 1
  UNION ALL
  SELECT
    store_order.order_id AS order_id,
    store_order.store_id AS event_id,
    store_order.subscriber_key AS subscriber_key,
    'purchase' AS event_type,
    store_order.processed_us AS occurred_us,
    CASE
      WHEN store_order.status = 'refunded' THEN 0
      ELSE store_order.total_cents - store_order.tax_cents - store_order.shipping_cents
    END AS net_cents,
    3 AS precedence
  FROM store_order AS store_order
  WHERE store_order.version_rank = 1
    -- The order of a guest is nobody's conversion.
    AND store_order.subscriber_key IS NOT NULL
    AND store_order.currency = $currency
    AND store_order.status NOT IN ('cancelled', 'canceled', 'voided')
),
ranked AS (
  SELECT
    CASE WHEN claim.order_id IS NULL THEN 'event:' || claim.event_id ELSE 'order:' || claim.order_id END
      AS conversion_id,
    claim.order_id AS order_id,
    claim.subscriber_key AS subscriber_key,
    claim.event_type AS event_type,
    claim.occurred_us AS occurred_us,
    claim.net_cents AS net_cents,
    ROW_NUMBER() OVER (
      PARTITION BY CASE WHEN claim.order_id IS NULL THEN 'event:' || claim.event_id ELSE 'order:' || claim.order_id END
      ORDER BY claim.precedence ASC NULLS FIRST, claim.occurred_us ASC NULLS FIRST, claim.event_id ASC NULLS FIRST
    ) AS claim_rank
  FROM claim AS claim
)
SELECT
  ranked.conversion_id AS conversion_id,
  ranked.subscriber_key AS subscriber_key,
  ranked.event_type AS event_type,
  ranked.occurred_us AS occurred_us,
  CAST(FLOOR(ranked.occurred_us / 86400000000) AS BIGINT) AS day,
  ranked.order_id IS NOT NULL OR ranked.event_type = 'purchase' AS is_order,
  CAST(ranked.net_cents - COALESCE(refund.refunded_cents, 0) AS BIGINT) AS net_cents
FROM ranked AS ranked
LEFT JOIN refund AS refund
  ON refund.order_id = ranked.order_id
WHERE ranked.claim_rank = 1
  AND ranked.occurred_us >= $first_day * 86400000000
  AND ranked.occurred_us < ($last_day + 1) * 86400000000
