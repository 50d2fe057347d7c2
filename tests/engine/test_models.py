"""Every SQL model keeps its table's contract, says what it means and stays inside the portable subset."""

from pathlib import Path

import polars as pl
import pytest
from sqlglot import exp, parse_one

from pipeline.engine import column_lineage, lint, models
from pipeline.lake.store import Lake
from pipeline.schemas.base import identity, polars_schema
from pipeline.settings import SQL_DIR
from tests.engine.world import build_all, connect, dimensions, engine, random_nights

MODELS = models(SQL_DIR)
SUBSCRIBERS = 12


def over(function: str, frame: str) -> str:
    return f"SELECT {function} OVER (ORDER BY a.y ASC NULLS FIRST {frame}) AS x FROM t AS a"


FORBIDDEN = {
    "asof": "SELECT a.x AS x FROM t AS a ASOF JOIN u AS b ON a.x >= b.x",
    "inner join": "SELECT a.x AS x FROM t AS a JOIN u AS b ON a.x = b.x",
    "using": "SELECT a.x AS x FROM t AS a LEFT JOIN u AS b USING (x)",
    "cross join": "SELECT a.x AS x FROM t AS a, u AS b",
    "percentile": "SELECT quantile_cont(a.x, 0.5) AS x FROM t AS a",
    "median": "SELECT median(a.x) AS x FROM t AS a",
    "list": "SELECT list(a.x) AS x FROM t AS a",
    "hash": "SELECT hash(a.x) AS x FROM t AS a",
    "approximate": "SELECT approx_count_distinct(a.x) AS x FROM t AS a",
    "date_diff": "SELECT date_diff('day', a.x, a.y) AS x FROM t AS a",
    "timestamp": "SELECT CAST(a.x AS TIMESTAMP) AS x FROM t AS a",
    "decimal places": "SELECT CAST(a.x AS DECIMAL(18, 2)) AS x FROM t AS a",
    "try_cast": "SELECT TRY_CAST(a.x AS BIGINT) AS x FROM t AS a",
    "integer division": "SELECT a.x // 2 AS x FROM t AS a",
    "division by a column": "SELECT a.x / a.y AS x FROM t AS a",
    "division by zero": "SELECT a.x / 0 AS x FROM t AS a",
    "order without nulls": "SELECT ROW_NUMBER() OVER (PARTITION BY a.x ORDER BY a.y) AS x FROM t AS a",
    "row number without order": "SELECT ROW_NUMBER() OVER (PARTITION BY a.x) AS x FROM t AS a",
    "other window": "SELECT LAG(a.x) OVER (ORDER BY a.y ASC NULLS FIRST) AS x FROM t AS a",
    "count of rows before": over("COUNT(*)", "ROWS BETWEEN 7 PRECEDING AND 1 PRECEDING"),
    "count without bounds": over("COUNT(*)", "RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"),
    "count to this row": over("COUNT(*)", "RANGE BETWEEN 7 PRECEDING AND CURRENT ROW"),
    "count of values": over("COUNT(a.x)", "RANGE BETWEEN 7 PRECEDING AND 1 PRECEDING"),
    "rank in a frame": over("ROW_NUMBER()", "RANGE BETWEEN 7 PRECEDING AND 1 PRECEDING"),
    "qualify": "SELECT a.x AS x FROM t AS a QUALIFY ROW_NUMBER() OVER (ORDER BY a.x ASC NULLS FIRST) = 1",
    "star": "SELECT * FROM t AS a",
    "no column name": "SELECT a.x FROM t AS a",
    "no table name": "SELECT x AS x FROM t",
    "union distinct": "SELECT a.x AS x FROM t AS a UNION SELECT a.x AS x FROM t AS a",
    "limit": "SELECT a.x AS x FROM t AS a LIMIT 1",
    "json": "SELECT a.x ->> 'y' AS x FROM t AS a",
    "unnest": "SELECT unnest(a.x) AS x FROM t AS a",
    "filter": "SELECT COUNT(*) FILTER (WHERE a.x > 1) AS x FROM t AS a",
    "regular expression": "SELECT regexp_matches(a.x, 'y') AS x FROM t AS a",
    "random": "SELECT random() AS x FROM t AS a",
    "now": "SELECT now() AS x FROM t AS a",
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("lake")
    for night in random_nights(1, 3, 300, SUBSCRIBERS):
        night.write(Lake(root))
    connection = connect(dimensions(SUBSCRIBERS))
    build_all(engine(connection, root))
    return connection


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_rows_keep_the_contract_of_their_table(built, model):
    rows = built.sql(f"SELECT * FROM {model.name}").pl()
    assert rows.height > 0
    assert dict(rows.schema) == polars_schema(model.schema)
    model.schema.validate(rows, lazy=True)
    assert rows.select(identity(model.schema).natural_key).is_unique().all()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_models_are_described_and_portable(model):
    assert model.description.startswith("Grain: ")
    assert lint(model.path) == []


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_tables_and_parameters_are_those_of_the_syntax_tree(model):
    tree = parse_one(model.sql, dialect="duckdb")
    assert set(model.depends_on) == {f"{table.db}.{table.name}" for table in tree.find_all(exp.Table) if table.db}
    assert set(model.parameters) == {str(parameter.this) for parameter in tree.find_all(exp.Placeholder)}


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_every_column_comes_from_declared_columns(model):
    declared = {identity(found).qualified_name: polars_schema(found) for found in _tables()}
    lineage = column_lineage(model)
    assert list(lineage) == list(model.columns)
    for sources in lineage.values():
        assert all(source.column in declared[source.table] for source in sources)


def test_lineage_names_what_a_column_is_made_of():
    found = {model.name: column_lineage(model) for model in MODELS if model.name == "reductions.step_days"}
    sources = {(source.table, source.column) for source in found["reductions.step_days"]["hard_bounces"]}
    assert sources == {("core.messages", "bounce_kind")}


def test_models_come_after_what_they_read():
    order = [model.name for model in MODELS]
    for model in MODELS:
        assert all(order.index(name) < order.index(model.name) for name in model.depends_on if name in order)


@pytest.mark.parametrize("construct", FORBIDDEN)
def test_lint_rejects_what_engines_do_differently(construct: str, tmp_path: Path):
    path = tmp_path / "model.sql"
    path.write_text(FORBIDDEN[construct])
    assert lint(path), construct


def test_every_day_of_a_month_has_its_cohort(tmp_path: Path):
    """Civil months by arithmetic equal the calendar's, over four centuries."""
    days = pl.DataFrame({"day": pl.date_range(pl.date(1970, 1, 1), pl.date(2370, 1, 1), "1d", eager=True)})
    subscribers = days.select(
        subscriber_key=pl.int_range(1, pl.len() + 1),
        signup_us=pl.col("day").cast(pl.Datetime("us")).cast(pl.Int64),
        month=pl.col("day").dt.strftime("%Y-%m"),
    )
    sql = next(model.sql for model in MODELS if model.name == "reductions.cohort_cells")
    connection = connect(dimensions(SUBSCRIBERS))
    connection.register("people", subscribers)
    connection.execute("CREATE OR REPLACE TABLE core.subscribers AS SELECT *, NULL::BIGINT AS first_purchase_us, "
                       "NULL::VARCHAR AS plan, NULL::VARCHAR AS cohort_value FROM people")  # fmt: skip
    people = "member AS (SELECT * FROM core.subscribers), "
    end = sql.index("\n)", sql.index("\nmembership AS (")) + len("\n)")
    membership = f"WITH {people}" + sql[sql.index("moment AS (") : end]
    found = connection.sql(
        f"{membership} SELECT people.month = membership.cohort AS same FROM membership JOIN people "
        "USING (subscriber_key) WHERE cohort_type = 'signup_date'"
    ).pl()
    assert found.height == subscribers.height
    assert found["same"].all()


def _tables():
    from pipeline.schemas.base import tables_of

    return [model for room in ("lake", "core", "reductions") for model in tables_of(room)]
