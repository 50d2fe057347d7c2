"""Odd rows in any order, in any files and any number of times equal the sorted, deduplicated input."""

import json
import random
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipeline.lake.store import Lake
from tests.events.stream import content, faults, read, write

IDS = [*map(str, range(6)), "", "🙂", "a\0b", "x" * 300, " 1 ", None, 7]
TIMES = [
    "2026-03-30T12:00:00Z",
    "2026-03-01T00:00:00Z",  # 30 days late
    "2026-02-01T00:00:00Z",  # later than that
    "2026-04-02T00:00:00Z",  # after tonight
    "2026-03-29 02:30:00 Europe/Vienna",  # in the gap
    "2025-10-26 02:30:00 Europe/Vienna",  # twice
    "2026-03-30 12:00:00 Mars/Olympus",
    "2026-03-30T12:00:00",
    "never",
    1_774_864_800,
    1e300,
    None,
]
ODD = ["🙂", "\0", "y" * 5_000, "' OR 1=1 --", "=1+1", "\u202e", "", None, "ß" * 100, [], {"a": None}, True]
rows = st.fixed_dictionaries(
    {
        "event_id": st.sampled_from(IDS),
        "occurred_at": st.sampled_from(TIMES),
        "event_type": st.sampled_from(["purchase", "visit", "step_entered", "refund", *ODD]),
        "subscriber": st.sampled_from(["ann@example.com", "🙂@example.com", "ANN@example.com ", "a" * 32, *ODD]),
    },
    optional={
        "revenue": st.sampled_from(["12.50", "-5", -1, 1e22, "1,5", "much", None, "NaN", 0]),
        "currency": st.sampled_from(["USD", "usd", "EUR", None, "", "🙂"]),
        "workflow_id": st.sampled_from(["flow", *ODD]),
        "properties": st.sampled_from([{}, {"reason": "x"}, "{", '{"a": 1}', "z" * 70_000, None, [1]]),
        "plan": st.sampled_from(ODD),
    },
)


@settings(max_examples=25, deadline=None)
@given(st.lists(rows, min_size=1, max_size=12), st.integers(0, 2**32))
def test_odd_rows_in_any_order_equal_the_sorted_deduplicated_input(told: list[dict], seed: int) -> None:
    chance = random.Random(seed)
    distinct = [json.loads(text) for text in sorted({json.dumps(row, sort_keys=True) for row in told})]
    shuffled = [*told, *chance.choices(told, k=chance.randrange(5))]
    chance.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as folder:
        one, other = Lake(Path(folder) / "one"), Lake(Path(folder) / "other")
        cut = chance.randrange(len(shuffled) + 1)
        for name, part in (("a", shuffled[:cut]), ("b", shuffled[cut:])):
            if part:
                write(Path(folder) / "shuffled", f"{name}.ndjson", *part)
        write(Path(folder) / "sorted", "all.ndjson", *distinct)
        done = read(Path(folder) / "shuffled", one)
        read(Path(folder) / "sorted", other)
        assert_frame_equal(content(one), content(other))
        assert {fault[1:] for fault in faults(one)} == {fault[1:] for fault in faults(other)}
        assert done.quarantined == len(faults(one))
