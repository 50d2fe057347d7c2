"""The small inputs that are kept beside the project, where they are at hand."""

from pathlib import Path

import pytest

from tests.events.stream import faults, ids, read_bytes

CASES = Path(__file__).parents[3] / "shared" / "cases"


@pytest.mark.skipif(not CASES.exists(), reason="the cases are not beside the project")
@pytest.mark.parametrize(
    ("name", "taken", "set_aside"),
    [
        ("float.ndjson", ["1", "10", "11", "12", "14", "2", "3", "4", "5", "6", "8"], 3),
        ("f64.parquet", ["1", "2"], 0),
        ("dec3818.parquet", ["1", "2"], 0),
        ("dk.csv", ["1"], 0),
        ("dk.json", ["1"], 0),
        ("strayquote.csv", ["1", "3"], 1),
        ("unterminated.csv", ["2", "3"], 1),
        ("headernewline.csv", ["1", "2"], 0),
        ("dupcolspace.csv", [], 1),
        ("array.json", ["1", "2"], 0),
        ("pretty.json", ["1", "2"], 0),
    ],
)
def test_each_case_is_read_and_costs_only_its_broken_rows(tmp_path, name, taken, set_aside):
    lake = read_bytes(tmp_path, name, (CASES / name).read_bytes())
    assert ids(lake) == taken
    assert len(faults(lake)) == set_aside
