"""Apache Superset reads the published file: `python -m tests.acceptance.bi.superset PUBLISHED_FOLDER SCRATCH_FOLDER`.

Installs Superset with its DuckDB dialect into an environment of its own in the scratch folder (minutes the
first time), starts it on loopback, connects it as a user would, and holds what its SQL Lab and its dataset
list show against Parquet.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import requests

from pipeline.published.views import published_views

# Superset 6.1 imports rich and cachetools without asking for them; its cache chokes on Flask-Caching 2.4.
PACKAGES = ["apache-superset==6.1.0", "duckdb-engine==0.17.0", "rich", "cachetools", "flask-caching<2.4"]
START_SECONDS = 180
USER = "analyst"


def try_superset(published: Path, scratch: Path) -> list[str]:
    """What Superset shows of the publication, a line each.

    Raises:
        AssertionError: if Superset shows something else than what is published.
    """
    password = secrets.token_urlsafe(12)
    executable = _install(scratch)
    environment = _configure(scratch)
    _prepare(executable, environment, password)
    with _serve(executable, environment) as url:
        session = _log_in(url, password)
        snapshot = (published / "email_warehouse.duckdb").resolve()
        database = {
            "database_name": f"driptune {secrets.token_hex(4)}",
            "sqlalchemy_uri": f"duckdb:///{snapshot}?access_mode=READ_ONLY",
        }
        _post(session, f"{url}/api/v1/database/test_connection/", database)
        number = _post(session, f"{url}/api/v1/database/", {**database, "expose_in_sqllab": True})["id"]
        return [f"connected to {snapshot.name}", *_compare(session, url, number, published)]


def _compare(session: requests.Session, url: str, database: int, published: Path) -> Iterator[str]:
    listed = session.get(
        f"{url}/api/v1/database/{database}/tables/", params={"q": "(schema_name:marts,force:!t)"}, timeout=60
    ).json()["result"]
    expected = {path.stem: path for path in sorted((published / "parquet").glob("*.parquet"))}
    known = {*expected, *(view.name for view in published_views())}
    assert {table["value"] for table in listed} == known, "Superset lists other tables than are published"
    yield f"{len(listed)} tables and views listed in schema marts"
    for name, path in expected.items():
        sql = f'SELECT count(*) AS row_count FROM marts."{name}"'
        answer = _post(session, f"{url}/api/v1/sqllab/execute/", {"database_id": database, "sql": sql})
        assert answer["data"] == [{"row_count": pl.read_parquet(path).height}], name
    yield f"{len(expected)} tables counted by SQL Lab, all equal to Parquet"
    sql = (
        "SELECT workflow_id, sum(sent) AS sent FROM marts.step_metrics_daily GROUP BY workflow_id ORDER BY workflow_id"
    )
    answer = _post(session, f"{url}/api/v1/sqllab/execute/", {"database_id": database, "sql": sql})
    ours = pl.read_parquet(expected["step_metrics_daily"]).group_by("workflow_id").agg(pl.col("sent").sum())
    assert answer["data"] == ours.sort("workflow_id").to_dicts(), "sums differ"
    yield f"mail sent by workflow: {len(answer['data'])} sums equal"
    dataset = {"database": database, "schema": "marts", "table_name": "funnel"}
    made = _post(session, f"{url}/api/v1/dataset/", dataset)["id"]
    columns = session.get(f"{url}/api/v1/dataset/{made}", timeout=60).json()["result"]["columns"]
    assert {column["column_name"] for column in columns} == set(pl.read_parquet_schema(expected["funnel"]))
    yield f"dataset funnel made with its {len(columns)} columns"


def _install(scratch: Path) -> Path:
    home = scratch / "superset-venv"
    executable = home / "bin" / "superset"
    if not executable.exists():
        venv.create(home, with_pip=True)
        subprocess.run([home / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)
    return executable


def _configure(scratch: Path) -> dict[str, str]:
    home = scratch / "superset-home"
    home.mkdir(parents=True, exist_ok=True)
    configuration = home / "superset_config.py"
    configuration.write_text(
        f"SECRET_KEY = {secrets.token_urlsafe(42)!r}\n"
        f"SQLALCHEMY_DATABASE_URI = 'sqlite:///{home.resolve()}/superset.db'\n"
        "WTF_CSRF_ENABLED = False\nTALISMAN_ENABLED = False\nPREVENT_UNSAFE_DB_CONNECTIONS = False\n"
    )
    (home / "superset.db").unlink(missing_ok=True)
    return {
        **os.environ,
        "SUPERSET_CONFIG_PATH": str(configuration.resolve()),
        "SUPERSET_HOME": str(home.resolve()),
        "FLASK_APP": "superset",
    }


def _prepare(executable: Path, environment: Mapping[str, str], password: str) -> None:
    account = ["--username", USER, "--firstname", "A", "--lastname", "B", "--email", "a@example.org"]
    for command in (["db", "upgrade"], ["fab", "create-admin", *account, "--password", password], ["init"]):
        done = subprocess.run([executable, *command], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"superset {command[0]} failed:\n{done.stderr[-2000:]}"


@contextmanager
def _serve(executable: Path, environment: Mapping[str, str]) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [executable, "run", "--host", "127.0.0.1", "--port", str(port), "--with-threads"]
    log = Path(environment["SUPERSET_HOME"]) / "server.log"
    with log.open("wb") as told, subprocess.Popen(command, env=environment, stdout=told, stderr=told) as server:
        try:
            _wait(url)
            yield url
        finally:
            server.terminate()


def _wait(url: str) -> None:
    last = time.monotonic() + START_SECONDS
    while time.monotonic() < last:
        try:
            if requests.get(f"{url}/health", timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(1)
    raise AssertionError(f"Superset did not answer within {START_SECONDS} s")


def _log_in(url: str, password: str) -> requests.Session:
    session = requests.Session()
    login = {"username": USER, "password": password, "provider": "db"}
    token = _post(session, f"{url}/api/v1/security/login", login)["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    return session


def _post(session: requests.Session, url: str, body: Mapping[str, Any]) -> Any:
    answer = session.post(url, json=body, timeout=120)
    assert answer.ok, f"{url.rsplit('/api', 1)[-1]} answered {answer.status_code}: {answer.text[:500]}"
    return answer.json()


if __name__ == "__main__":
    for line in try_superset(Path(sys.argv[1]), Path(sys.argv[2])):
        print(line)
