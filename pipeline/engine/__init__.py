"""Runs the SQL of `sql/`: models, windows, views of the lake, lint of the portable subset, and column lineage.

What a table means is written in its SQL and its schema.
"""

from pipeline.engine.lineage import column_lineage
from pipeline.engine.model import Model, models
from pipeline.engine.portable import lint
from pipeline.engine.runner import Engine
from pipeline.engine.windows import EVERYTHING, Window, coalesce

__all__ = ["EVERYTHING", "Engine", "Model", "Window", "coalesce", "column_lineage", "lint", "models"]
