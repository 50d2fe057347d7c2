"""R8: the properties of event files, a thousand examples each. The tests try a few examples of the same."""

from collections.abc import Callable, Iterator
from typing import Any

import hypothesis

from tests.acceptance.torture import Row
from tests.events import (
    test_csv,
    test_json,
    test_nights,
    test_odd_rows,
    test_parquet,
    test_rows,
    test_values,
    test_writers,
)

EXAMPLES = 1_000
PROPERTIES: tuple[Callable[[], Any], ...] = (
    test_nights.test_any_order_duplicates_and_lateness_equal_the_sorted_deduplicated_input,
    test_odd_rows.test_odd_rows_in_any_order_equal_the_sorted_deduplicated_input,
    test_rows.test_every_row_is_taken_or_set_aside_and_never_both,
    test_writers.test_any_writer_with_broken_rows_between_gives_the_clean_input,
    test_csv.test_every_dialect_gives_the_values_that_were_written_whatever_stands_between,
    test_csv.test_no_bytes_after_the_header_break_the_reader_and_every_row_has_its_own_number,
    test_json.test_any_layout_gives_the_objects_that_were_written_and_counts_the_broken_ones,
    test_json.test_no_text_breaks_the_reader_and_an_event_behind_it_on_its_own_line_is_read,
    test_parquet.test_damage_is_read_or_named_and_never_ends_the_process,
    test_values.test_any_iso_time_becomes_its_instant,
    test_values.test_any_decimal_becomes_its_cents,
    test_values.test_any_text_is_an_instant_or_null_and_an_amount_or_null,
    test_values.test_a_local_time_with_its_zone_is_its_instant_unless_the_zone_has_it_twice_or_never,
    test_values.test_every_amount_below_the_largest_survives_a_64_bit_float,
    test_values.test_a_sum_of_floats_is_the_sum_of_the_cents,
)


def measure(quick: bool) -> Iterator[Row]:
    """Every property with many examples."""
    examples, broken = 20 if quick else EXAMPLES, 0
    for holds in PROPERTIES:
        try:
            _with_examples(holds, examples)()
        except Exception as error:
            print(f"{holds.__name__}: {type(error).__name__}: {error}"[:3000])
            broken += 1
    what = (
        "duplicates, any order, lateness, clock changes, zones, null ids, emoji, NUL, long texts, amounts, currencies"
    )
    yield Row("R8", f"{len(PROPERTIES)} properties of event files ({what}, damage) on {examples:,} examples each: that "
              "do not hold", str(broken), "0", broken == 0)  # fmt: skip


def _with_examples(test: Any, examples: int) -> Callable[[], Any]:
    """The test with so many examples; Hypothesis has no other way to change those that a test names itself."""
    given = test._hypothesis_internal_use_settings
    quiet = list(hypothesis.HealthCheck)
    test._hypothesis_internal_use_settings = hypothesis.settings(
        given, max_examples=examples, deadline=None, database=None, suppress_health_check=quiet
    )
    made: Callable[[], Any] = test
    return made
