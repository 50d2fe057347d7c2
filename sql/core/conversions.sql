-- Grain: conversion (an order, or a goal event), by day of the conversion.
-- An order that both store and events report counts once, with the values of the events. Refunds lower its revenue, down
-- to zero: what is given back beyond it, such as shipping, was never counted, and a store tells of a refund as well.
-- Stores number their orders by themselves, so an order that only a store reports is one of that store.
-- If events of several types tell of one order, the others tell of goals that were reached with it, without revenue.
WITH refund AS (
  SELECT
    claim.order_id AS order_id,
    CAST(SUM(claim.net_cents) AS BIGINT) AS refunded_cents
  FROM core.conversion_claims AS claim
  WHERE claim.event_type = 'refund'
    AND claim.order_id IS NOT NULL
  GROUP BY claim.order_id
),
told AS (
  SELECT
    claim.order_id AS order_id
  FROM core.conversion_claims AS claim
  WHERE claim.event_type <> 'refund'
    AND claim.claim_source = 'event'
    AND claim.order_id IS NOT NULL
  GROUP BY claim.order_id
),
goal AS (
  SELECT
    workflow.goal_event_type AS event_type
  FROM core.workflows AS workflow
  WHERE workflow.goal_event_type IS NOT NULL
  GROUP BY workflow.goal_event_type
),
candidate AS (
  SELECT
    CASE
      WHEN claim.order_id IS NULL THEN 'event:' || claim.claim_id
      WHEN told.order_id IS NULL THEN 'store:' || claim.claim_id || ':' || claim.order_id
      ELSE 'order:' || claim.order_id
    END AS conversion_id,
    claim.order_id AS order_id,
    claim.claim_id AS claim_id,
    claim.subscriber_key AS subscriber_key,
    claim.event_type AS event_type,
    claim.occurred_us AS occurred_us,
    claim.day AS day,
    claim.net_cents AS net_cents,
    CASE
      WHEN claim.claim_source = 'store' THEN 3
      WHEN claim.event_type = 'purchase' THEN 1
      ELSE 2
    END AS preference
  FROM core.conversion_claims AS claim
  LEFT JOIN told AS told
    ON told.order_id = claim.order_id
  WHERE claim.event_type <> 'refund'
    -- Which claim of an order counts is not known from those of some days.
    AND (claim.order_id IS NOT NULL OR claim.day BETWEEN $first_day AND $last_day)
),
ranked AS (
  SELECT
    candidate.conversion_id AS conversion_id,
    candidate.order_id AS order_id,
    candidate.subscriber_key AS subscriber_key,
    candidate.event_type AS event_type,
    candidate.occurred_us AS occurred_us,
    candidate.day AS day,
    candidate.net_cents AS net_cents,
    ROW_NUMBER() OVER (
      PARTITION BY candidate.conversion_id
      ORDER BY candidate.preference ASC NULLS FIRST, candidate.occurred_us ASC NULLS FIRST,
        candidate.claim_id ASC NULLS FIRST
    ) AS claim_rank,
    ROW_NUMBER() OVER (
      PARTITION BY candidate.conversion_id, candidate.event_type
      ORDER BY candidate.preference ASC NULLS FIRST, candidate.occurred_us ASC NULLS FIRST,
        candidate.claim_id ASC NULLS FIRST
    ) AS rank_of_type
  FROM candidate AS candidate
)
SELECT
  CASE
    WHEN ranked.claim_rank = 1 THEN ranked.conversion_id
    ELSE 'goal:' || ranked.event_type || ':' || ranked.order_id
  END AS conversion_id,
  ranked.subscriber_key AS subscriber_key,
  ranked.event_type AS event_type,
  ranked.occurred_us AS occurred_us,
  ranked.day AS day,
  ranked.claim_rank = 1 AND (ranked.order_id IS NOT NULL OR ranked.event_type = 'purchase') AS is_order,
  ranked.claim_rank > 1 AS is_repeated,
  CASE
    WHEN ranked.claim_rank > 1 OR ranked.net_cents < COALESCE(refund.refunded_cents, 0) THEN 0
    ELSE CAST(ranked.net_cents - COALESCE(refund.refunded_cents, 0) AS BIGINT)
  END AS net_cents
FROM ranked AS ranked
LEFT JOIN refund AS refund
  ON refund.order_id = ranked.order_id
LEFT JOIN goal AS goal
  ON goal.event_type = ranked.event_type
WHERE ranked.day BETWEEN $first_day AND $last_day
  AND (ranked.claim_rank = 1 OR (ranked.rank_of_type = 1 AND goal.event_type IS NOT NULL))
