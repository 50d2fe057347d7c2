-- What flows really added: revenue of those mailed beside those held out, with names.
SELECT
  workflow.name AS workflow_name,
  holdout.*
FROM marts.holdouts AS holdout
LEFT JOIN marts.workflows AS workflow USING (workflow_id)
