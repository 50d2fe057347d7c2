-- Days of sending of the messages whose engagements may change.
SELECT DISTINCT send.day AS day
FROM touched.activity_instants AS instant
JOIN core.sends AS send
  ON send.campaign_id = instant.campaign_id AND send.subscriber_key = instant.subscriber_key
