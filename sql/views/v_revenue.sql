-- Attributed revenue of each step by window and by rule (`view`), with names. Never sum over `view` or `window`.
SELECT
  workflow.name AS workflow_name,
  step.name AS step_name,
  revenue.*
FROM marts.revenue_attribution AS revenue
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
LEFT JOIN marts.steps AS step USING (workflow_id, step_id)
