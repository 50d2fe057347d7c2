from datetime import date
from pathlib import Path

import polars as pl
import pytest

from pipeline.config.constraints import DEFAULT_QUIET_HOURS, WEEKDAYS, Constraints, load_constraints
from pipeline.config.reader import DefinitionsError

STEPS = pl.DataFrame({"workflow_id": ["onboarding", "win-back"], "step_id": ["tips", "voucher"]})
FILE = """\
quiet_hours: 22-06
allowed_days: [Mon, Fri]
hourly_cap: 500
frequency_cap: {messages: 3, days: 7}
workflows:
  - id: win-back
    quiet_hours: none
    allowed_days: [Sun]
"""


def load(folder: Path, text: str) -> Constraints:
    (folder / "constraints.yaml").write_text(text, encoding="utf-8")
    return load_constraints(folder)


def test_without_a_file_mail_rests_at_night_only(tmp_path: Path) -> None:
    rows = load_constraints(tmp_path).of_steps(STEPS)
    assert rows.select("quiet_from_hour", "quiet_until_hour").rows() == [DEFAULT_QUIET_HOURS] * STEPS.height
    assert rows["allowed_weekdays"].to_list() == [list(range(len(WEEKDAYS)))] * STEPS.height
    assert rows["hourly_cap"].null_count() == STEPS.height
    assert load_constraints(tmp_path).frequency_cap is None


def test_a_workflow_overrides_what_it_names_and_keeps_the_rest(tmp_path: Path) -> None:
    constraints = load(tmp_path, FILE)
    first, second = constraints.of_steps(STEPS).rows()
    assert first == ("onboarding", "tips", 22, 6, [0, 4], 500)
    assert second == ("win-back", "voucher", None, None, [6], 500)
    assert constraints.frequency_cap is not None
    assert (constraints.frequency_cap.messages, constraints.frequency_cap.days) == (3, 7)


@pytest.mark.parametrize(
    ("top", "own", "followed"),
    [
        ("", "", []),
        ("send_hours_from: 2026-07-01\n", "", [(1, date(2026, 7, 1)), (2, date(2026, 7, 1))]),
        ("", "    send_hours_from: 2026-07-03\n", [(2, date(2026, 7, 3))]),
    ],
)
def test_flows_follow_the_hours_from_the_day_that_the_file_names(
    tmp_path: Path, top: str, own: str, followed: list[tuple[int, date]]
) -> None:
    steps = STEPS.with_columns(step_key=pl.Series([1, 2]))
    assert load(tmp_path, top + FILE + own).following_hours(steps).rows() == followed


def test_a_step_overrides_its_workflow(tmp_path: Path) -> None:
    text = FILE + "    steps:\n      - {id: voucher, hourly_cap: 50}\n"
    voucher = load(tmp_path, text).of_steps(STEPS).row(1)
    assert voucher == ("win-back", "voucher", None, None, [6], 50)
    twice = text + "      - {id: voucher, hourly_cap: 60}\n"
    with pytest.raises(DefinitionsError, match="'voucher' is used twice"):
        load(tmp_path, twice)


def test_no_steps_have_no_rows(tmp_path: Path) -> None:
    assert load(tmp_path, FILE).of_steps(STEPS.clear()).is_empty()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("22-06", "22:00", "constraints.yaml, line 1, quiet_hours: '22:00' is not a span of hours"),
        ("22-06", "24-06", "constraints.yaml, line 1, quiet_hours: '24-06' is not a span of hours"),
        ("22-06", "7-7", "constraints.yaml, line 1, quiet_hours: '7-7' is not a span of hours"),
        ("[Mon, Fri]", "[Monday]", "constraints.yaml, line 2, allowed_days[0]: 'Monday' is not known"),
        ("[Mon, Fri]", "[]", "constraints.yaml, line 2, allowed_days:"),
        ("hourly_cap: 500", "hourly_cap: 0", "constraints.yaml, line 3, hourly_cap:"),
        ("hourly_cap: 500", "send_hours_from: soon", "line 3, send_hours_from: 'soon' does not fit. Write a day"),
        ("messages: 3", "mails: 3", "frequency_cap"),
        ("  - id: win-back", "  - id: win-back\n  - id: win-back", "'win-back' is used twice"),
    ],
)
def test_a_mistake_is_named_with_file_line_and_field(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(DefinitionsError) as caught:
        load(tmp_path, FILE.replace(old, new))
    assert said in str(caught.value)
