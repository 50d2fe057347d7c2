-- Core facts of an account of $people people until the day $until, drawn by hashing.
-- A person has 10 messages, 10 other events, 5 entries into steps, and half an order, over 170 days.
CREATE SCHEMA reductions;
CREATE TEMP MACRO chance(i, salt) AS (hash(i, salt) % 1000000) / 1000000.0;
CREATE TEMP MACRO person(i) AS (hash(i) >> 1)::BIGINT;
CREATE TEMP TABLE night AS SELECT $until::BIGINT AS last_day;
CREATE TEMP MACRO day_of(i, salt) AS (SELECT last_day FROM night) - (chance(i, salt) * 170)::BIGINT;
CREATE TEMP TABLE places AS
SELECT row_number() OVER () - 1 AS place, step_key, workflow_key FROM core.steps WHERE kind = 'email';
CREATE TEMP TABLE ways AS SELECT row_number() OVER () - 1 AS way, from_step_key, to_step_key, workflow_key FROM core.edges;
CREATE TABLE core.subscribers AS SELECT
  person(i) AS subscriber_key,
  CASE WHEN chance(i, 's') < .9 THEN 'subscribed' ELSE 'unsubscribed' END AS status,
  'Europe/Vienna' AS zone,
  'member' AS zone_source,
  (day_of(i, 'j') - 200) * 86400000000 AS signup_us,
  NULL::BIGINT AS first_purchase_us,
  ['free', 'basic', 'pro'][1 + i % 3] AS plan,
  NULL::VARCHAR AS cohort_value,
  'AT' AS country_code,
  'de' AS language,
  1 + i % 5 AS member_rating,
  '{"PLAN":"pro","CITY":"' || hash(i, 'c') || '","ROUTE":"power"}' AS merge_fields,
  '["customer","newsletter"]' AS tags
FROM range($people) AS t(i);
CREATE TABLE core.messages AS SELECT
  person(drawn.i // 10) AS subscriber_key,
  places.step_key,
  places.workflow_key,
  'c' || places.place AS campaign_id,
  drawn.sent_us,
  'activity' AS sent_at_source,
  drawn.sent_us // 86400000000 AS day,
  (drawn.sent_us // 3600000000 + 72) % 168 AS local_hour_of_week,
  CASE WHEN chance(drawn.i, 'b') < .01 THEN 'hard' END AS bounce_kind,
  TRUE AS has_machine_marks,
  drawn.opens,
  drawn.opens AS human_opens,
  CASE WHEN drawn.opens > 0 THEN drawn.sent_us + 3600000000 END AS first_open_us,
  CASE WHEN drawn.opens > 0 THEN drawn.sent_us + 3600000000 END AS first_human_open_us,
  drawn.clicks,
  drawn.clicks AS human_clicks,
  CASE WHEN drawn.clicks > 0 THEN drawn.sent_us + 3700000000 END AS first_click_us,
  CASE WHEN drawn.clicks > 0 THEN drawn.sent_us + 3700000000 END AS first_human_click_us,
  CASE WHEN chance(drawn.i, 'u') < .003 THEN drawn.sent_us + 7200000000 END AS unsubscribed_us,
  NULL::BIGINT AS complained_us
FROM (
  SELECT
    i,
    day_of(i, 'd') * 86400000000 + (8 + (chance(i, 'h') * 12)::BIGINT) * 3600000000 + i AS sent_us,
    (chance(i, 'o') < .25)::BIGINT AS opens,
    (chance(i, 'k') < .05)::BIGINT AS clicks,
    (hash(i, 'place') % (SELECT count(*) FROM places))::BIGINT AS place
  FROM range($people * 10) AS t(i)
) AS drawn
JOIN places ON places.place = drawn.place;
CREATE TABLE core.engagements AS SELECT
  subscriber_key, step_key, workflow_key, campaign_id, 'open' AS action, first_open_us AS occurred_us, '' AS url, sent_us,
  day, TRUE AS is_human, NULL::VARCHAR AS machine_cause
FROM core.messages WHERE first_open_us IS NOT NULL;
CREATE TABLE core.step_entries AS SELECT
  person(drawn.i // 5) AS subscriber_key,
  ways.workflow_key,
  ways.from_step_key AS step_key,
  drawn.entered_us,
  drawn.entered_us // 86400000000 AS day,
  'event' AS entry_source,
  ways.to_step_key,
  1::BIGINT AS delay_version,
  NULL::BIGINT AS assigned_delay_hours,
  FALSE AS is_delay_randomised,
  ['advanced', 'lost', 'goal', 'timeout'][1 + least(3, (chance(drawn.i, 'o') * 5)::BIGINT)] AS outcome,
  drawn.entered_us + 345600000000 AS outcome_us,
  drawn.entered_us // 86400000000 + 4 AS outcome_day,
  NULL::VARCHAR AS exit_reason
FROM (
  SELECT i, day_of(i, 'd') * 86400000000 + i AS entered_us, (hash(i, 'way') % (SELECT count(*) FROM ways))::BIGINT AS way
  FROM range($people * 5) AS t(i)
) AS drawn
JOIN ways ON ways.way = drawn.way;
CREATE TABLE core.conversions AS SELECT
  'order:' || i AS conversion_id, person(i * 2) AS subscriber_key, 'purchase' AS event_type,
  day_of(i, 'c') * 86400000000 + i AS occurred_us, day_of(i, 'c') AS day, TRUE AS is_order, 1000 + i % 9000 AS net_cents
FROM range($people // 2) AS t(i);
CREATE TABLE core.credits AS SELECT
  conversion_id, 'report' AS view, subscriber_key, places.step_key, places.workflow_key, 'click' AS touch,
  occurred_us AS touch_us, day AS message_day, day, is_order, net_cents
FROM core.conversions JOIN places ON places.place = net_cents % (SELECT count(*) FROM places);
CREATE TABLE core.departures AS SELECT
  person(i * 5) AS subscriber_key, 0::BIGINT AS workflow_key, 'unsubscribed' AS reason,
  day_of(i, 'l') * 86400000000 AS occurred_us, day_of(i, 'l') AS day
FROM range($people // 5) AS t(i);
CREATE TABLE reductions.subscriber_hours AS
SELECT subscriber_key, day, local_hour_of_week, 1::BIGINT AS sends, 0::BIGINT AS human_opens, 0::BIGINT AS human_clicks,
  0::BIGINT AS behaviour_events
FROM core.messages WHERE bounce_kind IS NULL
UNION ALL
SELECT subscriber_key, day, (occurred_us // 3600000000 + 72) % 168, 0, 1, 0, 0 FROM core.engagements
UNION ALL
SELECT
  person(i // 10), day_of(i, 'e'),
  24 * (hash(i, 'w') % 7)::BIGINT + ((hash(i // 10) % 24)::BIGINT + (chance(i, 'n') * 5)::BIGINT) % 24, 0, 0, 0, 1
FROM range($people * 10) AS t(i);
