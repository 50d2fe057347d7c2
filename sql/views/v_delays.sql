-- The delay between two steps as it is and as recommended, with names.
SELECT
  workflow.name AS workflow_name,
  from_step.name AS from_step_name,
  to_step.name AS to_step_name,
  delay.*
FROM marts.delay_recommendations AS delay
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
LEFT JOIN marts.steps AS from_step
  ON delay.workflow_id = from_step.workflow_id AND delay.from_step_id = from_step.step_id
LEFT JOIN marts.steps AS to_step ON delay.workflow_id = to_step.workflow_id AND delay.to_step_id = to_step.step_id
