"""What each subscriber is served, and why: rules, learning policies, paths, content, and workflows in conflict.

Pure functions on Polars frames. Statistics of what happened are in `analysis`, changes that people approve in
`optimizations`, and the reading of YAML files in `config`.
"""
