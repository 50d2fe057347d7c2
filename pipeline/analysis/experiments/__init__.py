"""Tests inside flow steps: plans, assignment, exposures, nightly looks and verdicts."""
