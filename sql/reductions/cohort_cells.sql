-- Grain: cohort, workflow, day of entry into the workflow (its first step), and weeks since entry (0-25).
-- Entrants are counted in week 0. Each entrant is counted once more at most: in the week of the first conversion, or of
-- the first unsubscribe or complaint, whichever came first. A conversion is the goal of the workflow. If the workflow
-- has no goal, any conversion counts.
-- A cohort of the first purchase contains only those who entered after it: the outcome must not form the cohort.
-- Months are computed from day numbers by arithmetic (Hinnant's days_from_civil), so that all engines agree.
WITH entrant AS (
  SELECT
    entry.subscriber_key AS subscriber_key,
    entry.workflow_key AS workflow_key,
    entry.entered_us AS entered_us,
    entry.day AS day,
    workflow.goal_event_type AS goal_event_type
  FROM core.step_entries AS entry
  LEFT JOIN core.steps AS step
    ON step.step_key = entry.step_key
  LEFT JOIN core.workflows AS workflow
    ON workflow.workflow_key = entry.workflow_key
  WHERE entry.day BETWEEN $first_day AND $last_day
    AND step.position = 1
),
converted AS (
  SELECT
    entrant.subscriber_key AS subscriber_key,
    entrant.workflow_key AS workflow_key,
    entrant.entered_us AS entered_us,
    MIN(conversion.occurred_us) AS converted_us
  FROM entrant AS entrant
  LEFT JOIN core.conversions AS conversion
    ON conversion.subscriber_key = entrant.subscriber_key
    AND conversion.occurred_us BETWEEN entrant.entered_us AND entrant.entered_us + 15724799999999
    AND (entrant.goal_event_type IS NULL OR conversion.event_type = entrant.goal_event_type)
  WHERE conversion.day >= $first_day
  GROUP BY entrant.subscriber_key, entrant.workflow_key, entrant.entered_us
),
departed AS (
  SELECT
    entrant.subscriber_key AS subscriber_key,
    entrant.workflow_key AS workflow_key,
    entrant.entered_us AS entered_us,
    MIN(departure.occurred_us) AS departed_us
  FROM entrant AS entrant
  LEFT JOIN core.departures AS departure
    ON departure.subscriber_key = entrant.subscriber_key
    AND departure.occurred_us BETWEEN entrant.entered_us AND entrant.entered_us + 15724799999999
    AND (departure.workflow_key = entrant.workflow_key OR departure.workflow_key = 0)
    AND departure.reason IN ('unsubscribed', 'complaint')
  WHERE departure.day >= $first_day
  GROUP BY entrant.subscriber_key, entrant.workflow_key, entrant.entered_us
),
journey AS (
  SELECT
    entrant.subscriber_key AS subscriber_key,
    entrant.workflow_key AS workflow_key,
    entrant.day AS day,
    entrant.entered_us AS entered_us,
    CASE
      WHEN departed.departed_us IS NULL OR departed.departed_us >= converted.converted_us
        THEN CAST(FLOOR((converted.converted_us - entrant.entered_us) / 604800000000) AS BIGINT)
    END AS conversion_week,
    CASE
      WHEN converted.converted_us IS NULL OR departed.departed_us < converted.converted_us
        THEN CAST(FLOOR((departed.departed_us - entrant.entered_us) / 604800000000) AS BIGINT)
    END AS exit_week
  FROM entrant AS entrant
  LEFT JOIN converted AS converted
    ON converted.subscriber_key = entrant.subscriber_key
    AND converted.workflow_key = entrant.workflow_key
    AND converted.entered_us = entrant.entered_us
  LEFT JOIN departed AS departed
    ON departed.subscriber_key = entrant.subscriber_key
    AND departed.workflow_key = entrant.workflow_key
    AND departed.entered_us = entrant.entered_us
),
milestone AS (
  SELECT
    journey.subscriber_key AS subscriber_key,
    journey.workflow_key AS workflow_key,
    journey.day AS day,
    journey.entered_us AS entered_us,
    0 AS age_weeks,
    1 AS entrants,
    0 AS conversions,
    0 AS exits
  FROM journey AS journey
  UNION ALL
  SELECT
    journey.subscriber_key AS subscriber_key,
    journey.workflow_key AS workflow_key,
    journey.day AS day,
    journey.entered_us AS entered_us,
    journey.conversion_week AS age_weeks,
    0 AS entrants,
    1 AS conversions,
    0 AS exits
  FROM journey AS journey
  WHERE journey.conversion_week IS NOT NULL
  UNION ALL
  SELECT
    journey.subscriber_key AS subscriber_key,
    journey.workflow_key AS workflow_key,
    journey.day AS day,
    journey.entered_us AS entered_us,
    journey.exit_week AS age_weeks,
    0 AS entrants,
    0 AS conversions,
    1 AS exits
  FROM journey AS journey
  WHERE journey.exit_week IS NOT NULL
),
moment AS (
  SELECT
    subscriber.subscriber_key AS subscriber_key,
    'signup_date' AS cohort_type,
    0 AS since_us,
    CAST(FLOOR(subscriber.signup_us / 86400000000) AS BIGINT) + 719468 AS shifted_day
  FROM core.subscribers AS subscriber
  WHERE subscriber.signup_us IS NOT NULL
  UNION ALL
  SELECT
    subscriber.subscriber_key AS subscriber_key,
    'first_purchase' AS cohort_type,
    subscriber.first_purchase_us AS since_us,
    CAST(FLOOR(subscriber.first_purchase_us / 86400000000) AS BIGINT) + 719468 AS shifted_day
  FROM core.subscribers AS subscriber
  WHERE subscriber.first_purchase_us IS NOT NULL
),
era AS (
  SELECT
    moment.subscriber_key AS subscriber_key,
    moment.cohort_type AS cohort_type,
    moment.since_us AS since_us,
    CAST(FLOOR(moment.shifted_day / 146097) AS BIGINT) AS era_no,
    MOD(moment.shifted_day, 146097) AS era_day
  FROM moment AS moment
),
era_year AS (
  SELECT
    era.subscriber_key AS subscriber_key,
    era.cohort_type AS cohort_type,
    era.since_us AS since_us,
    era.era_no AS era_no,
    era.era_day AS era_day,
    CAST(FLOOR((era.era_day - FLOOR(era.era_day / 1460) + FLOOR(era.era_day / 36524) - FLOOR(era.era_day / 146096))
      / 365) AS BIGINT) AS year_no
  FROM era AS era
),
march_month AS (
  SELECT
    era_year.subscriber_key AS subscriber_key,
    era_year.cohort_type AS cohort_type,
    era_year.since_us AS since_us,
    era_year.era_no * 400 + era_year.year_no AS march_year,
    CAST(FLOOR((5 * (era_year.era_day - 365 * era_year.year_no - FLOOR(era_year.year_no / 4)
      + FLOOR(era_year.year_no / 100)) + 2) / 153) AS BIGINT) AS month_no
  FROM era_year AS era_year
),
membership AS (
  SELECT
    march_month.subscriber_key AS subscriber_key,
    march_month.cohort_type AS cohort_type,
    march_month.since_us AS since_us,
    CAST(march_month.march_year + CASE WHEN march_month.month_no >= 10 THEN 1 ELSE 0 END AS VARCHAR) || '-'
      || LPAD(CAST(MOD(march_month.month_no + 2, 12) + 1 AS VARCHAR), 2, '0') AS cohort
  FROM march_month AS march_month
  UNION ALL
  SELECT
    subscriber.subscriber_key AS subscriber_key,
    'subscription_plan' AS cohort_type,
    0 AS since_us,
    COALESCE(subscriber.plan, 'none') AS cohort
  FROM core.subscribers AS subscriber
  UNION ALL
  SELECT
    subscriber.subscriber_key AS subscriber_key,
    'member_field' AS cohort_type,
    0 AS since_us,
    subscriber.cohort_value AS cohort
  FROM core.subscribers AS subscriber
  WHERE subscriber.cohort_value IS NOT NULL
)
SELECT
  membership.cohort_type AS cohort_type,
  membership.cohort AS cohort,
  milestone.workflow_key AS workflow_key,
  milestone.day AS day,
  milestone.age_weeks AS age_weeks,
  CAST(SUM(milestone.entrants) AS BIGINT) AS entrants,
  CAST(SUM(milestone.conversions) AS BIGINT) AS conversions,
  CAST(SUM(milestone.exits) AS BIGINT) AS exits
FROM milestone AS milestone
LEFT JOIN membership AS membership
  ON membership.subscriber_key = milestone.subscriber_key
  AND membership.since_us <= milestone.entered_us
WHERE membership.cohort IS NOT NULL
GROUP BY membership.cohort_type, membership.cohort, milestone.workflow_key, milestone.day, milestone.age_weeks
