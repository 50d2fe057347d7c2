-- Grain: conversion (an order, or a goal event), by day of the conversion.
-- An order that both store and events report counts once, with the values of the events. Refunds lower its revenue.
WITH refund AS (
  SELECT
    claim.order_id AS order_id,
    CAST(SUM(claim.net_cents) AS BIGINT) AS refunded_cents
  FROM core.conversion_claims AS claim
  WHERE claim.event_type = 'refund'
    AND claim.order_id IS NOT NULL
  GROUP BY claim.order_id
),
ranked AS (
  SELECT
    CASE WHEN claim.order_id IS NULL THEN 'event:' || claim.claim_id ELSE 'order:' || claim.order_id END
      AS conversion_id,
    claim.order_id AS order_id,
    claim.subscriber_key AS subscriber_key,
    claim.event_type AS event_type,
    claim.occurred_us AS occurred_us,
    claim.day AS day,
    claim.net_cents AS net_cents,
    ROW_NUMBER() OVER (
      PARTITION BY CASE WHEN claim.order_id IS NULL THEN 'event:' || claim.claim_id ELSE 'order:' || claim.order_id END
      ORDER BY CASE
          WHEN claim.claim_source = 'store' THEN 3
          WHEN claim.event_type = 'purchase' THEN 1
          ELSE 2
        END ASC NULLS FIRST,
        claim.occurred_us ASC NULLS FIRST, claim.claim_id ASC NULLS FIRST
    ) AS claim_rank
  FROM core.conversion_claims AS claim
  WHERE claim.event_type <> 'refund'
    -- Which claim of an order counts is not known from those of some days.
    AND (claim.order_id IS NOT NULL OR claim.day BETWEEN $first_day AND $last_day)
)
SELECT
  ranked.conversion_id AS conversion_id,
  ranked.subscriber_key AS subscriber_key,
  ranked.event_type AS event_type,
  ranked.occurred_us AS occurred_us,
  ranked.day AS day,
  ranked.order_id IS NOT NULL OR ranked.event_type = 'purchase' AS is_order,
  CAST(ranked.net_cents - COALESCE(refund.refunded_cents, 0) AS BIGINT) AS net_cents
FROM ranked AS ranked
LEFT JOIN refund AS refund
  ON refund.order_id = ranked.order_id
WHERE ranked.claim_rank = 1
  AND ranked.day BETWEEN $first_day AND $last_day
