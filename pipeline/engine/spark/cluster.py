"""A Spark cluster as the engine uses it: Parquet files as views, and the rows of a statement as Parquet files.

Rows go through a folder that this machine and the executors reach by the same path. So they never have to fit into the
memory of the driver, and one way serves every version of Spark.
"""

import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pipeline.common.errors import ConfigurationError, SourceError, UnavailableError

SETTING = "DRIPTUNE_ENGINE"
DEFAULT_PORT = 15002
# The client alone would try for ten minutes to reach a cluster that is not there.
REACHED_WITHIN_SECONDS = 10.0
SUPPORTED_VERSIONS = ("3.5.", "4.")
UNTOUCHED = "The last publication is untouched."
Result = TypeVar("Result")


class Cluster:
    """One session on a cluster. What it makes there ends with it."""

    def __init__(self, session: Any, exchange: Path) -> None:
        """A session that was opened, and an empty folder that only it uses."""
        self._session = session
        self._exchange = exchange
        self._files_made = 0

    def new_path(self) -> Path:
        """A path in the folder of exchange that was never used before, so that nothing stale is read."""
        self._files_made += 1
        return self._exchange / f"{self._files_made}.parquet"

    def show(self, view: str, paths: Sequence[Path], columns: str) -> None:
        """Make a view over Parquet files. A column that a file lacks is null there. Without files the view is empty."""
        reader = self._session.read.schema(columns)
        found = (
            _told(f"view {view}", lambda: reader.parquet(*(_address(path) for path in paths)))
            if paths
            else self._session.createDataFrame([], columns)
        )
        _told(f"view {view}", lambda: found.createOrReplaceTempView(view))

    def write(self, what: str, sql: str, arguments: Mapping[str, int | str]) -> Path:
        """Run a statement, and return the folder with its rows.

        Args:
            what: what is computed, for the message if it fails.
            sql: a SELECT in Spark's words.
            arguments: the values of its parameters.

        Raises:
            SourceError: if the cluster refuses the statement, cannot read or write the files, or is lost meanwhile.
        """
        folder = self.new_path()
        _told(what, lambda: self._session.sql(sql, args=dict(arguments)).write.parquet(_address(folder)))
        return folder


@contextmanager
def open_cluster(address: str, exchange: Path) -> Iterator[Cluster]:
    """A session on the cluster for as long as the block lasts. The folder of exchange is empty before and gone after.

    Args:
        address: where Spark Connect listens, such as sc://host:15002.
        exchange: a folder that the executors reach by the same path.

    Raises:
        ConfigurationError: if the client is not installed, or the cluster's version is not supported.
        UnavailableError: if nothing answers at the address.
    """
    session = _connect(address)
    # A night that was killed leaves its files, and its last statement may still be writing. So each night has a folder
    # of its own name.
    shutil.rmtree(exchange, ignore_errors=True)
    exchange.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        yield Cluster(session, Path(mkdtemp(dir=exchange)))
    finally:
        shutil.rmtree(exchange, ignore_errors=True)
        # A cluster that was lost was looked for already, so it is taken leave of once and without waiting.
        session.client.set_retry_policies([])
        session.stop()


def _connect(address: str) -> Any:
    try:
        from pyspark.sql.connect.session import SparkSession
    except ImportError as error:
        raise ConfigurationError(
            SETTING,
            "names a Spark cluster, but Spark's client is not installed",
            "Install it with pip install 'driptune[spark]', or set the engine to duckdb.",
        ) from error
    place = urlsplit(address)
    host, port = place.hostname or "", place.port or DEFAULT_PORT
    try:
        socket.create_connection((host, port), REACHED_WITHIN_SECONDS).close()
    except OSError as error:
        raise UnavailableError(
            SETTING,
            f"nothing answers at {host}:{port}",
            f"Start the cluster's Spark Connect server, or set the engine to duckdb. {UNTOUCHED}",
        ) from error
    session = _told("the connection", SparkSession.builder.remote(address).create)
    version = _told("the connection", lambda: str(session.version))
    if not version.startswith(SUPPORTED_VERSIONS):
        raise ConfigurationError(SETTING, f"the cluster runs Spark {version}", "Use one of Spark 3.5 or 4.")
    # Without it a sum that is too large would wrap around in silence. DuckDB refuses it.
    session.conf.set("spark.sql.ansi.enabled", "true")
    return session


def _told(what: str, call: Callable[[], Result]) -> Result:
    import grpc
    from pyspark.errors import PySparkException

    try:
        return call()
    except (PySparkException, grpc.RpcError) as error:
        raise SourceError(
            f"{SETTING}, {what}",
            f"Spark failed: {_first_line(error)}",
            f"The cluster's log says more. {UNTOUCHED} The next night computes what is missing",
        ) from None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300].rstrip(".") if lines else type(error).__name__


def _address(path: Path) -> str:
    # Without the scheme a cluster would look in its own default storage.
    return f"file://{path.resolve()}"
