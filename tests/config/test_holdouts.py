from datetime import date
from pathlib import Path

import pytest

from pipeline.analysis.experiments.holdouts import Holdout
from pipeline.config.holdouts import load_holdouts
from pipeline.config.reader import DefinitionsError

GOOD = """
holdouts:
  - {id: welcome-5, workflow: welcome, share: 0.05, start: 2026-07-01}
  - {id: all, share: 0.1, start: 2026-07-01}
"""


def test_hold_outs_are_read_as_written(tmp_path: Path) -> None:
    assert load_holdouts(tmp_path) == ()
    (tmp_path / "holdouts.yaml").write_text(GOOD)
    assert load_holdouts(tmp_path) == (
        Holdout("welcome-5", "welcome", 0.05, date(2026, 7, 1)),
        Holdout("all", None, 0.1, date(2026, 7, 1)),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{id: other, workflow: welcome, share: 0.1, start: 2026-07-01}", "has the hold-out 'welcome-5' already"),
        ("{id: other, share: 0.1, start: 2026-07-01}", "the whole account has the hold-out 'all' already"),
        ("{id: all, workflow: tips, share: 0.1, start: 2026-07-01}", "'all' is used twice"),
        ("{id: half, workflow: tips, share: 0.6, start: 2026-07-01}", "0.5"),
        ("{id: none, workflow: tips, share: 0, start: 2026-07-01}", "greater than 0"),
        ("{id: odd, workflow: tips, share: 0.1}", "missing"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, line: str, words: str) -> None:
    (tmp_path / "holdouts.yaml").write_text(f"{GOOD}  - {line}\n")
    with pytest.raises(DefinitionsError, match=r"holdouts\.yaml, line 5") as caught:
        load_holdouts(tmp_path)
    assert words in str(caught.value)
