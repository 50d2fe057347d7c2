"""Which nights can be run. This module imports little, so that refusing a command is quick."""

from datetime import date, datetime

from pipeline.common.errors import NightlyError
from pipeline.settings import last_complete_day

# Mailchimp was founded in this year, so no account has an older day.
FIRST_NIGHT = date(2001, 1, 1)


def check_nights(first: date, last: date, now: datetime) -> None:
    """Refuse days that no night can be run for.

    Raises:
        NightlyError: if a day is not over yet, or lies before every account.
    """
    newest = last_complete_day(now)
    if last > newest:
        raise NightlyError(
            f"{last} is not over yet. The last complete UTC day is {newest}: choose that one or earlier."
        )
    if first < FIRST_NIGHT:
        raise NightlyError(f"{first} lies before every account. Choose no day before {FIRST_NIGHT}.")
