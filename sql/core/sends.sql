-- Grain: message (step, subscriber): the latest version of every row of Mailchimp's sent-to report, by day of sending.
-- If a later version moves the message to another day, the earlier version does not count. Of two versions of one night
-- the one with the later time of sending counts.
WITH candidate AS (
  SELECT
    send.campaign_id AS campaign_id,
    send.subscriber_key AS subscriber_key,
    send.sent_us AS sent_us,
    send.sent_at_source AS sent_at_source,
    send.status AS status,
    send.as_of_day AS as_of_day,
    ROW_NUMBER() OVER (
      PARTITION BY send.campaign_id, send.subscriber_key
      ORDER BY send.as_of_day DESC NULLS FIRST, send.sent_us DESC NULLS FIRST,
        send.sent_at_source DESC NULLS FIRST, send.status DESC NULLS FIRST
    ) AS version_rank
  FROM lake.sends AS send
  WHERE send.sent_us >= $first_day * 86400000000
    AND send.sent_us < ($last_day + 1) * 86400000000
),
campaign_step AS (
  SELECT
    step.campaign_id AS campaign_id,
    step.step_key AS step_key,
    step.workflow_key AS workflow_key,
    ROW_NUMBER() OVER (PARTITION BY step.campaign_id ORDER BY step.step_key ASC NULLS FIRST) AS step_rank
  FROM core.steps AS step
  WHERE step.campaign_id IS NOT NULL
)
SELECT
  candidate.subscriber_key AS subscriber_key,
  campaign_step.step_key AS step_key,
  campaign_step.workflow_key AS workflow_key,
  candidate.campaign_id AS campaign_id,
  candidate.sent_us AS sent_us,
  candidate.sent_at_source AS sent_at_source,
  CAST(FLOOR(candidate.sent_us / 86400000000) AS BIGINT) AS day,
  CASE WHEN candidate.status = 'sent' THEN NULL ELSE candidate.status END AS bounce_kind
FROM candidate AS candidate
LEFT JOIN lake.sends AS moved
  ON moved.campaign_id = candidate.campaign_id
  AND moved.subscriber_key = candidate.subscriber_key
  AND moved.as_of_day >= candidate.as_of_day
  AND (moved.as_of_day > candidate.as_of_day OR moved.sent_us > candidate.sent_us)
  AND (moved.sent_us < $first_day * 86400000000 OR moved.sent_us >= ($last_day + 1) * 86400000000)
LEFT JOIN campaign_step AS campaign_step
  ON campaign_step.campaign_id = candidate.campaign_id
  AND campaign_step.step_rank = 1
WHERE candidate.version_rank = 1
  AND moved.campaign_id IS NULL
  AND campaign_step.step_key IS NOT NULL
