"""The published file explains itself: names are joined, and every table, view and column says what it means."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipeline.published.manifest import Manifest
from pipeline.published.snapshot import SNAPSHOT_NAME, is_sound
from pipeline.published.views import published_views
from tests.worlds.publication import publish_all
from tests.worlds.published import row

NAMED = {
    "workflows": row("workflows", workflow_id="welcome", name="Welcome"),
    "steps": pl.concat(
        [
            row("steps", workflow_id="welcome", step_id="hello", name="Say hello", subject="Hello!"),
            row("steps", workflow_id="welcome", step_id="tips", name="Three tips"),
        ]
    ),
    "step_metrics": row("step_metrics", workflow_id="welcome", step_id="hello", sent=7),
    "funnel": row("funnel", workflow_id="welcome", from_step_id="hello", to_step_id="tips"),
    "opportunities": row("opportunities", workflow_id=None, step_id=None, message="of the account"),
}
"""Tables with rows; all others are empty."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A publication of every mart."""
    return publish_all(tmp_path_factory.mktemp("account"), NAMED)


@pytest.fixture
def published(folder: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(str(folder / SNAPSHOT_NAME), read_only=True) as connection:
        yield connection


def test_every_table_view_and_column_says_what_it_means(published: duckdb.DuckDBPyConnection) -> None:
    silent = published.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE schema_name = 'marts' AND comment IS NULL "
        "UNION ALL SELECT table_name, NULL FROM duckdb_tables() WHERE schema_name = 'marts' AND comment IS NULL "
        "UNION ALL SELECT view_name, NULL FROM duckdb_views() WHERE schema_name = 'marts' AND comment IS NULL"
    ).fetchall()
    assert silent == []
    [(meaning,)] = published.execute(
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'v_funnel' AND column_name = 'entrants'"
    ).fetchall()
    assert meaning.endswith("Unit: count.")


def test_views_join_the_names(published: duckdb.DuckDBPyConnection) -> None:
    steps = published.execute("SELECT workflow_name, step_name, subject, sent FROM marts.v_steps").fetchall()
    assert steps == [("Welcome", "Say hello", "Hello!", 7)]
    transitions = published.execute("SELECT workflow_name, from_step_name, to_step_name FROM marts.v_funnel").fetchall()
    assert transitions == [("Welcome", "Say hello", "Three tips")]


def test_a_row_of_the_whole_account_is_kept_without_names(published: duckdb.DuckDBPyConnection) -> None:
    found = published.execute("SELECT workflow_name, step_name, message FROM marts.v_opportunities").fetchall()
    assert found == [(None, None, "of the account")]


def test_views_are_read_under_whatever_name_the_file_is_attached(folder: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{folder / SNAPSHOT_NAME}' AS elsewhere (READ_ONLY)")
        for view in published_views():
            connection.execute(f"FROM elsewhere.marts.{view.name}")


def test_views_are_no_part_of_what_is_hashed(folder: Path) -> None:
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert is_sound(folder, manifest)
    assert not {view.name for view in published_views()} & {table.name for table in manifest.tables}
