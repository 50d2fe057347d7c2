"""What a table accepts, held against pandera, which says what the declared columns and checks mean."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandera.errors import SchemaErrors

from pipeline.schemas.base import Table, conform
from pipeline.schemas.columns import column, count, share

numbers = st.none() | st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, -0.0, 0.5, 1.0])
rows = st.fixed_dictionaries(
    {
        "word": st.none() | st.sampled_from(["held", "given", "else"]),
        "people": st.none() | st.integers(-1, 2),
        "rate": numbers,
        "lift": numbers,
    }
)


class Contract(Table):
    """A row of every kind of check that tables declare."""

    word: str = column("One of two words.", isin=["held", "given"])
    people: int = count("How many people.")
    rate: float = share("A share.")
    lift: float = column("A change above zero.", gt=0)


@given(st.lists(rows, max_size=4))
def test_a_table_accepts_exactly_what_pandera_accepts(listed: list[dict[str, object]]) -> None:
    frame = pl.DataFrame(
        listed, schema={"word": pl.String, "people": pl.Int64, "rate": pl.Float64, "lift": pl.Float64}, strict=False
    )
    try:
        Contract.validate(frame, lazy=True)
    except SchemaErrors:
        with pytest.raises(SchemaErrors):
            conform(frame, Contract)
    else:
        assert conform(frame, Contract).equals(frame)


def test_a_column_that_is_missing_is_refused_with_its_name() -> None:
    with pytest.raises(SchemaErrors, match="people"):
        conform(pl.DataFrame({"word": ["held"], "rate": [0.5], "lift": [0.1]}), Contract)
