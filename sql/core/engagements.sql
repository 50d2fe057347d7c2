-- Grain: open or click (campaign, subscriber, action, time, link), by day of sending.
-- Engagements of machines are kept and marked. Of several marks the first that applies is written. Marks that depend on
-- the time since sending are used only if the time of sending is known and not computed.
-- Activity more than 30 days before the sending belongs to no message.
WITH activity AS (
  SELECT
    message.step_key AS step_key,
    message.subscriber_key AS subscriber_key,
    event.action AS action,
    event.occurred_us AS occurred_us,
    event.url AS url,
    MIN(message.workflow_key) AS workflow_key,
    MIN(message.campaign_id) AS campaign_id,
    MIN(message.sent_us) AS sent_us,
    MIN(message.day) AS day,
    MIN(CASE WHEN message.sent_at_source = 'computed' THEN 0 ELSE 1 END) AS is_sent_time_known,
    -- Of several versions the flags of the latest night count, packed behind it so that one maximum finds them.
    MOD(MAX(event.as_of_day * 4 + CASE WHEN event.is_bot THEN 2 ELSE 0 END
      + CASE WHEN event.is_image_proxy THEN 1 ELSE 0 END), 4) AS flags,
    MAX(event.ip_key) AS ip_key
  FROM lake.email_activity AS event
  LEFT JOIN core.sends AS message
    ON message.campaign_id = event.campaign_id
    AND message.subscriber_key = event.subscriber_key
  WHERE message.day BETWEEN $first_day AND $last_day
    AND event.occurred_us >= ($first_day - 30) * 86400000000
    AND event.occurred_us >= message.sent_us - 2592000000000
  GROUP BY message.step_key, message.subscriber_key, event.action, event.occurred_us, event.url
),
bounce AS (
  SELECT
    activity.step_key AS step_key,
    activity.subscriber_key AS subscriber_key,
    MIN(activity.occurred_us) AS bounced_us
  FROM activity AS activity
  WHERE activity.action = 'bounce'
  GROUP BY activity.step_key, activity.subscriber_key
),
proxy_open AS (
  SELECT
    detail.campaign_id AS campaign_id,
    detail.subscriber_key AS subscriber_key,
    CAST(FLOOR(detail.occurred_us / 1000000) AS BIGINT) AS second_no
  FROM lake.open_details AS detail
  WHERE detail.occurred_us >= ($first_day - 30) * 86400000000
  GROUP BY detail.campaign_id, detail.subscriber_key, CAST(FLOOR(detail.occurred_us / 1000000) AS BIGINT)
  HAVING MOD(MAX(detail.as_of_day * 2 + CASE WHEN detail.is_proxy_open THEN 1 ELSE 0 END), 2) = 1
),
link_count AS (
  SELECT
    link.campaign_id AS campaign_id,
    COUNT(DISTINCT link.url) AS links
  FROM lake.click_details AS link
  WHERE NOT LOWER(link.url) LIKE '%unsubscribe%'
  GROUP BY link.campaign_id
  HAVING COUNT(DISTINCT link.url) >= 2
),
first_click AS (
  SELECT
    activity.step_key AS step_key,
    activity.subscriber_key AS subscriber_key,
    activity.url AS url,
    MIN(activity.campaign_id) AS campaign_id,
    MIN(activity.occurred_us) AS clicked_us
  FROM activity AS activity
  WHERE activity.action = 'click'
    AND NOT LOWER(activity.url) LIKE '%unsubscribe%'
  GROUP BY activity.step_key, activity.subscriber_key, activity.url
),
sweep AS (
  SELECT
    first_click.step_key AS step_key,
    first_click.subscriber_key AS subscriber_key,
    MIN(first_click.campaign_id) AS campaign_id,
    MIN(first_click.clicked_us) AS started_us,
    COUNT(*) AS links_clicked
  FROM first_click AS first_click
  GROUP BY first_click.step_key, first_click.subscriber_key
  HAVING MAX(first_click.clicked_us) - MIN(first_click.clicked_us) <= 10000000
),
marked AS (
  SELECT
    activity.subscriber_key AS subscriber_key,
    activity.step_key AS step_key,
    activity.workflow_key AS workflow_key,
    activity.campaign_id AS campaign_id,
    activity.action AS action,
    activity.occurred_us AS occurred_us,
    activity.url AS url,
    activity.sent_us AS sent_us,
    activity.day AS day,
    CASE
      WHEN activity.action = 'open' AND proxy_open.second_no IS NOT NULL THEN 'proxy'
      WHEN activity.flags >= 2 THEN 'bot_filter'
      WHEN MOD(activity.flags, 2) = 1 THEN 'image_proxy'
      WHEN activity.is_sent_time_known = 1 AND activity.occurred_us < activity.sent_us THEN 'before_delivery'
      WHEN bounce.bounced_us >= activity.occurred_us THEN 'before_delivery'
      WHEN activity.action = 'click' AND activity.is_sent_time_known = 1
        AND activity.occurred_us - activity.sent_us < 5000000 THEN 'too_fast'
      WHEN activity.action = 'click' AND link_count.links IS NOT NULL THEN 'all_links'
      WHEN activity.action = 'click' AND shared_ip.ip_key IS NOT NULL THEN 'shared_ip'
      WHEN activity.action = 'click' AND LOWER(activity.url) LIKE '%unsubscribe%' THEN 'unsubscribe_link'
    END AS machine_cause
  FROM activity AS activity
  LEFT JOIN proxy_open AS proxy_open
    ON proxy_open.campaign_id = activity.campaign_id
    AND proxy_open.subscriber_key = activity.subscriber_key
    AND proxy_open.second_no = CAST(FLOOR(activity.occurred_us / 1000000) AS BIGINT)
  LEFT JOIN bounce AS bounce
    ON bounce.step_key = activity.step_key
    AND bounce.subscriber_key = activity.subscriber_key
  LEFT JOIN sweep AS sweep
    ON sweep.step_key = activity.step_key
    AND sweep.subscriber_key = activity.subscriber_key
    AND activity.occurred_us BETWEEN sweep.started_us AND sweep.started_us + 10000000
  LEFT JOIN link_count AS link_count
    ON link_count.campaign_id = sweep.campaign_id
    AND link_count.links <= sweep.links_clicked
  LEFT JOIN core.shared_ips AS shared_ip
    ON shared_ip.ip_key = activity.ip_key
    AND shared_ip.day = CAST(FLOOR(activity.occurred_us / 86400000000) AS BIGINT)
  WHERE activity.action <> 'bounce'
)
SELECT
  marked.subscriber_key AS subscriber_key,
  marked.step_key AS step_key,
  marked.workflow_key AS workflow_key,
  marked.campaign_id AS campaign_id,
  marked.action AS action,
  marked.occurred_us AS occurred_us,
  marked.url AS url,
  marked.sent_us AS sent_us,
  marked.day AS day,
  marked.machine_cause IS NULL AS is_human,
  marked.machine_cause AS machine_cause
FROM marked AS marked
