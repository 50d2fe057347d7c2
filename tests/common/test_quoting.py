"""Fields of JSON objects by names that people and other systems choose."""

import json

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.common.quoting import json_field


@given(name=st.text(st.characters(codec="utf-8"), min_size=1, max_size=12))
@example(name="PLAN")
@example(name="'; DROP TABLE marts.steps; --")
@example(name='" onmouseover="alert(1)')
@example(name="C:\\outside")
@example(name="'\"")
def test_a_field_is_found_by_whatever_name_it_has(name: str) -> None:
    objects = [json.dumps({name: "x", "other one": "y"}), json.dumps({name: 5}), json.dumps({"other one": "y"}), None]
    frame = pl.DataFrame({"object": objects})
    expected = ["x", "5", "y" if name == "other one" else None, None]
    assert frame.select(json_field(pl.col("object"), name))["object"].to_list() == expected
