"""Telling a lake night by night: whole days are held back and released, and a share of one day comes late."""

from datetime import date
from pathlib import Path

import duckdb

# As a rule one event in twenty of a bad day came late in the streams this was modelled on.
LATE_SHARE = 0.05


class HeldBack:
    """Days taken out of a lake, kept beside it until their night."""

    def __init__(self, root: Path, holding: Path) -> None:
        self._root = root
        self._holding = holding

    def hold(self, first_day: date) -> list[date]:
        """Take out every day from `first_day` on and return those days."""
        days = set()
        for folder in sorted(self._root.glob("*/day=*")):
            day = date.fromisoformat(folder.name.removeprefix("day="))
            if day >= first_day:
                days.add(day)
                _move(folder, self._holding / folder.parent.name / folder.name)
        return sorted(days)

    def release(self, day: date) -> None:
        """Put one day back."""
        for folder in sorted(self._holding.glob(f"*/day={day.isoformat()}")):
            _move(folder, self._root / folder.parent.name / folder.name)

    def delay(self, day: date, told: date) -> None:
        """Let a share of the rows of `day` be told on the night of `told`, which must be held."""
        late_day = (told - date(1970, 1, 1)).days
        with duckdb.connect() as connection:
            for file in sorted(self._root.glob(f"*/day={day.isoformat()}/*.parquet")):
                rows = f"SELECT *, hash(subscriber_key) % 10000 < {LATE_SHARE * 10000:.0f} AS is_late FROM '{file}'"
                late = self._holding / "late" / file.relative_to(self._root)
                late.parent.mkdir(parents=True, exist_ok=True)
                rest = file.with_suffix(".rest")
                connection.execute(
                    f"COPY (SELECT * EXCLUDE (is_late) REPLACE ({late_day} AS as_of_day) FROM ({rows}) WHERE is_late) "
                    f"TO '{late}' (FORMAT parquet)"
                )
                connection.execute(
                    f"COPY (SELECT * EXCLUDE (is_late) FROM ({rows}) WHERE NOT is_late) TO '{rest}' (FORMAT parquet)"
                )
                rest.replace(file)

    def release_late(self) -> None:
        """Put the late rows back, as files of their own."""
        folder = self._holding / "late"
        for file in sorted(folder.glob("*/*/*.parquet")):
            place = self._root / file.relative_to(folder)
            file.replace(place.with_name(f"late_{place.name}"))


def _move(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
