-- Every proposed change with its state, its promise, and what it brought by last night, with names.
SELECT
  workflow.name AS workflow_name,
  step.name AS step_name,
  realised.metric AS metric,
  realised.realised_lift AS realised_lift,
  realised.realised_lift_low AS realised_lift_low,
  realised.realised_lift_high AS realised_lift_high,
  realised.outcome AS outcome,
  change.*
FROM marts.optimizations AS change
LEFT JOIN marts.realised_lift AS realised
  ON change.optimization_id = realised.optimization_id AND realised.is_latest AND realised.role = 'primary'
LEFT JOIN marts.workflows AS workflow ON change.workflow_id = workflow.workflow_id
LEFT JOIN marts.steps AS step ON change.workflow_id = step.workflow_id AND change.step_id = step.step_id
