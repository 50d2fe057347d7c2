-- Grain: departure (subscriber, workflow or 0 = all workflows, reason, time), by day of the departure.
-- An unsubscribe, a complaint or a hard bounce ends the subscriber's stays in all workflows. An exit event or a removal
-- ends the stay in one workflow.
WITH event AS (
  SELECT
    version.event_type AS event_type,
    version.subscriber_key AS subscriber_key,
    version.workflow_id AS workflow_id,
    version.reason AS reason,
    version.occurred_us AS occurred_us,
    ROW_NUMBER() OVER (
      PARTITION BY version.event_id, CAST(FLOOR(version.occurred_us / 86400000000) AS BIGINT)
      ORDER BY version.as_of_day DESC NULLS FIRST, version.occurred_us DESC NULLS FIRST
    ) AS version_rank
  FROM lake.events AS version
  WHERE version.event_type IN ('exit', 'unsubscribe')
    AND version.occurred_us >= $first_day * 86400000000
    AND version.occurred_us < ($last_day + 1) * 86400000000
),
removal AS (
  SELECT
    version.workflow_id AS workflow_id,
    version.subscriber_key AS subscriber_key,
    MIN(version.as_of_day) AS removed_day
  FROM lake.removed_subscribers AS version
  GROUP BY version.workflow_id, version.subscriber_key
),
departure AS (
  SELECT
    opt_out.subscriber_key AS subscriber_key,
    0 AS workflow_key,
    opt_out.reason AS reason,
    opt_out.occurred_us AS occurred_us
  FROM core.opt_outs AS opt_out
  WHERE opt_out.day BETWEEN $first_day AND $last_day
  UNION ALL
  SELECT
    send.subscriber_key AS subscriber_key,
    0 AS workflow_key,
    'hard_bounce' AS reason,
    send.sent_us AS occurred_us
  FROM core.sends AS send
  WHERE send.bounce_kind IN ('hard', 'syntax')
    AND send.day BETWEEN $first_day AND $last_day
  UNION ALL
  SELECT
    event.subscriber_key AS subscriber_key,
    CASE WHEN event.event_type = 'unsubscribe' THEN 0 ELSE workflow.workflow_key END AS workflow_key,
    CASE
      WHEN event.event_type = 'unsubscribe' THEN 'unsubscribed'
      WHEN event.reason IN ('completed', 'goal', 'unsubscribed', 'complaint', 'hard_bounce', 'filtered', 'capped',
        'conflict', 'removed', 'step_deleted', 'error', 'stuck') THEN event.reason
      ELSE 'unknown'
    END AS reason,
    event.occurred_us AS occurred_us
  FROM event AS event
  LEFT JOIN core.workflows AS workflow
    ON workflow.workflow_id = event.workflow_id
  WHERE event.version_rank = 1
    AND (event.event_type = 'unsubscribe' OR workflow.workflow_key IS NOT NULL)
  UNION ALL
  SELECT
    removal.subscriber_key AS subscriber_key,
    workflow.workflow_key AS workflow_key,
    'removed' AS reason,
    (removal.removed_day + 1) * 86400000000 - 1 AS occurred_us
  FROM removal AS removal
  LEFT JOIN core.workflows AS workflow
    ON workflow.workflow_id = removal.workflow_id
  WHERE workflow.workflow_key IS NOT NULL
)
SELECT
  departure.subscriber_key AS subscriber_key,
  CAST(departure.workflow_key AS BIGINT) AS workflow_key,
  departure.reason AS reason,
  departure.occurred_us AS occurred_us,
  CAST(FLOOR(departure.occurred_us / 86400000000) AS BIGINT) AS day
FROM departure AS departure
WHERE departure.occurred_us >= $first_day * 86400000000
  AND departure.occurred_us < ($last_day + 1) * 86400000000
GROUP BY departure.subscriber_key, departure.workflow_key, departure.reason, departure.occurred_us
