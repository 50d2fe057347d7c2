"""The suites of `make torture`: each measures how one promise holds."""
