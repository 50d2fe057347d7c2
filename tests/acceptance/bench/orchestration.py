"""P13: what Dagster and the fixed work of every asset cost on an account with nothing in it.

Run as a process of its own (`python -m tests.acceptance.bench.orchestration FOLDER`), it prints the CPU seconds and
assets of the second nightly: the first also creates databases, and imports are paid before.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

from pipeline.cli.nightly import run_night
from pipeline.settings import Settings
from tests.acceptance.bench.rows import Row
from tests.mailchimp.fake_account import API_KEY, NIGHT, FakeAccount
from tests.mailchimp.loopback import serve

MOST_SECONDS = 3.0


def dagster_share(folder: Path) -> Row:
    """P13 in a fresh process."""
    command = [sys.executable, "-m", "tests.acceptance.bench.orchestration", str(folder)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    measured = json.loads(told.splitlines()[-1])
    return Row(
        "P13",
        f"a nightly of {measured['assets']} assets on an empty account, beyond imports",
        f"{measured['seconds']:.1f} CPU-s",
        f"<= {MOST_SECONDS:.0f} CPU-s",
        measured["seconds"] <= MOST_SECONDS,
    )


def _measure(folder: Path) -> dict[str, float]:
    from pipeline.definitions import build_defs

    account = FakeAccount()
    account.members = []
    with serve(account.answer) as url:
        settings = Settings(
            data_dir=folder / "data",
            definitions=folder / "definitions",
            mailchimp_url=url,
            MAILCHIMP_API_KEY=API_KEY,
            _env_file=None,
        )
        run_night(settings, NIGHT, lambda step, steps: None)
        started = time.process_time()
        run_night(settings, NIGHT, lambda step, steps: None)
        spent = time.process_time() - started
    graph = build_defs(settings).resolve_asset_graph()
    return {"seconds": spent, "assets": len(list(graph.get_all_asset_keys()))}


if __name__ == "__main__":
    print(json.dumps(_measure(Path(sys.argv[1]))))
