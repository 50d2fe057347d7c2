"""The dimension of subscribers: the merge field that the settings name forms cohorts."""

import polars as pl

from pipeline.dimensions.subscribers import subscribers
from pipeline.schemas import lake
from pipeline.schemas.base import empty
from pipeline.settings import Settings

FIELDS = ['{"COLOUR": "red", "A.B": "1"}', '{"COLOUR": ""}', "{}", '{"COLOUR": "blue"}']


def known(cohort_field: str | None) -> list[str | None]:
    members = pl.DataFrame(
        [
            {"audience_id": "a", "subscriber_key": key, "status": "subscribed", "merge_fields": fields, "tags": "[]"}
            | {"as_of_day": 1, "last_changed_us": key, "signup_us": key}
            for key, fields in enumerate(FIELDS)
        ]
    )
    members = pl.concat([empty(lake.Members), members], how="diagonal_relaxed")
    orders, events = empty(lake.Orders).lazy(), empty(lake.Events).lazy()
    people = subscribers(members, orders, events, Settings(cohort_field=cohort_field, _env_file=None))
    return people["cohort_value"].to_list()


def test_the_named_field_is_read_and_empty_is_none() -> None:
    assert known("COLOUR") == ["red", None, None, "blue"]


def test_a_name_with_a_dot_is_a_name() -> None:
    assert known("A.B") == ["1", None, None, None]


def test_without_a_name_there_is_no_such_cohort() -> None:
    assert known(None) == [None] * len(FIELDS)
