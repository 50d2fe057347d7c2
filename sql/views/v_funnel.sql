-- Who goes on from step to step and who is lost, with names.
SELECT
  workflow.name AS workflow_name,
  from_step.name AS from_step_name,
  to_step.name AS to_step_name,
  from_step.position AS step_position,
  funnel.*
FROM marts.funnel AS funnel
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
LEFT JOIN marts.steps AS from_step
  ON funnel.workflow_id = from_step.workflow_id AND funnel.from_step_id = from_step.step_id
LEFT JOIN marts.steps AS to_step ON funnel.workflow_id = to_step.workflow_id AND funnel.to_step_id = to_step.step_id
