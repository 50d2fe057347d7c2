"""The user's definitions: YAML files, read with line numbers, and one model for each file."""
