"""The ledger as a resource that lives as long as the run."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from pipeline.optimizations.ledger import Ledger, open_ledger
from pipeline.settings import Settings


def ledger_resource(settings: Settings) -> dg.ResourceDefinition:
    """The ledger, opened when a run needs it."""

    @dg.resource(description="The ledger of proposals and decisions")
    @contextmanager
    def ledger(context: dg.InitResourceContext) -> Iterator[Ledger]:
        with open_ledger(settings) as opened:
            yield opened

    return ledger
