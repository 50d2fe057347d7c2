"""Generators with a known truth, shared by simulations and tests. Not here: any method, any target."""
