"""R10: a disk that is full or read-only, a small one mounted for the purpose (needs root)."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

from tests.acceptance.torture import Row
from tests.acceptance.torture.installation import Installation
from tests.acceptance.torture.nights.faults import fill, mounted
from tests.acceptance.torture.state import unopenable_publication
from tests.acceptance.torture.victims import account
from tests.mailchimp.fake_account import NIGHT
from tests.mailchimp.loopback import serve

DISK = "256m"
# Left free when a night starts: from nothing to what is only just too little.
LEFT_KILOBYTES = (0, 256, 2_048, 8_192)
# Folders that are each put on a disk of their own: the others have space, so that the night gets as far as this one.
FOLDERS = ("dagster_home", "ledger", "reports", "published", "lake_inventory", "lake", "warehouse")
OWN_DISK = "64m"


def measure(quick: bool) -> Iterator[Row]:
    """A published night; then nights without space, on the whole or in one folder, and nights that find space again."""
    if os.geteuid() != 0:
        yield Row("R10", "full and read-only disk", "not tried: mounting needs root", "a clear message", False)
        return
    with (
        tempfile.TemporaryDirectory(prefix="driptune-torture-") as name,
        mounted(Path(name) / "disk", DISK) as disk,
        serve(account().answer) as url,
    ):
        place = Installation(disk / "account", url)
        night = NIGHT
        _must(place.nightly(night))
        unclear, damaged, stuck, failed = [], 0, 0, 0
        for left in LEFT_KILOBYTES[1:3] if quick else LEFT_KILOBYTES:
            night += timedelta(days=1)
            filler = disk / "filler"
            fill(filler, left * 1024)
            code, said = place.nightly(night)
            failed += code != 0
            unclear += _unclear(code, said)
            damaged += bool(unopenable_publication(place.settings))
            filler.unlink()
            damaged += place.run("verify")[0]
            stuck += place.nightly(night)[0] != 0
        yield Row("R10", f"{failed} nights on a full disk: told without a clear message", f"{len(unclear)}", "0",
                  not unclear and failed > 0)  # fmt: skip
        yield Row("R10", "publications unreadable meanwhile or changed; nights that failed with space again",
                  f"{damaged}; {stuck}", "0; 0", damaged + stuck == 0)  # fmt: skip
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        code, said = place.nightly(night + timedelta(days=1))
        is_readable = not unopenable_publication(place.settings)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        recovered = place.nightly(night + timedelta(days=1))[0] == 0
        words = _unclear(code, said)
        holds = code == 1 and not words and is_readable and recovered
        reached = "clear message, old publication readable, recovered" if holds else "no"
        yield Row("R10", "a night on a read-only disk", reached, "the same", holds)
        for text in unclear + words:
            print(text[-1500:])
    yield from _single_folders(quick)


def _single_folders(quick: bool) -> Iterator[Row]:
    """Nights in which one folder, or the one for temporary files, has no space left, and the nights after them."""
    folders = FOLDERS[:3] if quick else FOLDERS
    unclear, stuck = {}, {}
    with tempfile.TemporaryDirectory(prefix="driptune-torture-") as name, serve(account().answer) as url:
        place = Installation(Path(name) / "account", url)
        night = NIGHT
        _must(place.nightly(night))
        for folder in folders:
            night += timedelta(days=1)
            home = place.settings.data_dir / folder
            with _moved(home) as disk:
                fill(disk / ".filler", 0)
                code, said = place.nightly(night)
                if _unclear(code, said) or unopenable_publication(place.settings):
                    unclear[folder] = said
                (disk / ".filler").unlink()
                code, said = place.nightly(night)
                if code or place.run("verify")[0]:
                    stuck[folder] = said
        with mounted(Path(name) / "temporary", OWN_DISK) as disk:
            fill(disk / "filler", 0)
            place.environment["TMPDIR"] = str(disk)
            code, said = place.nightly(night + timedelta(days=1))
            if _unclear(code, said):
                unclear["temporary"] = said
    for what, said in [*unclear.items(), *stuck.items()]:
        print(f"{what}: {said[-1500:]}")
    places = f"{', '.join(folders)} and the folder of temporary files, each without space"
    yield Row("R10", f"{places}: told without a clear message", ", ".join(unclear) or "0", "0", not unclear)
    yield Row("R10", "nights after these that failed or left damage", ", ".join(stuck) or "0", "0", not stuck)


@contextmanager
def _moved(home: Path) -> Iterator[Path]:
    """A folder on a small disk of its own, for the time of the block."""
    aside = home.with_name(f"{home.name}.aside")
    home.rename(aside)
    with mounted(home, OWN_DISK):
        shutil.copytree(aside, home, dirs_exist_ok=True)
        yield home
        shutil.rmtree(aside)
        shutil.copytree(home, aside)
    home.rmdir()
    aside.rename(home)


def _unclear(code: int, said: str) -> list[str]:
    """The words of a failed night if they are no clear message: one that names the disk and is no traceback."""
    is_clear = "Traceback" not in said and any(word in said.lower() for word in ("space", "disk", "read-only"))
    return [] if code == 0 or (code == 1 and is_clear) else [said]


def _must(told: tuple[int, str]) -> None:
    if told[0]:
        raise RuntimeError(told[1])
