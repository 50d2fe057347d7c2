"""Reaching the configured account: a real one, or the sample account served on loopback for as long as it is used."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from pipeline.mailchimp.client import MailchimpClient
from pipeline.settings import Settings

SAMPLE_KEY = "sample-us1"


@contextmanager
def connect(settings: Settings, as_of: date) -> Iterator[MailchimpClient]:
    """A client for the configured account as it stood at the end of `as_of`.

    Without a key the sample account is served by a stand-in server until the block ends.
    """
    if settings.is_sample:
        from pipeline.sample import sample_account

        with sample_account(settings, as_of) as url:
            yield MailchimpClient(url, SAMPLE_KEY, settings=settings)
    else:
        key = settings.mailchimp_api_key.get_secret_value() if settings.mailchimp_api_key else ""
        yield MailchimpClient(settings.mailchimp_url, key, settings=settings)
