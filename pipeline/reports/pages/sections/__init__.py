"""What stands on a page: each section is words, perhaps a figure, and the table behind it, from published tables alone.

Pure; no section draws, and none computes what a mart does not hold.
"""
