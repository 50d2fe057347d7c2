"""What the published tables suggest: pure functions from tables to proposals, a module per kind.

Nothing here writes: the ledger takes what it is given, and people decide.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import polars as pl

from pipeline.analysis import FAULTS
from pipeline.optimizations.proposals.anomalies import anomaly_proposals
from pipeline.optimizations.proposals.answers import with_answer
from pipeline.optimizations.proposals.coordination import coordination_proposals
from pipeline.optimizations.proposals.delays import delay_proposals
from pipeline.optimizations.proposals.deliveries import delivery_proposals
from pipeline.optimizations.proposals.evidence import Publication
from pipeline.optimizations.proposals.experiments import start_proposals, winner_proposals
from pipeline.optimizations.proposals.policies import policy_proposals
from pipeline.optimizations.proposals.releases import release_proposals
from pipeline.optimizations.proposals.rollbacks import rollback_proposals
from pipeline.optimizations.proposals.send_times import send_time_proposals
from pipeline.optimizations.proposals.stuck import stuck_proposals
from pipeline.optimizations.record import Proposal

ANALYSES: Sequence[Callable[[Publication], Iterator[Proposal]]] = (
    start_proposals,
    winner_proposals,
    delay_proposals,
    send_time_proposals,
    delivery_proposals,
    policy_proposals,
    release_proposals,
    coordination_proposals,
    stuck_proposals,
    anomaly_proposals,
    rollback_proposals,
)


def proposals_from(
    tables: Mapping[str, pl.DataFrame], *, data_version: str, code_version: str
) -> tuple[list[Proposal], list[str]]:
    """Everything one publication suggests.

    Args:
        tables: the published tables by name.
        data_version: version of the publication, from its manifest.
        code_version: version of driptune.

    Returns:
        The proposals, and a line per analysis that could not be read: one broken table keeps no other from being told.
    """
    publication = Publication(tables, data_version, code_version)
    found: list[Proposal] = []
    failures: list[str] = []
    for analysis in ANALYSES:
        try:
            found += [with_answer(proposal, publication) for proposal in analysis(publication)]
        except FAULTS as error:
            failures.append(f"{analysis.__name__}: {type(error).__name__}")
    return found, failures
