"""What each subscriber gets, and why: rules, learning policies, paths, content, and workflows that collide.

Pure functions on Polars frames. Not here: statistics of what happened (`analysis`), changes that people approve
(`optimizations`), reading of YAML files (`config`), Dagster.
"""
