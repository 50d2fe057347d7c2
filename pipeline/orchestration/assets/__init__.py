"""Dagster assets, a file per layer, each as thin as it can be: read, call a pure function, tell what came out.

No statistics and no SQL text belong here.
"""
