"""The pages of the morning in a real browser. Run on demand by `make pages`, not by tests."""
