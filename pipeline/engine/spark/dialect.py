"""The portable subset of SQL (`pipeline/engine/portable.py`) in Spark's words."""

from functools import cache

from sqlglot import exp, parse_one

from pipeline.schemas.base import Table, polars_schema

SPARK_TYPES = {"Int64": "BIGINT", "Float64": "DOUBLE", "String": "STRING", "Boolean": "BOOLEAN"}


@cache
def spark_sql(sql: str) -> str:
    """A statement of the portable subset for Spark.

    A parameter `$name` becomes `:name`, which Spark binds by itself, so that no value is ever written into a statement.
    A table `core.sends` becomes the view `core_sends`, because Spark's temporary views belong to no schema.
    """
    statement = parse_one(sql, dialect="duckdb")
    for table in statement.find_all(exp.Table):
        if table.db:
            table.set("this", exp.to_identifier(view_name(f"{table.db}.{table.name}")))
            table.set("db", None)
    return statement.sql(dialect="spark", comments=False)


def view_name(table: str) -> str:
    """Name of the view by which Spark reads a table, such as 'core.sends'."""
    return table.replace(".", "_")


def spark_columns(model: type[Table]) -> str:
    """Columns of a table with Spark's types, as a schema is written in SQL."""
    return ", ".join(f"{name} {SPARK_TYPES[str(dtype)]}" for name, dtype in polars_schema(model).items())
