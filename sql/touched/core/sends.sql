-- Days of sending of new versions of messages, and of these messages as they are known.
SELECT CAST(FLOOR(fresh.sent_us / 86400000000) AS BIGINT) AS day
FROM new.sends AS fresh
UNION
SELECT send.day
FROM new.sends AS fresh
JOIN core.sends AS send
  ON send.campaign_id = fresh.campaign_id AND send.subscriber_key = fresh.subscriber_key
