-- Days of sending of messages with an unsubscribe or complaint that changed.
SELECT send.day
FROM changed_facts AS changed
JOIN core.sends AS send
  ON send.campaign_id = changed.campaign_id AND send.subscriber_key = changed.subscriber_key
