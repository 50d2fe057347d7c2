-- Grain: conversion and attribution view, by day of the conversion. A view credits a conversion to at most one message.
-- A goal that was reached with an order is credited with the order.
-- View `report`: the last human click within 5 days, else the last human open within 1 day.
-- View `mailchimp_compat`: the last touch, by a person or a machine: an open within 5 days or a click within 30 days.
WITH touch AS (
  SELECT
    conversion.conversion_id AS conversion_id,
    conversion.subscriber_key AS subscriber_key,
    conversion.occurred_us AS converted_us,
    conversion.day AS day,
    conversion.is_order AS is_order,
    conversion.net_cents AS net_cents,
    engagement.step_key AS step_key,
    engagement.workflow_key AS workflow_key,
    engagement.action AS touch,
    engagement.occurred_us AS touch_us,
    engagement.sent_us AS sent_us,
    engagement.day AS message_day,
    engagement.is_human AS is_human
  FROM core.conversions AS conversion
  LEFT JOIN core.engagements AS engagement
    ON engagement.subscriber_key = conversion.subscriber_key
    AND engagement.occurred_us BETWEEN conversion.occurred_us - 2592000000000 AND conversion.occurred_us
  WHERE conversion.day BETWEEN $first_day AND $last_day
    AND NOT conversion.is_repeated
    AND engagement.occurred_us BETWEEN ($first_day - 30) * 86400000000 AND ($last_day + 1) * 86400000000
),
claim AS (
  SELECT
    touch.conversion_id AS conversion_id,
    'report' AS view,
    touch.subscriber_key AS subscriber_key,
    touch.day AS day,
    touch.is_order AS is_order,
    touch.net_cents AS net_cents,
    touch.step_key AS step_key,
    touch.workflow_key AS workflow_key,
    touch.touch AS touch,
    touch.touch_us AS touch_us,
    touch.sent_us AS sent_us,
    touch.message_day AS message_day,
    CASE WHEN touch.touch = 'click' THEN 0 ELSE 1 END AS preference
  FROM touch AS touch
  WHERE touch.is_human
    AND (
      (touch.touch = 'click' AND touch.touch_us >= touch.converted_us - 432000000000)
      OR (touch.touch = 'open' AND touch.touch_us >= touch.converted_us - 86400000000)
    )
  UNION ALL
  SELECT
    touch.conversion_id AS conversion_id,
    'mailchimp_compat' AS view,
    touch.subscriber_key AS subscriber_key,
    touch.day AS day,
    touch.is_order AS is_order,
    touch.net_cents AS net_cents,
    touch.step_key AS step_key,
    touch.workflow_key AS workflow_key,
    touch.touch AS touch,
    touch.touch_us AS touch_us,
    touch.sent_us AS sent_us,
    touch.message_day AS message_day,
    0 AS preference
  FROM touch AS touch
  WHERE touch.touch = 'click'
    OR touch.touch_us >= touch.converted_us - 432000000000
),
ranked AS (
  SELECT
    claim.conversion_id AS conversion_id,
    claim.view AS view,
    claim.subscriber_key AS subscriber_key,
    claim.step_key AS step_key,
    claim.workflow_key AS workflow_key,
    claim.touch AS touch,
    claim.touch_us AS touch_us,
    claim.message_day AS message_day,
    claim.day AS day,
    claim.is_order AS is_order,
    claim.net_cents AS net_cents,
    ROW_NUMBER() OVER (
      PARTITION BY claim.conversion_id, claim.view
      ORDER BY claim.preference ASC NULLS FIRST, claim.touch_us DESC NULLS FIRST, claim.touch ASC NULLS FIRST,
        claim.sent_us DESC NULLS FIRST, claim.step_key ASC NULLS FIRST
    ) AS claim_rank
  FROM claim AS claim
)
SELECT
  ranked.conversion_id AS conversion_id,
  ranked.view AS view,
  ranked.subscriber_key AS subscriber_key,
  ranked.step_key AS step_key,
  ranked.workflow_key AS workflow_key,
  ranked.touch AS touch,
  ranked.touch_us AS touch_us,
  ranked.message_day AS message_day,
  ranked.day AS day,
  ranked.is_order AS is_order,
  ranked.net_cents AS net_cents
FROM ranked AS ranked
WHERE ranked.claim_rank = 1
