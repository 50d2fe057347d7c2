"""An installation of its own in a folder, driven by the command as a user drives it."""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

from pipeline.settings import Settings
from tests.acceptance.torture.victims import settings_of
from tests.checkout import PROJECT_ROOT
from tests.mailchimp.fake_account import API_KEY

# An older release had the command in another place.
COMMAND = """
try:
    from pipeline.cli.main import main
except ImportError:
    from pipeline.cli import main
main()
"""


class Installation:
    """Data, definitions and command of one installation that reads the account at `url`.

    Attributes:
        settings: as its command sees them.
        environment: as its command gets it.
    """

    def __init__(self, folder: Path, url: str, code: Path = PROJECT_ROOT) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.settings: Settings = settings_of(folder, url)
        theirs = {name: value for name, value in os.environ.items() if not name.startswith(("DRIPTUNE_", "MAILCHIMP_"))}
        self.environment = {
            **theirs,
            "PYTHONPATH": str(code),
            "DRIPTUNE_DATA_DIR": str(self.settings.data_dir),
            "DRIPTUNE_DEFINITIONS": str(self.settings.definitions),
            "DRIPTUNE_MAILCHIMP_URL": url,
            "MAILCHIMP_API_KEY": API_KEY,
        }

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start the command."""
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code of the command, and all it said."""
        process = self.start(*arguments)
        said, complained = process.communicate(timeout=300)
        return process.returncode, said + complained

    def nightly(self, as_of: date) -> tuple[int, str]:
        """Run the nightly."""
        return self.run("nightly", "--as-of", as_of.isoformat())

    def publication(self) -> dict[str, tuple[int, bytes]]:
        """Inode and content of every published file but old snapshots, by name."""
        files = [path for path in self.settings.published_dir.rglob("*") if path.is_file()]
        return {path.name: (path.stat().st_ino, path.read_bytes()) for path in files if path.parent.name != "snapshots"}
