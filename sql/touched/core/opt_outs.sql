-- Days of new versions of unsubscribes and complaints, and of these as they are known.
WITH fresh AS (
  SELECT told.campaign_id, told.subscriber_key, 'unsubscribed' AS reason, told.occurred_us
  FROM new.unsubscribes AS told
  UNION
  SELECT told.campaign_id, told.subscriber_key, 'complaint' AS reason, told.occurred_us
  FROM new.abuse_reports AS told
)
SELECT CAST(FLOOR(fresh.occurred_us / 86400000000) AS BIGINT) AS day
FROM fresh
UNION
SELECT known.day
FROM fresh
JOIN core.opt_outs AS known
  ON known.campaign_id = fresh.campaign_id
  AND known.subscriber_key = fresh.subscriber_key
  AND known.reason = fresh.reason
