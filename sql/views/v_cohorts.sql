-- Conversion of each cohort in a workflow, with its name.
SELECT
  workflow.name AS workflow_name,
  cohort.*
FROM marts.cohort_metrics AS cohort
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
