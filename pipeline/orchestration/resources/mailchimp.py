"""The Mailchimp client as a resource that lives as long as the run."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.connection import connect
from pipeline.orchestration.partitions import tonight
from pipeline.settings import Settings


def mailchimp_resource(settings: Settings) -> dg.ResourceDefinition:
    """The client as a resource that lives as long as the run."""

    @dg.resource(description="Mailchimp, or the stand-in server of the sample account")
    @contextmanager
    def mailchimp(context: dg.InitResourceContext) -> Iterator[MailchimpClient]:
        tags = context.dagster_run.tags if context.dagster_run else {}
        with connect(settings, tonight(tags, settings)) as client:
            yield client

    return mailchimp
