"""The Mailchimp account of a run: a real one, or the sample account served on loopback for the time of the run."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

import dagster as dg

from pipeline.mailchimp.client import MailchimpClient
from pipeline.orchestration.partitions import tonight
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


def mailchimp_resource(settings: Settings) -> dg.ResourceDefinition:
    """The client as a resource that lives as long as the run."""

    @dg.resource(description="Mailchimp, or the stand-in server of the sample account")
    @contextmanager
    def mailchimp(context: dg.InitResourceContext) -> Iterator[MailchimpClient]:
        tags = context.dagster_run.tags if context.dagster_run else {}
        with connect(settings, tonight(tags, settings)) as client:
            yield client

    return mailchimp
