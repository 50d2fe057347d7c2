-- The first outcome of an entrant is found by one join: its time is doubled, and one is added for a departure, so that
-- the least value says when it was and what it was. Each engine has the functions `whole` (the quotient of integers,
-- rounded down) and `month_of` (a time as 'YYYY-MM') from its module.
WITH entrant AS (
  SELECT
    arrival.subscriber_key AS subscriber_key,
    arrival.workflow_key AS workflow_key,
    arrival.entered_us AS entered_us,
    arrival.day AS entry_day,
    workflow.goal_event_type AS goal_event_type
  FROM arrivals AS arrival
  INNER JOIN steps AS step ON step.step_key = arrival.step_key
  LEFT JOIN workflows AS workflow ON workflow.workflow_key = arrival.workflow_key
  WHERE step.position = 1
),
outcome AS (
  SELECT subscriber_key, 2 * occurred_us AS moment, event_type, NULL AS left_workflow FROM conversions
  UNION ALL
  SELECT subscriber_key, 2 * occurred_us + 1, NULL, workflow_key FROM departures
  WHERE reason IN ('unsubscribed', 'complaint')
),
first_outcome AS (
  SELECT
    entrant.subscriber_key AS subscriber_key,
    entrant.workflow_key AS workflow_key,
    entrant.entered_us AS entered_us,
    entrant.entry_day AS entry_day,
    min(outcome.moment) AS moment
  FROM entrant
  INNER JOIN outcome ON outcome.subscriber_key = entrant.subscriber_key
  WHERE outcome.moment BETWEEN 2 * entrant.entered_us AND 2 * entrant.entered_us + 2 * 15724799999999 + 1
    AND (
      outcome.left_workflow IN (entrant.workflow_key, 0)
      OR outcome.left_workflow IS NULL
        AND (entrant.goal_event_type IS NULL OR outcome.event_type = entrant.goal_event_type)
    )
  GROUP BY ALL
),
milestone AS (
  SELECT subscriber_key, workflow_key, entered_us, entry_day, entered_us AS happened_us, 0 AS kind FROM entrant
  UNION ALL
  SELECT subscriber_key, workflow_key, entered_us, entry_day, whole(moment, 2), 1 + moment % 2 FROM first_outcome
),
membership AS (
  SELECT subscriber_key, 'signup_date' AS cohort_type, 0 AS since_us, month_of(signup_us) AS cohort
  FROM subscribers WHERE signup_us IS NOT NULL
  UNION ALL
  SELECT subscriber_key, 'first_purchase', first_purchase_us, month_of(first_purchase_us)
  FROM subscribers WHERE first_purchase_us IS NOT NULL
  UNION ALL
  SELECT subscriber_key, 'subscription_plan', 0, coalesce(plan, 'none') FROM subscribers
  UNION ALL
  SELECT subscriber_key, 'member_field', 0, cohort_value FROM subscribers WHERE cohort_value IS NOT NULL
)
SELECT
  membership.cohort_type AS cohort_type,
  membership.cohort AS cohort,
  milestone.workflow_key AS workflow_key,
  whole(milestone.happened_us, 86400000000) AS day,
  milestone.entry_day AS entry_day,
  whole(milestone.happened_us - milestone.entered_us, 604800000000) AS age_weeks,
  count(*) FILTER (WHERE milestone.kind = 0) AS entrants,
  count(*) FILTER (WHERE milestone.kind = 1) AS conversions,
  count(*) FILTER (WHERE milestone.kind = 2) AS exits
FROM milestone
INNER JOIN membership ON membership.subscriber_key = milestone.subscriber_key
WHERE membership.since_us <= milestone.entered_us
GROUP BY ALL
