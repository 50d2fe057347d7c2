-- Who clicks which link of a step's e-mail, by window, with names.
SELECT
  workflow.name AS workflow_name,
  step.name AS step_name,
  step.subject AS subject,
  link.*
FROM marts.step_links AS link
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
LEFT JOIN marts.steps AS step USING (workflow_id, step_id)
