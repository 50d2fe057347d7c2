"""conflicts.yaml: read as written, and every mistake with its line and field."""

from pathlib import Path

import pytest

from pipeline.config.conflicts import load_conflict_rules
from pipeline.config.reader import DefinitionsError

FLOWS = "flows:\n  - {id: a, category: lifecycle}\n  - {id: b, category: promotional}\n"
RULE = """\
conflicts:
  - between: [lifecycle, promotional]
    type: overlap
    severity: high
    description: Both at once.
    resolution: delay
"""


def load(folder: Path, text: str | None):
    (folder / "flows.yaml").write_text(FLOWS)
    if text is not None:
        (folder / "conflicts.yaml").write_text(text)
    return load_conflict_rules(folder)


def test_a_rule_is_read_as_written(tmp_path: Path) -> None:
    [rule] = load(tmp_path, RULE)
    assert (rule.category, rule.other_category, rule.conflict_type) == ("lifecycle", "promotional", "overlap")
    assert rule.resolution == "delay"


def test_without_the_file_nothing_conflicts(tmp_path: Path) -> None:
    assert load(tmp_path, None) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            RULE.replace("promotional]", "promotinal]"),
            "line 2, conflicts[0].between[1]: 'promotinal' is not a category",
        ),
        (RULE.replace("delay", "wait"), "line 6, conflicts[0].resolution: 'wait' is not known"),
        (RULE.replace("    severity: high\n", ""), "conflicts[0].severity: is missing"),
        (RULE + RULE.partition("\n")[2], "line 8, conflicts[1].type: 'overlap' is written twice"),
        (RULE.replace("[lifecycle, promotional]", "[lifecycle]"), "line 2, conflicts[0].between"),
    ],
)
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DefinitionsError) as told:
        load(tmp_path, text)
    assert message in str(told.value)
    assert "conflicts.yaml" in str(told.value)
