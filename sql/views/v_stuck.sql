-- Who is stuck, where and why, with names. A row per person.
SELECT
  workflow.name AS workflow_name,
  step.name AS step_name,
  stuck.*
FROM marts.stuck_subscribers AS stuck
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
LEFT JOIN marts.steps AS step USING (workflow_id, step_id)
