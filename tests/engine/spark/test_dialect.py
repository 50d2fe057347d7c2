"""Every model in Spark's words: the same parameters, views in place of tables, and no value in the statement."""

import pytest
from sqlglot import exp, parse_one

from pipeline.engine import Model, models
from pipeline.engine.spark import spark_sql
from pipeline.settings import SQL_DIR


@pytest.mark.parametrize("model", models(SQL_DIR), ids=lambda model: model.name)
def test_a_model_keeps_its_parameters_columns_and_tables(model: Model):
    translated = parse_one(spark_sql(model.sql), dialect="spark")
    assert {str(found.this) for found in translated.find_all(exp.Placeholder)} == set(model.parameters)
    assert sorted(translated.named_selects) == sorted(model.columns)
    tables = list(translated.find_all(exp.Table))
    assert [table.sql() for table in tables if table.db] == []
    assert {name.replace(".", "_") for name in model.depends_on} <= {table.name for table in tables}


def test_a_parameter_is_left_to_spark_to_bind():
    sql = "SELECT send.day AS day FROM core.sends AS send WHERE send.day = $first_day"
    assert spark_sql(sql) == "SELECT send.day AS day FROM core_sends AS send WHERE send.day = :first_day"


def test_a_query_that_is_named_like_a_table_of_a_schema_stays_itself():
    sql = "WITH sends AS (SELECT 1 AS day) SELECT sends.day AS day FROM sends AS sends"
    assert spark_sql(sql) == sql
