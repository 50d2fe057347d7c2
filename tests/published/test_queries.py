"""A query reads the published tables, and nothing else on this machine or elsewhere."""

from datetime import date
from pathlib import Path

import duckdb
import pytest

from pipeline.published.queries import MOST_CHARACTERS, QueryRefusedError, ask
from pipeline.published.snapshot import SNAPSHOT_NAME
from tests.worlds.publication import publish_all
from tests.worlds.published import row

LONG = "long " * 1_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workflows = row("workflows", workflow_id="welcome", name=LONG)
    return publish_all(tmp_path_factory.mktemp("account"), {"workflows": workflows})


def test_values_are_plain_and_texts_are_cut(folder: Path) -> None:
    sql = (
        "SELECT name, DATE '2026-06-29' AS day, TIMESTAMP '2026-06-29 01:02:03' AS at, 1.50::DECIMAL(18, 2) AS amount, "
        "'nan'::DOUBLE AS broken, NULL AS nothing, true AS truth, [1, 2] AS listed FROM workflows"
    )
    answer = ask(folder, sql, most_rows=5)
    [[name, *values]] = answer.rows
    assert answer.columns == ["name", "day", "at", "amount", "broken", "nothing", "truth", "listed"]
    assert values == [date(2026, 6, 29).isoformat(), "2026-06-29T01:02:03", 1.5, None, None, True, "[1, 2]"]
    assert name == LONG[:MOST_CHARACTERS] + " ..."


@pytest.mark.parametrize(("rows", "is_cut"), [(2, True), (3, False), (4, False)])
def test_more_rows_than_asked_for_are_told(folder: Path, rows: int, is_cut: bool) -> None:
    answer = ask(folder, "FROM range(3)", most_rows=rows)
    assert (len(answer.rows), answer.is_cut) == (min(rows, 3), is_cut)


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM workflows",
        "CREATE TABLE marts.mine AS SELECT 1",
        "COPY workflows TO '{folder}/out.csv'",
        "ATTACH '{folder}/other.duckdb'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "SELECT 1; SELECT 2",
        "EXPORT DATABASE '{folder}/out'",
        "",
        "-- nothing",
        "SELECT FROM WHERE",
        "SELECT * FROM nothing_of_this_name",
        "SELECT * FROM read_text('{folder}/manifest.json')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '{folder}/parquet/workflows.parquet'",
        "SELECT * FROM glob('/etc/*')",
        "SELECT * FROM 'http://127.0.0.1:9/x.parquet'",
        "SELECT getenv('HOME')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "FROM query('SET lock_configuration = false')",
    ],
)
def test_what_reaches_beyond_the_tables_is_refused(folder: Path, sql: str) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(QueryRefusedError):
        ask(folder, sql.format(folder=folder), most_rows=5)
    assert sorted(folder.rglob("*")) == before
    with duckdb.connect(str(folder / SNAPSHOT_NAME), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM marts.workflows").fetchone() == (1,)


def test_a_query_that_takes_too_long_ends(folder: Path) -> None:
    with pytest.raises(QueryRefusedError, match="took longer than"):
        ask(folder, "SELECT count(*) FROM range(100000000000) a, range(1000) b", most_rows=1, seconds=0.2)


def test_a_query_that_needs_too_much_memory_ends(folder: Path) -> None:
    with pytest.raises(QueryRefusedError, match=r"[Mm]emory"):
        ask(folder, "SELECT list(repeat('x', 1000) || i) FROM range(20000000) t(i)", most_rows=1)


def test_before_the_first_night_there_is_nothing_to_ask(tmp_path: Path) -> None:
    with pytest.raises(QueryRefusedError, match="driptune nightly first"):
        ask(tmp_path, "SELECT 1", most_rows=1)
