"""`driptune up`: the Dagster UI behind a guard, and the daemon that keeps schedule and sensors going."""
