"""Assets of the lake: each reads a part of the outside world and says how many rows were new.

What is asked for, and how rows are typed and quarantined, is decided in `pipeline/mailchimp`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
import polars as pl

from pipeline.common.errors import SourceError, TransientError
from pipeline.events.reading import ingest_events
from pipeline.lake.store import EPOCH
from pipeline.mailchimp import pulls as pull
from pipeline.orchestration.asset import FRESHNESS, OWNERS, asset_key, describe, preview, spec
from pipeline.orchestration.partitions import tonight
from pipeline.schemas import lake as tables
from pipeline.schemas.base import Table, identity

# The client retries each call for minutes by itself; two more tries of the whole step, then a person is told.
RETRIES = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)
RESOURCES = {"settings", "lake", "keys", "mailchimp"}


@contextmanager
def _final_errors_final() -> Iterator[None]:
    """Retry only what another attempt may cure: a wrong key or a broken file is told at once."""
    try:
        yield
    except SourceError as error:
        raise dg.Failure(str(error), allow_retries=isinstance(error, TransientError)) from None


def _pulled(
    name: str, models: tuple[type[Table], ...], reader: Callable[..., Any], after: tuple[type[Table], ...] = ()
) -> dg.AssetsDefinition:
    """One step that reads several tables from Mailchimp."""
    specs = [spec(model, "lake", kinds={"mailchimp", "parquet"}, deps=map(asset_key, after)) for model in models]

    @dg.multi_asset(name=name, specs=specs, retry_policy=RETRIES, required_resource_keys=RESOURCES)
    def read(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        resources = context.resources
        as_of = tonight(context.run.tags, resources.settings)
        with _final_errors_final():
            summary = pull.read_or_keep(
                lambda: reader(resources.mailchimp, resources.lake, resources.keys, resources.settings, as_of),
                models,
                resources.lake,
                as_of,
                may_try_again=context.retry_number < RETRIES.max_retries,
            )
        for model in models:
            rows = summary.rows.get(identity(model).name, 0)
            metadata: dict[str, Any] = {"new_rows": rows, "quarantined": summary.quarantined, "calls": summary.calls}
            if summary.failures:
                metadata["failures"] = "\n".join(map(str, summary.failures))
            yield dg.MaterializeResult(asset_key=asset_key(model), metadata=metadata)

    return read


@dg.asset(
    key=asset_key(tables.Events),
    group_name="lake",
    kinds={"files", "parquet"},
    description=tables.Events.__doc__,
    metadata=describe(tables.Events),
    # An external id is resolved by the members' addresses.
    deps=[asset_key(tables.Members)],
    owners=OWNERS,
    freshness_policy=FRESHNESS,
    retry_policy=RETRIES,
    required_resource_keys=RESOURCES,
)
def events(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Read new event files."""
    resources = context.resources
    as_of = tonight(context.run.tags, resources.settings)
    source = resources.settings.event_source
    with _final_errors_final():
        summary = ingest_events(source, resources.lake, resources.keys, resources.settings, as_of)
    return dg.MaterializeResult(metadata={"new_rows": summary.rows, "quarantined": summary.quarantined})


readers = [
    _pulled("read_audiences", (tables.Account, tables.Audiences), pull.pull_account_and_audiences),
    _pulled("read_members", (tables.Members, tables.Renamed), pull.pull_members, after=(tables.Audiences,)),
    _pulled(
        "read_automations",
        (tables.Automations, tables.AutomationEmails, tables.AutomationQueue, tables.RemovedSubscribers),
        pull.pull_automations,
        # Who changed their address is known by another key than that of the address.
        after=(tables.Audiences, tables.Members),
    ),
    _pulled("read_campaigns", (tables.Campaigns,), pull.pull_campaigns, after=(tables.Audiences,)),
    _pulled("read_reports", (tables.Reports,), pull.pull_reports, after=(tables.Campaigns, tables.AutomationEmails)),
    _pulled(
        "read_activity",
        (
            tables.Sends,
            tables.EmailActivity,
            tables.OpenDetails,
            tables.ClickDetails,
            tables.Unsubscribes,
            tables.AbuseReports,
        ),
        pull.pull_activity,
        after=(tables.Reports, tables.AutomationEmails, tables.Members),
    ),
    _pulled("read_orders", (tables.Orders,), pull.pull_orders, after=(tables.Members,)),
    events,
]


@dg.asset(
    key=asset_key(tables.Quarantine),
    group_name="lake",
    kinds={"parquet"},
    description=tables.Quarantine.__doc__,
    metadata=describe(tables.Quarantine),
    owners=OWNERS,
    freshness_policy=FRESHNESS,
    deps=[key for reader in readers for key in reader.keys],
    required_resource_keys={"settings", "lake"},
)
def quarantine(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Count what the readers set aside."""
    rows = context.resources.lake.latest(tables.Quarantine).collect()
    as_of_day = (tonight(context.run.tags, context.resources.settings) - EPOCH).days
    reasons = rows.group_by("source", "field", "reason").len("rows").sort("rows", descending=True)
    metadata = {
        "dagster/row_count": rows.height,
        "new_rows": rows.filter(pl.col("as_of_day") == as_of_day).height,
        "reasons": preview(reasons),
    }
    return dg.MaterializeResult(metadata=metadata)


@dg.asset(
    key=asset_key(tables.Sources),
    group_name="lake",
    kinds={"parquet"},
    description=tables.Sources.__doc__,
    metadata=describe(tables.Sources),
    owners=OWNERS,
    freshness_policy=FRESHNESS,
    deps=[key for reader in readers for key in reader.keys],
    required_resource_keys={"lake"},
)
def sources(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    """Count what was read, what failed and what went away, as the readers noted it."""
    rows = context.resources.lake.latest(tables.Sources).collect()
    states = rows.group_by("kind", "state").len("sources").sort("kind", "state")
    return dg.MaterializeResult(metadata={"dagster/row_count": rows.height, "states": preview(states)})


lake_assets = [*readers, quarantine, sources]
