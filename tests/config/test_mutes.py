from datetime import date
from pathlib import Path

import pytest

from pipeline.config.mutes import load_mutes
from pipeline.config.reader import DefinitionsError

GOOD = """
mutes:
  - workflow: welcome
    step: tips
    metric: sent
    until: 2026-07-01
    reason: we rebuild it
  - until: 2026-06-30
    reason: moving house
"""


def test_no_file_mutes_nothing(tmp_path: Path) -> None:
    assert load_mutes(tmp_path).is_empty()


def test_what_is_not_named_is_any(tmp_path: Path) -> None:
    (tmp_path / "mutes.yaml").write_text(GOOD)
    assert load_mutes(tmp_path).rows() == [
        ("welcome", "tips", "sent", date(2026, 7, 1)),
        (None, None, None, date(2026, 6, 30)),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [("until: 30.6.", "a day such as"), ("untill: 2026-06-30", "not a known field"), ("reason: holidays", "missing")],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "mutes.yaml").write_text(f"mutes:\n  - workflow: welcome\n    {line}\n")
    with pytest.raises(DefinitionsError, match=r"mutes\.yaml, line \d") as caught:
        load_mutes(tmp_path)
    assert words in str(caught.value)
