"""The Dagster assets, a file for each group or layer. An asset reads, calls a pure function and tells what came out.

Every asset of a module of this package is part of the graph. No statistics and no SQL text belong here.
"""
