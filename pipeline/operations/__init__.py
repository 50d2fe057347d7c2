"""What a command, a sensor or a job does, without Dagster: follow a publication, apply, forget, verify."""
