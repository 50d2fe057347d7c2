"""One pandera model per table of every room: it drives validation, checks, UI metadata and the data dictionary.

Importing this package registers all tables. No logic belongs here beyond what a column is.
"""

from pipeline.schemas import core, lake, reductions, timing  # noqa: F401
