"""The sections of a page: words, perhaps a figure, and the table behind them, from published tables alone.

Functions here are pure. None of them draws, and none computes a number that a mart does not hold.
"""
