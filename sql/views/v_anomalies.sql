-- What is out of line, with names. `is_latest` marks the anomalies that last night found or saw go on.
SELECT
  workflow.name AS workflow_name,
  step.name AS step_name,
  anomaly.*
FROM marts.anomalies AS anomaly
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
LEFT JOIN marts.steps AS step USING (workflow_id, step_id)
