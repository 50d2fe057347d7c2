"""A Spark Connect server on this machine, for tests and benchmarks. It is a program of its own, which needs Java."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

# `make spark` installs Spark there.
INSTALLED = Path(sys.prefix) / "spark"
STARTED_WITHIN_SECONDS = 180


def spark_home() -> Path | None:
    """The folder of Spark that `make spark` or SPARK_HOME names; none where there is none."""
    if named := os.environ.get("SPARK_HOME"):
        return Path(named)
    return next(INSTALLED.glob("lib/python*/site-packages/pyspark"), None)


def missing() -> str | None:
    """Why no server can be started or reached here; none if it can."""
    if spark_home() is None:
        return "Spark is not installed: make spark"
    if shutil.which("java") is None:
        return "Java is not installed: apt-get install openjdk-17-jre-headless"
    try:
        import pyspark.sql.connect.session  # noqa: F401
    except ImportError:
        return "Spark's client is not installed: make spark"
    return None


@contextmanager
def spark_server(folder: Path, master: str = "local[2]") -> Iterator[str]:
    """The address of a server that runs as long as the block. Its log and its files are in the folder."""
    home = spark_home()
    assert home is not None
    port = _free_port()
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": folder,
        "spark.sql.warehouse.dir": folder / "tables",
        "spark.sql.shuffle.partitions": 4,
        "spark.executor.memory": "2g",
        "spark.ui.enabled": "false",
    }
    command = [
        *(str(home / "bin" / "spark-submit"), "--master", master, "--driver-memory", "2g"),
        *(word for name, value in settings.items() for word in ("--conf", f"{name}={value}")),
        *("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"),
    ]
    with _running(command, folder, "server") as server:
        _wait(server, port, folder / "server.log")
        yield f"sc://127.0.0.1:{port}"


@contextmanager
def standalone_cluster(folder: Path, workers: int = 2) -> Iterator[str]:
    """The address of the master of a cluster on this machine, whose workers have a core each."""
    home = spark_home()
    assert home is not None
    port = _free_port()
    address = f"spark://127.0.0.1:{port}"
    start = [str(home / "bin" / "spark-class")]
    master = ["org.apache.spark.deploy.master.Master", "--host", "127.0.0.1", "--port", str(port), "--webui-port", "0"]
    worker = ["org.apache.spark.deploy.worker.Worker", "--host", "127.0.0.1", "--cores", "1", "--memory", "2g"]
    with ExitStack() as running:
        server = running.enter_context(_running(start + master, folder, "master"))
        _wait(server, port, folder / "master.log")
        for number in range(workers):
            place = ["--webui-port", "0", "--work-dir", str(folder / f"work{number}"), address]
            running.enter_context(_running(start + worker + place, folder, f"worker{number}"))
        yield address


@contextmanager
def _running(command: list[str], folder: Path, name: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "SPARK_HOME": str(spark_home()), "SPARK_LOCAL_IP": "127.0.0.1"}
    with (folder / f"{name}.log").open("w") as log:
        program = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=folder)
        try:
            yield program
        finally:
            # A worker that is asked to end takes its executor along.
            program.terminate()
            program.wait()


def _wait(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"Spark did not start:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
