"""The ledger as a resource that lives as long as the run."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from pipeline.optimizations.ledger import Ledger
from pipeline.settings import Settings


@contextmanager
def open_ledger(settings: Settings) -> Iterator[Ledger]:
    """The configured ledger until the block ends.

    Raises:
        LedgerError: if it cannot be opened.
    """
    ledger = Ledger.open(settings.ledger_address)
    try:
        yield ledger
    finally:
        ledger.close()


def ledger_resource(settings: Settings) -> dg.ResourceDefinition:
    """The ledger, opened when a run needs it."""

    @dg.resource(description="The ledger of proposals and decisions")
    @contextmanager
    def ledger(context: dg.InitResourceContext) -> Iterator[Ledger]:
        with open_ledger(settings) as opened:
            yield opened

    return ledger
