"""Benchmarks: synthetic accounts, measured tasks, peers, and the table of figures. Not run by tests."""
