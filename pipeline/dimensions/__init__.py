"""Workflows, steps, edges, subscribers and time zones: what the facts are described by. Pure functions on frames."""
