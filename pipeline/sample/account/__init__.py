"""The generator of the sample account and its known truth."""
