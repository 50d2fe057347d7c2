-- The counts of each step by day of sending, with the names of step and workflow. For lines over time.
SELECT
  workflow.name AS workflow_name,
  step.name AS step_name,
  step.position AS step_position,
  metrics.*
FROM marts.step_metrics_daily AS metrics
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
LEFT JOIN marts.steps AS step USING (workflow_id, step_id)
