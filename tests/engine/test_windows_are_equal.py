"""Nightly increments, late data and backfill give the rows of a full rebuild."""

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.ingest.lake import Lake
from tests.engine.world import connect, differing_rows, dimensions, engine, random_nights

SUBSCRIBERS = 12


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), rows=st.integers(0, 60))
def test_any_nights_one_by_one_equal_all_at_once(seed: int, rows: int):
    frames = dimensions(SUBSCRIBERS)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        nightly = connect(frames)
        for night in random_nights(seed, 6, rows, SUBSCRIBERS):
            night.write(Lake(root))
            runner = engine(nightly, root)
            runner.build_all()
        at_once = connect(frames)
        engine(at_once, root).build_all()
        assert differing_rows(nightly, at_once, list(runner.models)) == {}
