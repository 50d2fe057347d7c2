-- Every instant at which new lake rows may add, remove or change a departure: those of all versions of their rows.
SELECT event.subscriber_key, event.occurred_us
FROM touched.event_versions AS event
WHERE event.event_type IN ('exit', 'unsubscribe')
UNION
SELECT version.subscriber_key, version.occurred_us
FROM lake.unsubscribes AS version
JOIN new.unsubscribes AS fresh
  ON fresh.campaign_id = version.campaign_id AND fresh.subscriber_key = version.subscriber_key
UNION
SELECT version.subscriber_key, version.occurred_us
FROM lake.abuse_reports AS version
JOIN new.abuse_reports AS fresh
  ON fresh.campaign_id = version.campaign_id AND fresh.subscriber_key = version.subscriber_key
UNION
SELECT version.subscriber_key, (version.as_of_day + 1) * 86400000000 - 1 AS occurred_us
FROM lake.removed_subscribers AS version
JOIN new.removed_subscribers AS fresh
  ON fresh.workflow_id = version.workflow_id AND fresh.subscriber_key = version.subscriber_key
UNION
SELECT version.subscriber_key, version.sent_us AS occurred_us
FROM lake.sends AS version
JOIN new.sends AS fresh
  ON fresh.campaign_id = version.campaign_id AND fresh.subscriber_key = version.subscriber_key
