"""The user's YAML files: one reader with line numbers, and a model for each file. What the definitions lead to is
decided elsewhere.
"""
