-- Grain: cohort, workflow, day of entry into the workflow (its first step), weeks since entry (0-25), and the day on which
-- it happened. Entrants are counted in week 0, on the day of entry. Each entrant is counted once more at most: in the week
-- and on the day of the first conversion, or of the first unsubscribe or complaint, whichever came first. So an outcome
-- changes its own day and not that of the entry.
-- A conversion is the goal of the workflow. If the workflow has no goal, any conversion counts.
-- A cohort of the first purchase contains only those who entered after it: the outcome must not form the cohort.
-- Months are computed from day numbers by arithmetic (Hinnant's days_from_civil), so that all engines agree.
WITH outcome AS (
  SELECT
    conversion.subscriber_key AS subscriber_key
  FROM core.conversions AS conversion
  WHERE conversion.day BETWEEN $first_day AND $last_day
  UNION ALL
  SELECT
    departure.subscriber_key AS subscriber_key
  FROM core.departures AS departure
  WHERE departure.day BETWEEN $first_day AND $last_day
    AND departure.reason IN ('unsubscribed', 'complaint')
),
ended AS (
  SELECT
    outcome.subscriber_key AS subscriber_key
  FROM outcome AS outcome
  GROUP BY outcome.subscriber_key
),
entrant AS (
  SELECT
    entry.subscriber_key AS subscriber_key,
    entry.workflow_key AS workflow_key,
    entry.entered_us AS entered_us,
    entry.day AS day,
    workflow.goal_event_type AS goal_event_type
  FROM core.arrivals AS entry
  LEFT JOIN core.steps AS step
    ON step.step_key = entry.step_key
  LEFT JOIN core.workflows AS workflow
    ON workflow.workflow_key = entry.workflow_key
  LEFT JOIN ended AS ended
    ON ended.subscriber_key = entry.subscriber_key
  -- Outcomes count within 26 weeks after the entry.
  WHERE entry.day BETWEEN $first_day - 182 AND $last_day
    AND step.position = 1
    AND (entry.day >= $first_day OR ended.subscriber_key IS NOT NULL)
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
  WHERE conversion.day BETWEEN $first_day - 182 AND $last_day
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
  WHERE departure.day BETWEEN $first_day - 182 AND $last_day
  GROUP BY entrant.subscriber_key, entrant.workflow_key, entrant.entered_us
),
journey AS (
  SELECT
    entrant.subscriber_key AS subscriber_key,
    entrant.workflow_key AS workflow_key,
    entrant.day AS entry_day,
    entrant.entered_us AS entered_us,
    CASE
      WHEN departed.departed_us IS NULL OR departed.departed_us >= converted.converted_us THEN converted.converted_us
    END AS converted_us,
    CASE
      WHEN converted.converted_us IS NULL OR departed.departed_us < converted.converted_us THEN departed.departed_us
    END AS departed_us
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
-- Each kind: 0 the entry, 1 the conversion, 2 the exit.
milestone AS (
  SELECT
    journey.subscriber_key AS subscriber_key,
    journey.workflow_key AS workflow_key,
    journey.entry_day AS entry_day,
    journey.entered_us AS entered_us,
    journey.entered_us AS happened_us,
    0 AS kind
  FROM journey AS journey
  UNION ALL
  SELECT
    journey.subscriber_key AS subscriber_key,
    journey.workflow_key AS workflow_key,
    journey.entry_day AS entry_day,
    journey.entered_us AS entered_us,
    journey.converted_us AS happened_us,
    1 AS kind
  FROM journey AS journey
  UNION ALL
  SELECT
    journey.subscriber_key AS subscriber_key,
    journey.workflow_key AS workflow_key,
    journey.entry_day AS entry_day,
    journey.entered_us AS entered_us,
    journey.departed_us AS happened_us,
    2 AS kind
  FROM journey AS journey
),
counted AS (
  SELECT
    milestone.subscriber_key AS subscriber_key,
    milestone.workflow_key AS workflow_key,
    milestone.entry_day AS entry_day,
    milestone.entered_us AS entered_us,
    CAST(FLOOR(milestone.happened_us / 86400000000) AS BIGINT) AS day,
    CAST(FLOOR((milestone.happened_us - milestone.entered_us) / 604800000000) AS BIGINT) AS age_weeks,
    milestone.kind AS kind
  FROM milestone AS milestone
  WHERE milestone.happened_us >= $first_day * 86400000000
    AND milestone.happened_us < ($last_day + 1) * 86400000000
),
person AS (
  SELECT
    counted.subscriber_key AS subscriber_key
  FROM counted AS counted
  GROUP BY counted.subscriber_key
),
member AS (
  SELECT
    subscriber.subscriber_key AS subscriber_key,
    subscriber.signup_us AS signup_us,
    subscriber.first_purchase_us AS first_purchase_us,
    subscriber.plan AS plan,
    subscriber.cohort_value AS cohort_value
  FROM person AS person
  LEFT JOIN core.subscribers AS subscriber
    ON subscriber.subscriber_key = person.subscriber_key
  WHERE subscriber.subscriber_key IS NOT NULL
),
moment AS (
  SELECT
    subscriber.subscriber_key AS subscriber_key,
    'signup_date' AS cohort_type,
    0 AS since_us,
    CAST(FLOOR(subscriber.signup_us / 86400000000) AS BIGINT) + 719468 AS shifted_day
  FROM member AS subscriber
  WHERE subscriber.signup_us IS NOT NULL
  UNION ALL
  SELECT
    subscriber.subscriber_key AS subscriber_key,
    'first_purchase' AS cohort_type,
    subscriber.first_purchase_us AS since_us,
    CAST(FLOOR(subscriber.first_purchase_us / 86400000000) AS BIGINT) + 719468 AS shifted_day
  FROM member AS subscriber
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
  FROM member AS subscriber
  UNION ALL
  SELECT
    subscriber.subscriber_key AS subscriber_key,
    'member_field' AS cohort_type,
    0 AS since_us,
    subscriber.cohort_value AS cohort
  FROM member AS subscriber
  WHERE subscriber.cohort_value IS NOT NULL
),
-- Cells are summed by the number of a cohort: engines take twice as long with its two texts.
cohort AS (
  SELECT
    membership.cohort_type AS cohort_type,
    membership.cohort AS cohort,
    ROW_NUMBER() OVER (ORDER BY membership.cohort_type ASC NULLS FIRST, membership.cohort ASC NULLS FIRST) AS cohort_no
  FROM membership AS membership
  GROUP BY membership.cohort_type, membership.cohort
),
numbered AS (
  SELECT
    membership.subscriber_key AS subscriber_key,
    membership.since_us AS since_us,
    cohort.cohort_no AS cohort_no
  FROM membership AS membership
  LEFT JOIN cohort AS cohort
    ON cohort.cohort_type = membership.cohort_type
    AND cohort.cohort = membership.cohort
),
cell AS (
  SELECT
    numbered.cohort_no AS cohort_no,
    counted.workflow_key AS workflow_key,
    counted.day AS day,
    counted.entry_day AS entry_day,
    counted.age_weeks AS age_weeks,
    COUNT(CASE WHEN counted.kind = 0 THEN 1 END) AS entrants,
    COUNT(CASE WHEN counted.kind = 1 THEN 1 END) AS conversions,
    COUNT(CASE WHEN counted.kind = 2 THEN 1 END) AS exits
  FROM counted AS counted
  LEFT JOIN numbered AS numbered
    ON numbered.subscriber_key = counted.subscriber_key
    AND numbered.since_us <= counted.entered_us
  WHERE numbered.cohort_no IS NOT NULL
  GROUP BY numbered.cohort_no, counted.workflow_key, counted.day, counted.entry_day, counted.age_weeks
)
SELECT
  cohort.cohort_type AS cohort_type,
  cohort.cohort AS cohort,
  cell.workflow_key AS workflow_key,
  cell.day AS day,
  cell.entry_day AS entry_day,
  cell.age_weeks AS age_weeks,
  cell.entrants AS entrants,
  cell.conversions AS conversions,
  cell.exits AS exits
FROM cell AS cell
LEFT JOIN cohort AS cohort
  ON cohort.cohort_no = cell.cohort_no
