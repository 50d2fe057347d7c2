"""Assets of the lake: each reads a part of the outside world and says how many rows were new.

What is asked for, and how rows are typed and quarantined, is decided in `pipeline/mailchimp` and `pipeline/events`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
import polars as pl

from pipeline.common.errors import SourceError, TransientError
from pipeline.common.time import day_number
from pipeline.events.reading import ingest_events
from pipeline.lake.keys import SubscriberKeys
from pipeline.lake.store import Lake
from pipeline.mailchimp import pulls
from pipeline.mailchimp.client import MailchimpClient
from pipeline.mailchimp.pulls.pulling import PullSummary
from pipeline.orchestration.asset import Latest, Metadata, Night, asset, asset_key, preview
from pipeline.schemas import lake as tables
from pipeline.schemas.base import Table, identity
from pipeline.schemas.journeys.lake import Journeys, JourneySteps, Recipients

# The client itself retries each call for minutes. The whole step is tried twice more before a person is told.
RETRIES = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@contextmanager
def _final_errors_final() -> Iterator[None]:
    """Let Dagster retry only what another attempt may cure. A wrong key or a broken file is told at once."""
    try:
        yield
    except SourceError as error:
        raise dg.Failure(str(error), allow_retries=isinstance(error, TransientError)) from None


def _pulled(
    name: str,
    pull: Callable[..., PullSummary],
    *models: type[Table],
    after: tuple[type[Table], ...] = (),
    is_probe: bool = False,
) -> dg.AssetsDefinition:
    """One step that reads several tables from Mailchimp. A probe reads what need not be there: it is tried once."""

    @asset(
        *models,
        group="lake",
        name=name,
        kinds=("mailchimp", "parquet"),
        after=[asset_key(model) for model in after],
        retry_policy=RETRIES,
    )
    def read(
        context: dg.AssetExecutionContext, client: MailchimpClient, lake: Lake, keys: SubscriberKeys, night: Night
    ) -> list[Metadata]:
        with _final_errors_final():
            summary = pulls.read_or_keep(
                lambda: pull(client, lake, keys, night.settings, night.as_of),
                models,
                lake,
                night.as_of,
                may_try_again=not is_probe and context.retry_number < RETRIES.max_retries,
            )
        shared: Metadata = {"quarantined": summary.quarantined, "calls": summary.calls}
        if summary.failures:
            shared = {**shared, "failures": "\n".join(map(str, summary.failures))}
        return [{"new_rows": summary.rows.get(identity(model).name, 0), **shared} for model in models]

    return read


audiences = _pulled("read_audiences", pulls.pull_account_and_audiences, tables.Account, tables.Audiences)
members = _pulled("read_members", pulls.pull_members, tables.Members, tables.Renamed, after=(tables.Audiences,))
automations = _pulled(
    "read_automations",
    pulls.pull_automations,
    *(tables.Automations, tables.AutomationEmails, tables.AutomationQueue, tables.RemovedSubscribers),
    # Who changed their address is known by another key than that of the address.
    after=(tables.Audiences, tables.Members),
)
campaigns = _pulled("read_campaigns", pulls.pull_campaigns, tables.Campaigns, after=(tables.Audiences,))
journeys = _pulled(
    "read_journeys",
    pulls.pull_journeys,
    *(Journeys, JourneySteps),
    # An e-mail may tell no more than the number of its campaign.
    after=(tables.Audiences, tables.Campaigns),
    is_probe=True,
)
reports = _pulled(
    "read_reports",
    pulls.pull_reports,
    tables.Reports,
    after=(tables.Campaigns, tables.AutomationEmails, JourneySteps),
)
activity = _pulled(
    "read_activity",
    pulls.pull_activity,
    *(tables.Sends, Recipients, tables.EmailActivity, tables.OpenDetails, tables.ClickDetails),
    *(tables.Unsubscribes, tables.AbuseReports),
    after=(tables.Reports, tables.AutomationEmails, JourneySteps, tables.Members),
)
orders = _pulled("read_orders", pulls.pull_orders, tables.Orders, after=(tables.Members,))


@asset(
    tables.Events,
    group="lake",
    kinds=("files", "parquet"),
    # An external id is resolved by the members' addresses.
    after=[asset_key(tables.Members)],
    retry_policy=RETRIES,
)
def events(lake: Lake, keys: SubscriberKeys, night: Night) -> Metadata:
    """Read new event files."""
    with _final_errors_final():
        summary = ingest_events(night.settings.event_source, lake, keys, night.settings, night.as_of)
    return {"new_rows": summary.rows, "quarantined": summary.quarantined}


READERS = (audiences, members, automations, campaigns, journeys, reports, activity, orders, events)


@asset(tables.Quarantine, group="lake", kinds=("parquet",), after=[key for reader in READERS for key in reader.keys])
def quarantine(rows: Latest[tables.Quarantine], night: Night) -> Metadata:
    """Count what the readers set aside."""
    reasons = rows.group_by("source", "field", "reason").len("rows").sort("rows", descending=True)
    return {
        "dagster/row_count": rows.height,
        "new_rows": rows.filter(pl.col("as_of_day") == day_number(night.as_of)).height,
        "reasons": preview(reasons),
    }


@asset(tables.Sources, group="lake", kinds=("parquet",), after=[key for reader in READERS for key in reader.keys])
def sources(rows: Latest[tables.Sources]) -> Metadata:
    """Count what was read, what failed and what went away, as the readers noted it."""
    states = rows.group_by("kind", "state").len("sources").sort("kind", "state")
    return {"dagster/row_count": rows.height, "states": preview(states)}
