"""One pandera model per table of every room: it drives validation, checks, UI metadata and the data dictionary.

Importing this package registers all tables. No logic belongs here beyond what a column is.
"""

from pipeline.schemas import (  # noqa: F401
    cohorts,
    core,
    decisions,
    experiments,
    lake,
    loop,
    monitoring,
    performance,
    reductions,
    timing,
)
from pipeline.schemas.journeys import lake as journeys_lake  # noqa: F401
from pipeline.schemas.journeys import marts as journeys_marts  # noqa: F401
