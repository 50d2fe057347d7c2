"""What the sample night publishes: its dictionary, queries, pages and files."""

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
from polars import selectors

from pipeline.published.snapshot import SNAPSHOT_NAME
from pipeline.published.views import published_views
from pipeline.reports.digest import summary
from pipeline.reports.pages.site import file_name, write_pages
from pipeline.settings import Settings
from tests.acceptance.bi.queries import PLACE, documented_queries
from tests.reports.pages.numbers import unfounded
from tests.worlds.published import ADDRESS


def test_the_data_dictionary_names_every_published_column(settings: Settings, tables: dict[str, pl.DataFrame]) -> None:
    with duckdb.connect(str(settings.published_dir / SNAPSHOT_NAME), read_only=True) as connection:
        columns = connection.execute(
            "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'marts' AND table_name IN "
            "(SELECT table_name FROM duckdb_tables())"
        ).fetchall()
    described = tables["data_dictionary"].filter(pl.col("meaning") != "").select("table", "column").rows()
    assert sorted(described) == sorted(columns)


def test_every_documented_query_has_an_answer(settings: Settings, night: None) -> None:
    opening, queries = documented_queries()
    with duckdb.connect() as connection:
        connection.execute(opening.replace(PLACE, str(settings.published_dir / SNAPSHOT_NAME)))
        answers = {query: len(connection.execute(query).fetchall()) for query in queries}
    assert sum("FROM v_" in query for query in answers) >= 10
    assert [query for query, rows in answers.items() if not rows] == []


def test_every_view_has_the_rows_of_its_table_and_every_name_is_known(settings: Settings, night: None) -> None:
    with duckdb.connect(str(settings.published_dir / SNAPSHOT_NAME), read_only=True) as connection:
        for view in published_views():
            (rows,) = connection.execute(f"SELECT count(*) FROM marts.{view.name}").fetchone() or ()
            assert (rows,) == connection.execute(f"SELECT count(*) FROM marts.{view.tables[0]}").fetchone(), view.name
            unnamed = f"SELECT count(*) FROM marts.{view.name} WHERE workflow_id IS NOT NULL AND workflow_name IS NULL"
            assert connection.execute(unnamed).fetchone() == (0,), view.name


def test_no_published_number_is_not_a_number(tables: dict[str, pl.DataFrame]) -> None:
    for name, rows in tables.items():
        for column in rows.select(selectors.float()):
            assert column.drop_nulls().is_finite().all(), f"{name}.{column.name}"


def test_no_address_leaves_the_private_table(settings: Settings, night: None) -> None:
    private = settings.lake_dir / "addresses"
    # An export holds addresses because somebody asked for them.
    allowed = {settings.sample_dir, private, settings.data_dir / "exports"}
    marks = [b"@sample.example"]
    for path in settings.data_dir.rglob("*"):
        if path.is_file() and allowed.isdisjoint(path.parents):
            content = path.read_bytes()
            assert not any(mark in content for mark in marks), path.relative_to(settings.data_dir)


def test_files_of_state_are_private_and_published_ones_read_only(settings: Settings, night: None) -> None:
    def mode(path: Path) -> str:
        return oct(path.stat().st_mode & 0o777)

    assert mode(settings.working_file) == "0o600"
    assert mode(settings.lake_dir / "addresses" / "addresses.parquet") == "0o600"
    assert mode(settings.published_dir / SNAPSHOT_NAME) == "0o444"
    assert mode(settings.published_dir / "manifest.json") == "0o444"


def test_the_morning_is_told_in_ten_lines(tables: dict[str, pl.DataFrame], truth: dict[str, Any]) -> None:
    lines = summary(tables, waiting=11)
    further_alarms = [line for line in lines if line.startswith("  alarms")][1:]  # each grave cause is named
    assert len(lines) - len(further_alarms) <= 10
    assert truth["bottleneck"]["from_step_id"] in "\n".join(lines)


def test_every_number_of_a_page_is_in_the_mart_named_beside_it(tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    flows = tables["workflows"].filter(pl.col("kind") != "campaign")["workflow_id"]
    write_pages(tables, [], tmp_path / "reports", ADDRESS)
    for name, flow in [("index.html", None), *((file_name(flow), flow) for flow in flows)]:
        page = (tmp_path / "reports" / name).read_text(encoding="utf-8")
        assert page.count("data-raw=") > 100
        assert unfounded(page, tables, flow) == []
