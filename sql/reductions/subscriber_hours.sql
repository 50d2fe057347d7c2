-- Grain: subscriber, day and local hour of the week. Messages that did not bounce count on the day of sending, and so do
-- their opens and clicks by people, each at its own local hour. Entries, visits and purchases count on their own day.
-- Opens of messages sent before 2024-06-22 are left out, because opens by machines are not marked there.
WITH event AS (
  SELECT
    version.subscriber_key AS subscriber_key,
    version.occurred_us AS occurred_us,
    ROW_NUMBER() OVER (
      PARTITION BY version.event_id, CAST(FLOOR(version.occurred_us / 86400000000) AS BIGINT)
      ORDER BY version.as_of_day DESC NULLS FIRST, version.occurred_us DESC NULLS FIRST,
        version.subscriber_key DESC NULLS FIRST
    ) AS version_rank
  FROM lake.events AS version
  WHERE version.event_type IN ('entry', 'visit')
    AND version.occurred_us >= $first_day * 86400000000
    AND version.occurred_us < ($last_day + 1) * 86400000000
),
moment AS (
  SELECT
    engagement.subscriber_key AS subscriber_key,
    engagement.day AS day,
    engagement.occurred_us AS occurred_us,
    CASE WHEN engagement.action = 'open' THEN 1 ELSE 0 END AS human_opens,
    CASE WHEN engagement.action = 'click' THEN 1 ELSE 0 END AS human_clicks,
    0 AS behaviour_events
  FROM core.engagements AS engagement
  WHERE engagement.day BETWEEN $first_day AND $last_day
    AND engagement.is_human
    AND (engagement.action = 'click' OR engagement.sent_us >= 1719014400000000)
  UNION ALL
  SELECT
    event.subscriber_key AS subscriber_key,
    CAST(FLOOR(event.occurred_us / 86400000000) AS BIGINT) AS day,
    event.occurred_us AS occurred_us,
    0 AS human_opens,
    0 AS human_clicks,
    1 AS behaviour_events
  FROM event AS event
  WHERE event.version_rank = 1
  UNION ALL
  SELECT
    conversion.subscriber_key AS subscriber_key,
    conversion.day AS day,
    conversion.occurred_us AS occurred_us,
    0 AS human_opens,
    0 AS human_clicks,
    1 AS behaviour_events
  FROM core.conversions AS conversion
  WHERE conversion.day BETWEEN $first_day AND $last_day
    AND conversion.is_order
),
counted AS (
  SELECT
    moment.subscriber_key AS subscriber_key,
    moment.day AS day,
    -- 1970-01-01 was a Thursday, 72 hours after the start of a Monday.
    MOD(CAST(FLOOR((moment.occurred_us + COALESCE(zone.offset_us, 0)) / 3600000000) AS BIGINT) + 72, 168)
      AS local_hour_of_week,
    0 AS sends,
    moment.human_opens AS human_opens,
    moment.human_clicks AS human_clicks,
    moment.behaviour_events AS behaviour_events
  FROM moment AS moment
  LEFT JOIN core.subscribers AS subscriber
    ON subscriber.subscriber_key = moment.subscriber_key
  LEFT JOIN core.zone_offsets AS zone
    ON zone.zone = subscriber.zone
    AND zone.from_us <= moment.occurred_us
    AND zone.to_us > moment.occurred_us
  UNION ALL
  SELECT
    message.subscriber_key AS subscriber_key,
    message.day AS day,
    message.local_hour_of_week AS local_hour_of_week,
    1 AS sends,
    0 AS human_opens,
    0 AS human_clicks,
    0 AS behaviour_events
  FROM core.messages AS message
  WHERE message.day BETWEEN $first_day AND $last_day
    AND message.bounce_kind IS NULL
)
SELECT
  counted.subscriber_key AS subscriber_key,
  counted.day AS day,
  counted.local_hour_of_week AS local_hour_of_week,
  CAST(SUM(counted.sends) AS BIGINT) AS sends,
  CAST(SUM(counted.human_opens) AS BIGINT) AS human_opens,
  CAST(SUM(counted.human_clicks) AS BIGINT) AS human_clicks,
  CAST(SUM(counted.behaviour_events) AS BIGINT) AS behaviour_events
FROM counted AS counted
GROUP BY counted.subscriber_key, counted.day, counted.local_hour_of_week
