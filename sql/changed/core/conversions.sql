-- Days of all claims of the orders whose claims changed.
SELECT claim.day
FROM changed_facts AS changed
JOIN core.conversion_claims AS claim ON claim.order_id = changed.order_id
