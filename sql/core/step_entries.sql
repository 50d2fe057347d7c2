-- Grain: entry into a step (step, subscriber, time), by day of entry, with what became of it first.
-- The next step is the one that the event names, else the planned one that was entered in time, else the default one.
-- An entry known from a queue means that the subscriber waits for the step. It does not count as reaching the step, and
-- no next step is planned before the message is sent.
-- A timeout lies at planned or assigned delay + grace, whether before or after tonight. An entry into a last step is
-- completed at once, unless a goal or an exit follows within the default grace.
-- Of several reasons at one instant the first of the numbered list below counts. The number is packed behind the time,
-- so that one minimum finds both.
WITH option AS (
  SELECT
    arrival.subscriber_key AS subscriber_key,
    arrival.workflow_key AS workflow_key,
    arrival.step_key AS step_key,
    arrival.entered_us AS entered_us,
    arrival.day AS day,
    arrival.entry_source AS entry_source,
    arrival.is_delay_randomised AS is_delay_randomised,
    COALESCE(arrival.next_step_key, edge.to_step_key) AS to_step_key,
    COALESCE(edge.delay_version, 0) AS delay_version,
    COALESCE(arrival.assigned_delay_hours, edge.delay_hours) AS assigned_delay_hours,
    CASE WHEN edge.is_default THEN 0 ELSE 1 END AS default_rank,
    arrival.entered_us + 3600000000 * (
      COALESCE(arrival.assigned_delay_hours, edge.delay_hours, 0) + COALESCE(edge.grace_hours, $default_grace_hours)
    ) AS deadline_us
  FROM core.arrivals AS arrival
  LEFT JOIN core.edges AS edge
    ON edge.from_step_key = arrival.step_key
    AND arrival.entry_source <> 'queue'
    AND edge.valid_from_us <= arrival.entered_us
    AND edge.valid_to_us > arrival.entered_us
    AND (arrival.next_step_key IS NULL OR edge.to_step_key = arrival.next_step_key)
  WHERE arrival.day BETWEEN $first_day AND $last_day
),
reached AS (
  SELECT
    option.subscriber_key AS subscriber_key,
    option.step_key AS step_key,
    option.entered_us AS entered_us,
    option.to_step_key AS to_step_key,
    MIN(following.entered_us) AS reached_us
  FROM option AS option
  LEFT JOIN core.arrivals AS following
    ON following.subscriber_key = option.subscriber_key
    AND following.step_key = option.to_step_key
    AND following.entered_us BETWEEN option.entered_us AND option.deadline_us
    AND following.entry_source <> 'queue'
  WHERE following.day >= $first_day
  GROUP BY option.subscriber_key, option.step_key, option.entered_us, option.to_step_key
),
route AS (
  SELECT
    option.subscriber_key AS subscriber_key,
    option.workflow_key AS workflow_key,
    option.step_key AS step_key,
    option.entered_us AS entered_us,
    option.day AS day,
    option.entry_source AS entry_source,
    option.is_delay_randomised AS is_delay_randomised,
    option.to_step_key AS to_step_key,
    option.delay_version AS delay_version,
    option.assigned_delay_hours AS assigned_delay_hours,
    option.deadline_us AS deadline_us,
    reached.reached_us AS reached_us,
    ROW_NUMBER() OVER (
      PARTITION BY option.step_key, option.subscriber_key, option.entered_us
      ORDER BY COALESCE(reached.reached_us, 9000000000000000000) ASC NULLS FIRST,
        option.default_rank ASC NULLS FIRST, option.to_step_key ASC NULLS FIRST, option.delay_version ASC NULLS FIRST
    ) AS route_rank
  FROM option AS option
  LEFT JOIN reached AS reached
    ON reached.subscriber_key = option.subscriber_key
    AND reached.step_key = option.step_key
    AND reached.entered_us = option.entered_us
    AND reached.to_step_key = option.to_step_key
),
goal AS (
  SELECT
    route.subscriber_key AS subscriber_key,
    route.step_key AS step_key,
    route.entered_us AS entered_us,
    MIN(conversion.occurred_us) AS goal_us
  FROM route AS route
  LEFT JOIN core.workflows AS workflow
    ON workflow.workflow_key = route.workflow_key
  LEFT JOIN core.conversions AS conversion
    ON conversion.subscriber_key = route.subscriber_key
    AND conversion.event_type = workflow.goal_event_type
    AND conversion.occurred_us BETWEEN route.entered_us AND route.deadline_us
  WHERE route.route_rank = 1
    AND conversion.day >= $first_day
  GROUP BY route.subscriber_key, route.step_key, route.entered_us
),
departed AS (
  SELECT
    route.subscriber_key AS subscriber_key,
    route.step_key AS step_key,
    route.entered_us AS entered_us,
    MIN(departure.occurred_us * 16 + CASE departure.reason
      WHEN 'completed' THEN 0
      WHEN 'goal' THEN 1
      WHEN 'unsubscribed' THEN 2
      WHEN 'complaint' THEN 3
      WHEN 'hard_bounce' THEN 4
      WHEN 'filtered' THEN 5
      WHEN 'capped' THEN 6
      WHEN 'conflict' THEN 7
      WHEN 'removed' THEN 8
      WHEN 'step_deleted' THEN 9
      WHEN 'error' THEN 10
      WHEN 'stuck' THEN 11
      ELSE 12
    END) AS packed
  FROM route AS route
  LEFT JOIN core.departures AS departure
    ON departure.subscriber_key = route.subscriber_key
    AND (departure.workflow_key = route.workflow_key OR departure.workflow_key = 0)
    AND departure.occurred_us BETWEEN route.entered_us AND route.deadline_us
  WHERE route.route_rank = 1
    AND departure.day >= $first_day
  GROUP BY route.subscriber_key, route.step_key, route.entered_us
),
ending AS (
  SELECT
    route.subscriber_key AS subscriber_key,
    route.workflow_key AS workflow_key,
    route.step_key AS step_key,
    route.entered_us AS entered_us,
    route.day AS day,
    route.entry_source AS entry_source,
    route.is_delay_randomised AS is_delay_randomised,
    route.to_step_key AS to_step_key,
    route.delay_version AS delay_version,
    route.assigned_delay_hours AS assigned_delay_hours,
    route.deadline_us AS deadline_us,
    COALESCE(route.reached_us, 9000000000000000000) AS reached_us,
    COALESCE(goal.goal_us, 9000000000000000000) AS goal_us,
    COALESCE(CAST(FLOOR((departed.packed - MOD(departed.packed, 16)) / 16) AS BIGINT), 9000000000000000000)
      AS departed_us,
    MOD(departed.packed, 16) AS reason_no
  FROM route AS route
  LEFT JOIN goal AS goal
    ON goal.subscriber_key = route.subscriber_key
    AND goal.step_key = route.step_key
    AND goal.entered_us = route.entered_us
  LEFT JOIN departed AS departed
    ON departed.subscriber_key = route.subscriber_key
    AND departed.step_key = route.step_key
    AND departed.entered_us = route.entered_us
  WHERE route.route_rank = 1
),
decided AS (
  SELECT
    ending.subscriber_key AS subscriber_key,
    ending.workflow_key AS workflow_key,
    ending.step_key AS step_key,
    ending.entered_us AS entered_us,
    ending.day AS day,
    ending.entry_source AS entry_source,
    ending.is_delay_randomised AS is_delay_randomised,
    ending.to_step_key AS to_step_key,
    ending.delay_version AS delay_version,
    ending.assigned_delay_hours AS assigned_delay_hours,
    CASE
      WHEN ending.goal_us < 9000000000000000000 AND ending.goal_us <= ending.reached_us
        AND ending.goal_us <= ending.departed_us THEN 'goal'
      WHEN ending.reached_us < 9000000000000000000 AND ending.reached_us <= ending.departed_us THEN 'advanced'
      WHEN ending.reason_no = 0 THEN 'completed'
      WHEN ending.reason_no = 1 THEN 'goal'
      WHEN ending.reason_no IS NOT NULL THEN 'lost'
      WHEN ending.to_step_key IS NULL AND ending.entry_source <> 'queue' THEN 'completed'
      ELSE 'timeout'
    END AS outcome,
    CASE
      WHEN ending.goal_us < 9000000000000000000 AND ending.goal_us <= ending.reached_us
        AND ending.goal_us <= ending.departed_us THEN ending.goal_us
      WHEN ending.reached_us < 9000000000000000000 AND ending.reached_us <= ending.departed_us THEN ending.reached_us
      WHEN ending.reason_no IS NOT NULL THEN ending.departed_us
      WHEN ending.to_step_key IS NULL AND ending.entry_source <> 'queue' THEN ending.entered_us
      ELSE ending.deadline_us
    END AS outcome_us,
    ending.reason_no AS reason_no
  FROM ending AS ending
)
SELECT
  decided.subscriber_key AS subscriber_key,
  decided.workflow_key AS workflow_key,
  decided.step_key AS step_key,
  decided.entered_us AS entered_us,
  decided.day AS day,
  decided.entry_source AS entry_source,
  CASE WHEN decided.outcome = 'completed' THEN NULL ELSE decided.to_step_key END AS to_step_key,
  CASE WHEN decided.outcome = 'completed' THEN 0 ELSE decided.delay_version END AS delay_version,
  CASE WHEN decided.outcome = 'completed' THEN NULL ELSE decided.assigned_delay_hours END AS assigned_delay_hours,
  decided.is_delay_randomised AS is_delay_randomised,
  decided.outcome AS outcome,
  decided.outcome_us AS outcome_us,
  CAST(FLOOR(decided.outcome_us / 86400000000) AS BIGINT) AS outcome_day,
  CASE
    WHEN decided.outcome = 'advanced' THEN NULL
    WHEN decided.outcome = 'goal' THEN 'goal'
    WHEN decided.outcome = 'completed' THEN 'completed'
    WHEN decided.outcome = 'timeout' THEN 'stuck'
    WHEN decided.reason_no = 2 THEN 'unsubscribed'
    WHEN decided.reason_no = 3 THEN 'complaint'
    WHEN decided.reason_no = 4 THEN 'hard_bounce'
    WHEN decided.reason_no = 5 THEN 'filtered'
    WHEN decided.reason_no = 6 THEN 'capped'
    WHEN decided.reason_no = 7 THEN 'conflict'
    WHEN decided.reason_no = 8 THEN 'removed'
    WHEN decided.reason_no = 9 THEN 'step_deleted'
    WHEN decided.reason_no = 10 THEN 'error'
    WHEN decided.reason_no = 11 THEN 'stuck'
    ELSE 'unknown'
  END AS exit_reason
FROM decided AS decided
