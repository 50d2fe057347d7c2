"""Blocks of people: every key is in one of them, and they rise."""

import polars as pl
import pytest

from pipeline.common import people
from pipeline.common.people import blocks_of_people


@pytest.mark.parametrize("known", [0, 1, 3, 10])
def test_every_key_is_in_one_block_and_keys_rise_from_block_to_block(
    known: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keys that the account does not know belong to a block, too: before, between and after the known ones."""
    monkeypatch.setattr(people, "PEOPLE_AT_ONCE", 3)
    told = range(0, 10 * known, 10)
    blocks = blocks_of_people(pl.LazyFrame({"subscriber_key": told}, schema={"subscriber_key": pl.Int64}))
    keys = pl.DataFrame({"subscriber_key": range(-5, 10 * known + 5)})
    found = [keys.filter(block)["subscriber_key"] for block in blocks]
    assert pl.concat(found).to_list() == keys["subscriber_key"].to_list()
    assert max(block.is_in(list(told)).sum() for block in found) <= 3
