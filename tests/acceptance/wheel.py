"""`make wheel-check`: the wheel, installed into an empty environment, runs its commands in an empty folder.

Prints a line for each thing tried; 1 if one of them failed. It takes some minutes, most of them for the installation.
"""

import os
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from tests.checkout import PROJECT_ROOT

KEY_OF_AN_ACCOUNT = "MAILCHIMP_API_KEY=0123456789abcdef0123456789abcdef-us1\n"
START_SECONDS = 120
QUERY = "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }"
Finding = tuple[bool, str]


def main() -> int:
    """Build, install, try."""
    with TemporaryDirectory() as folder:
        programs = install(Path(folder))
        home = Path(folder) / "home"
        home.mkdir()
        findings = []
        for is_good, what in tried(programs, home):
            print("ok   " if is_good else "wrong", what, flush=True)
            findings.append(is_good)
    return 0 if all(findings) else 1


def install(folder: Path) -> Path:
    """Build the wheel and install it into an environment of its own; returns the folder of its programs."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", folder, PROJECT_ROOT], check=True)
    venv.create(folder / "environment", with_pip=True)
    programs = folder / "environment" / "bin"
    [wheel] = folder.glob("*.whl")
    subprocess.run([programs / "pip", "--quiet", "--disable-pip-version-check", "install", wheel], check=True)
    return programs


def tried(programs: Path, home: Path) -> Iterator[Finding]:
    """What was tried in the empty folder `home`, and whether it worked."""
    command = programs / "driptune"
    before = files_of(programs.parent)
    (home / ".env").write_text(KEY_OF_AN_ACCOUNT)
    yield run(command, home, "demo", expected="0 unexplained")
    (home / ".env").unlink()
    yield run(command, home, "doctor", expected="the sample account answers")
    yield run(command, home, "verify", expected="email_warehouse.duckdb is as published")
    yield run(command, home, "pending", expected="`driptune show ID` gives the evidence")
    yield served(command, home)
    yield {path.name for path in home.iterdir()} == {"data"}, "all that was written stands in the folder's data"
    yield files_of(programs.parent) == before, "nothing was written beside the package"


def run(command: Path, home: Path, *arguments: str, expected: str) -> Finding:
    """Run the command; good if it succeeds and says what is expected."""
    started = time.monotonic()
    result = subprocess.run(
        [command, *arguments], cwd=home, env=environment(), capture_output=True, text=True, check=False
    )
    is_good = result.returncode == 0 and expected in result.stdout
    told = f"{time.monotonic() - started:.0f} s" if is_good else f"{result.stdout[-2000:]}{result.stderr[-2000:]}"
    return is_good, f"driptune {' '.join(arguments)}: {told}"


def served(command: Path, home: Path) -> Finding:
    """Start `driptune up`; good if the UI knows the nightly, the morning is served, and it ends when told to."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, starting = f"http://127.0.0.1:{port}", [command, "up", "--port", str(port)]
    with subprocess.Popen(starting, cwd=home, env=environment(), stdout=subprocess.DEVNULL) as serving:
        try:
            wait_for(f"{address}/server_info", serving)
            jobs = requests.post(f"{address}/graphql", json={"query": QUERY}, timeout=60).text
            morning = requests.get(f"{address}/reports/index.html", timeout=60).status_code
        finally:
            serving.terminate()
    is_good = '"nightly"' in jobs and morning == 200 and serving.returncode == 0
    return is_good, f"driptune up: the UI answers {jobs[:200]}, the morning {morning}; ended by {serving.returncode}"


def wait_for(address: str, serving: "subprocess.Popen[bytes]") -> None:
    """Return as soon as the address answers."""
    last = time.monotonic() + START_SECONDS
    while serving.poll() is None and time.monotonic() < last:
        try:
            requests.get(address, timeout=5).raise_for_status()
            return
        except requests.ConnectionError:
            time.sleep(0.5)
    raise RuntimeError(f"{address} does not answer.")


def environment() -> dict[str, str]:
    """The environment of a shell that knows nothing of this checkout or of an account."""
    ours = ("DRIPTUNE_", "MAILCHIMP_", "DAGSTER_", "PYTHONPATH", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def files_of(folder: Path) -> set[Path]:
    """Every file of an environment but compiled ones."""
    return {path for path in folder.rglob("*") if path.suffix != ".pyc" and path.name != "__pycache__"}


if __name__ == "__main__":
    sys.exit(main())
