"""One pandera model per table of every room: it drives validation, checks, UI metadata and the data dictionary.

No logic belongs here beyond what a column is. Importing the package imports no table, so that who needs a closed word
of `vocabulary` need not wait for pandera.
"""
