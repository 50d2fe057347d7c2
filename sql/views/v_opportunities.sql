-- What could be won in four weeks and what that rests on, with names.
SELECT
  workflow.name AS workflow_name,
  step.name AS step_name,
  opportunity.*
FROM marts.opportunities AS opportunity
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
LEFT JOIN marts.steps AS step USING (workflow_id, step_id)
