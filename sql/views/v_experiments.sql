-- Tonight's verdict on each test, with the test's name and question, and the names of step and workflow.
SELECT
  workflow.name AS workflow_name,
  step.name AS step_name,
  COALESCE(experiment.name, verdict.experiment_id) AS experiment_name,
  experiment.hypothesis AS hypothesis,
  experiment.start_day AS start_day,
  experiment.end_day AS end_day,
  verdict.*
FROM marts.experiment_verdicts AS verdict
LEFT JOIN marts.experiments AS experiment ON verdict.experiment_id = experiment.experiment_id
LEFT JOIN marts.workflows AS workflow ON verdict.workflow_id = workflow.workflow_id
LEFT JOIN marts.steps AS step ON verdict.workflow_id = step.workflow_id AND verdict.step_id = step.step_id
