-- The rates of each step by window, with the names of step and workflow, and the subject of its e-mail.
SELECT
  workflow.name AS workflow_name,
  step.name AS step_name,
  step.position AS step_position,
  step.kind AS step_kind,
  step.subject AS subject,
  metrics.*
FROM marts.step_metrics AS metrics
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
LEFT JOIN marts.steps AS step USING (workflow_id, step_id)
