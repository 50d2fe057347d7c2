"""The dimensions of the facts: workflows, steps, edges, subscribers and time zones. Pure functions on frames."""
