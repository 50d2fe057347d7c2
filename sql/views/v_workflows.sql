-- The rates of each flow, automation and campaign by window, with its name.
SELECT
  workflow.name AS workflow_name,
  workflow.kind AS workflow_kind,
  metrics.*
FROM marts.workflow_metrics AS metrics
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
