"""A ledger on every database it is said to run on."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from pipeline.optimizations.approval_policy import ApprovalPolicy, Approver
from pipeline.optimizations.ledger import Ledger
from pipeline.optimizations.record import Proposal
from pipeline.schemas.vocabulary import ApplyKind, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind
from tests.postgres import missing, postgres_server

NOW = datetime(2026, 6, 30, 4, tzinfo=UTC)
TOMORROW = NOW + timedelta(days=1)
POLICY = ApprovalPolicy(
    approvers=(Approver("mara", Risk.MEDIUM), Approver("noor", Risk.HIGH), Approver("lia", Risk.HIGH))
)


def proposal(**changes: Any) -> Proposal:
    """A change of a delay, with `changes`."""
    given = {
        "kind": Kind.DELAY,
        "target": "onboarding/setup/tips",
        "title": "Wait 48 h instead of 72 h before tips",
        "before": {"delay_hours": 72},
        "after": {"delay_hours": 48},
        "apply_kind": ApplyKind.MANUAL,
        "base_version": "1",
        "evidence": {"n": 10_545, "effect": 0.3},
        "expected_lift": 0.3,
        "risk": Risk.LOW,
    }
    return Proposal(**{**given, **changes})


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server of this session."""
    if reason := missing():
        pytest.skip(reason)
    with postgres_server() as place:
        yield f"postgresql+psycopg://{place}"


_numbers = count()


def _new_schema(server: str) -> str:
    """A schema for one ledger: the server copies a thousand files for a new database."""
    name = f"ledger{next(_numbers)}"
    engine = sa.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return f"{server}/postgres?options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new ledger."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger/ledger.sqlite"
    return _new_schema(request.getfixturevalue("postgres"))


@pytest.fixture
def open_ledger(ledger_url: str) -> Iterator[Callable[[], Ledger]]:
    """Opens the test's ledger, once more at each call."""
    opened = []

    def open_one() -> Ledger:
        opened.append(Ledger.open(ledger_url))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def ledger(open_ledger: Callable[[], Ledger]) -> Ledger:
    """A new ledger."""
    return open_ledger()
