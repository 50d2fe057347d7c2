"""Running the SQL of `sql/`: models, windows, lake views, lint of the portable subset and column lineage.

What a table means stands in its SQL and schema; statistics, files of the lake and Dagster belong elsewhere.
"""

from pipeline.engine.lineage import ColumnSource, column_lineage
from pipeline.engine.model import Model, models
from pipeline.engine.portable import Violation, lint
from pipeline.engine.runner import Engine, RunResult
from pipeline.engine.views import register_lake
from pipeline.engine.windows import EVERYTHING, Window, coalesce

__all__ = [
    "EVERYTHING",
    "ColumnSource",
    "Engine",
    "Model",
    "RunResult",
    "Violation",
    "Window",
    "coalesce",
    "column_lineage",
    "lint",
    "models",
    "register_lake",
]
