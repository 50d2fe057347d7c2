-- Grain: open or click (campaign, subscriber, action, time, link), by day of sending.
-- Engagements of machines are kept and marked. Of several marks the first that applies is written. Marks that depend on
-- the time since sending are used only if the time of sending is known and not computed.
-- All that a mark rests on belongs to messages of the same day of sending, so a day can be computed alone.
-- Activity more than 30 days before the sending belongs to no message.
-- Link scanners click some 20 seconds after sending, link after link, one a second or slower. Marks of clicks within 5
-- seconds, and of all links within 10, left one to two fifths of such clicks unmarked. So a mark rests on when something
-- happened, on the share of the links and their pace, on what an address does for others, and on the sender's own pace.
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
    MIN(CASE WHEN message.sent_at_source NOT IN ('computed', 'unread') THEN event.occurred_us - message.sent_us END) AS lag_us,
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
-- What Mailchimp itself says, and what nobody can have done.
act AS (
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
    activity.lag_us AS lag_us,
    activity.ip_key AS ip_key,
    CASE
      WHEN activity.action = 'open' AND proxy_open.second_no IS NOT NULL THEN 'proxy'
      WHEN activity.flags >= 2 THEN 'bot_filter'
      WHEN MOD(activity.flags, 2) = 1 THEN 'image_proxy'
      WHEN activity.lag_us < 0 THEN 'before_delivery'
      WHEN bounce.bounced_us >= activity.occurred_us THEN 'before_delivery'
    END AS told_cause
  FROM activity AS activity
  LEFT JOIN proxy_open AS proxy_open
    ON proxy_open.campaign_id = activity.campaign_id
    AND proxy_open.subscriber_key = activity.subscriber_key
    AND proxy_open.second_no = CAST(FLOOR(activity.occurred_us / 1000000) AS BIGINT)
  LEFT JOIN bounce AS bounce
    ON bounce.step_key = activity.step_key
    AND bounce.subscriber_key = activity.subscriber_key
  WHERE activity.action <> 'bounce'
),
link_count AS (
  SELECT
    link.campaign_id AS campaign_id,
    COUNT(DISTINCT link.url) AS links
  FROM lake.click_details AS link
  WHERE NOT LOWER(link.url) LIKE '%unsubscribe%'
  GROUP BY link.campaign_id
),
placed AS (
  SELECT
    act.step_key AS step_key,
    act.subscriber_key AS subscriber_key,
    act.campaign_id AS campaign_id,
    act.url AS url,
    act.occurred_us AS clicked_us,
    act.lag_us AS lag_us,
    ROW_NUMBER() OVER (
      PARTITION BY act.step_key, act.subscriber_key
      ORDER BY act.occurred_us ASC NULLS FIRST, act.url ASC NULLS FIRST
    ) AS place
  FROM act AS act
  WHERE act.action = 'click'
    AND NOT LOWER(act.url) LIKE '%unsubscribe%'
),
-- A run is a series of clicks of a message, each at most 30 seconds after the one before, or a minute in the first five
-- minutes. Only the first 200 clicks are told apart, because the work grows with their square.
opening AS (
  SELECT
    click.step_key AS step_key,
    click.subscriber_key AS subscriber_key,
    click.place AS place
  FROM placed AS click
  LEFT JOIN placed AS earlier
    ON earlier.step_key = click.step_key
    AND earlier.subscriber_key = click.subscriber_key
    AND earlier.place = click.place - 1
  WHERE click.place <= 200
    AND (
      earlier.place IS NULL
      OR click.clicked_us - earlier.clicked_us > CASE WHEN click.lag_us < 300000000 THEN 60000000 ELSE 30000000 END
    )
),
numbered AS (
  SELECT
    click.step_key AS step_key,
    click.subscriber_key AS subscriber_key,
    click.place AS place,
    MIN(click.campaign_id) AS campaign_id,
    MIN(click.url) AS url,
    MIN(click.clicked_us) AS clicked_us,
    MIN(click.lag_us) AS lag_us,
    MAX(opening.place) AS run_no
  FROM placed AS click
  LEFT JOIN opening AS opening
    ON opening.step_key = click.step_key
    AND opening.subscriber_key = click.subscriber_key
    AND opening.place <= click.place
  WHERE click.place <= 200
  GROUP BY click.step_key, click.subscriber_key, click.place
),
run AS (
  SELECT
    numbered.step_key AS step_key,
    numbered.subscriber_key AS subscriber_key,
    numbered.run_no AS run_no,
    MIN(numbered.campaign_id) AS campaign_id,
    MIN(numbered.clicked_us) AS started_us,
    MAX(numbered.clicked_us) AS ended_us,
    MIN(numbered.lag_us) AS lag_us,
    COUNT(DISTINCT numbered.url) AS links
  FROM numbered AS numbered
  GROUP BY numbered.step_key, numbered.subscriber_key, numbered.run_no
  HAVING COUNT(DISTINCT numbered.url) >= 2
),
-- Runs that begin within a minute of sending, or within two at 10 seconds a link, and runs over the message's links
-- faster than anybody reads: both of two links within 3 seconds, all of three and more at 10 seconds a link, or half of
-- the links at 5 seconds a link.
scan AS (
  SELECT
    run.step_key AS step_key,
    run.subscriber_key AS subscriber_key,
    run.started_us AS started_us,
    run.ended_us AS ended_us,
    run.lag_us < 120000000 AS is_early
  FROM run AS run
  LEFT JOIN link_count AS link_count
    ON link_count.campaign_id = run.campaign_id
  WHERE run.lag_us < 60000000
    OR (run.lag_us < 120000000 AND run.ended_us - run.started_us <= 10000000 * (run.links - 1))
    OR (run.links = 2 AND link_count.links <= 2 AND run.ended_us - run.started_us <= 3000000)
    OR (run.links >= 3 AND link_count.links <= run.links
      AND run.ended_us - run.started_us <= 10000000 * (run.links - 1))
    OR (run.links >= 3 AND link_count.links <= 2 * run.links
      AND run.ended_us - run.started_us <= 5000000 * (run.links - 1))
),
-- Addresses that act on messages as soon as they are sent: on three and most within two minutes, or nearly all of many
-- recipients' within half an hour. People behind one address act at their own times.
ip_message AS (
  SELECT
    act.ip_key AS ip_key,
    act.day AS day,
    act.step_key AS step_key,
    act.subscriber_key AS subscriber_key,
    MIN(act.lag_us) AS lag_us
  FROM act AS act
  WHERE act.ip_key IS NOT NULL
    AND act.lag_us IS NOT NULL
  GROUP BY act.ip_key, act.day, act.step_key, act.subscriber_key
),
prompt_ip AS (
  SELECT
    ip_message.ip_key AS ip_key,
    ip_message.day AS day
  FROM ip_message AS ip_message
  GROUP BY ip_message.ip_key, ip_message.day
  HAVING (
    COUNT(CASE WHEN ip_message.lag_us < 120000000 THEN 1 END) >= 3
    AND COUNT(DISTINCT ip_message.subscriber_key) >= 3
    AND 2 * COUNT(CASE WHEN ip_message.lag_us < 120000000 THEN 1 END) >= COUNT(*)
  ) OR (
    COUNT(DISTINCT ip_message.subscriber_key) >= $shared_ip_recipients
    AND 20 * COUNT(CASE WHEN ip_message.lag_us >= 1800000000 THEN 1 END) <= COUNT(*)
  )
),
judged AS (
  SELECT
    act.subscriber_key AS subscriber_key,
    act.step_key AS step_key,
    act.workflow_key AS workflow_key,
    act.campaign_id AS campaign_id,
    act.action AS action,
    act.occurred_us AS occurred_us,
    act.url AS url,
    act.sent_us AS sent_us,
    act.day AS day,
    act.lag_us AS lag_us,
    act.ip_key AS ip_key,
    CASE
      WHEN act.told_cause IS NOT NULL THEN act.told_cause
      WHEN act.action = 'click' AND act.lag_us < 60000000 THEN 'too_fast'
      WHEN act.action = 'open' AND act.lag_us < 10000000 THEN 'too_fast'
      WHEN act.action = 'click' AND scan.is_early THEN 'early_run'
      WHEN act.action = 'click' AND scan.step_key IS NOT NULL THEN 'all_links'
      WHEN prompt_ip.ip_key IS NOT NULL AND act.lag_us < 1800000000 THEN 'shared_ip'
    END AS machine_cause
  FROM act AS act
  LEFT JOIN scan AS scan
    ON scan.step_key = act.step_key
    AND scan.subscriber_key = act.subscriber_key
    AND act.occurred_us BETWEEN scan.started_us AND scan.ended_us
  LEFT JOIN prompt_ip AS prompt_ip
    ON prompt_ip.ip_key = act.ip_key
    AND prompt_ip.day = act.day
),
-- Opens by the machine that clicked the message: from its address, or around its clicks within two minutes of sending.
clicking AS (
  SELECT
    judged.step_key AS step_key,
    judged.subscriber_key AS subscriber_key,
    MIN(judged.occurred_us) AS started_us,
    MAX(judged.occurred_us) AS ended_us
  FROM judged AS judged
  WHERE judged.action = 'click'
    AND judged.machine_cause IS NOT NULL
    AND judged.lag_us < 120000000
  GROUP BY judged.step_key, judged.subscriber_key
),
clicking_ip AS (
  SELECT
    judged.step_key AS step_key,
    judged.subscriber_key AS subscriber_key,
    judged.ip_key AS ip_key,
    MIN(judged.occurred_us) AS started_us,
    MAX(judged.occurred_us) AS ended_us
  FROM judged AS judged
  WHERE judged.action = 'click'
    AND judged.machine_cause IS NOT NULL
    AND judged.ip_key IS NOT NULL
  GROUP BY judged.step_key, judged.subscriber_key, judged.ip_key
),
explained AS (
  SELECT
    judged.subscriber_key AS subscriber_key,
    judged.step_key AS step_key,
    judged.workflow_key AS workflow_key,
    judged.campaign_id AS campaign_id,
    judged.action AS action,
    judged.occurred_us AS occurred_us,
    judged.url AS url,
    judged.sent_us AS sent_us,
    judged.day AS day,
    judged.lag_us AS lag_us,
    CASE
      WHEN judged.machine_cause IS NOT NULL THEN judged.machine_cause
      WHEN judged.action = 'open' AND clicking.step_key IS NOT NULL THEN 'with_clicks'
      WHEN judged.action = 'open' AND clicking_ip.step_key IS NOT NULL THEN 'with_clicks'
    END AS machine_cause
  FROM judged AS judged
  LEFT JOIN clicking AS clicking
    ON clicking.step_key = judged.step_key
    AND clicking.subscriber_key = judged.subscriber_key
    AND judged.lag_us < 120000000
    AND judged.occurred_us BETWEEN clicking.started_us - 30000000 AND clicking.ended_us + 5000000
  LEFT JOIN clicking_ip AS clicking_ip
    ON clicking_ip.step_key = judged.step_key
    AND clicking_ip.subscriber_key = judged.subscriber_key
    AND clicking_ip.ip_key = judged.ip_key
    AND judged.occurred_us BETWEEN clicking_ip.started_us - 60000000 AND clicking_ip.ended_us + 60000000
),
-- Spans of 30 seconds after sending with far more first opens or clicks that nothing explains so far than as long a span
-- 5 to 15 minutes after sending: more than four times as many.
first_act AS (
  SELECT
    explained.day AS day,
    explained.action AS action,
    explained.step_key AS step_key,
    explained.subscriber_key AS subscriber_key,
    MIN(explained.lag_us) AS lag_us
  FROM explained AS explained
  WHERE explained.machine_cause IS NULL
  GROUP BY explained.day, explained.action, explained.step_key, explained.subscriber_key
),
pace AS (
  SELECT
    first_act.day AS day,
    first_act.action AS action,
    COUNT(CASE WHEN first_act.lag_us >= 300000000 THEN 1 END) AS acts
  FROM first_act AS first_act
  WHERE first_act.lag_us < 900000000
  GROUP BY first_act.day, first_act.action
),
span AS (
  SELECT
    first_act.day AS day,
    first_act.action AS action,
    CAST(FLOOR(first_act.lag_us / 30000000) AS BIGINT) AS span_no,
    COUNT(*) AS acts
  FROM first_act AS first_act
  WHERE first_act.lag_us < 300000000
  GROUP BY first_act.day, first_act.action, CAST(FLOOR(first_act.lag_us / 30000000) AS BIGINT)
  HAVING COUNT(*) >= 10
),
rush AS (
  SELECT
    span.day AS day,
    span.action AS action,
    span.span_no AS span_no
  FROM span AS span
  LEFT JOIN pace AS pace
    ON pace.day = span.day
    AND pace.action = span.action
  WHERE 20 * span.acts > 4 * pace.acts
),
marked AS (
  SELECT
    explained.subscriber_key AS subscriber_key,
    explained.step_key AS step_key,
    explained.workflow_key AS workflow_key,
    explained.campaign_id AS campaign_id,
    explained.action AS action,
    explained.occurred_us AS occurred_us,
    explained.url AS url,
    explained.sent_us AS sent_us,
    explained.day AS day,
    CASE
      WHEN explained.machine_cause IS NOT NULL THEN explained.machine_cause
      WHEN rush.span_no IS NOT NULL THEN 'rush'
      WHEN explained.action = 'click' AND LOWER(explained.url) LIKE '%unsubscribe%' THEN 'unsubscribe_link'
    END AS machine_cause
  FROM explained AS explained
  LEFT JOIN rush AS rush
    ON rush.day = explained.day
    AND rush.action = explained.action
    AND rush.span_no = CAST(FLOOR(explained.lag_us / 30000000) AS BIGINT)
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
