"""Nights after the first, and forgetting, on a sample account of fewer people: their number changes nothing here."""

import re
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from pipeline.cli.nightly import run_night
from pipeline.lake.keys import load_keys, member_id
from pipeline.lake.store import Lake
from pipeline.mailchimp.account import MailchimpAccount
from pipeline.mailchimp.connection import connect
from pipeline.operations.forgetting import forget_person
from pipeline.optimizations import review
from pipeline.optimizations.account.apply import apply
from pipeline.optimizations.changes import Outcome
from pipeline.optimizations.ledger import open_ledger
from pipeline.optimizations.record import Measure, Proposal
from pipeline.optimizations.review import Seen
from pipeline.published.manifest import Manifest
from pipeline.published.reader import read_publication
from pipeline.published.snapshot import SNAPSHOT_NAME, snapshots
from pipeline.sample.account.world import PLANTED
from pipeline.schemas.vocabulary import ApplyKind, MetricName, Risk
from pipeline.schemas.vocabulary import ProposalKind as Kind
from pipeline.settings import SAMPLE_TONIGHT, Settings
from tests.optimizations.conftest import POLICY

pytestmark = pytest.mark.usefixtures("few_people")


def ignore(step: str, steps: int) -> None:
    """Progress nobody watches."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(data_dir=tmp_path_factory.mktemp("data"), _env_file=None)


@pytest.fixture(scope="module")
def night(settings: Settings, few_people: None) -> None:
    run_night(settings, SAMPLE_TONIGHT, ignore)


def test_a_second_nightly_on_the_same_input_changes_nothing(settings: Settings, night: None) -> None:
    before = Manifest.read(settings.published_dir)
    published_at = (settings.published_dir / SNAPSHOT_NAME).stat().st_mtime_ns
    lake = {path: path.stat().st_mtime_ns for path in settings.lake_dir.rglob("*.parquet")}
    run_night(settings, SAMPLE_TONIGHT, ignore)
    assert Manifest.read(settings.published_dir) == before
    assert (settings.published_dir / SNAPSHOT_NAME).stat().st_mtime_ns == published_at
    assert {path: path.stat().st_mtime_ns for path in settings.lake_dir.rglob("*.parquet")} == lake


def test_what_dagster_keeps_of_a_night_names_no_subscriber(settings: Settings, night: None) -> None:
    """Its records are not rebuilt when a person is forgotten."""
    kept = b"".join(path.read_bytes() for path in settings.dagster_home.rglob("*") if path.is_file())
    long_numbers = {int(number) for number in re.findall(rb"\d{15,19}", kept)}
    keys = Lake(settings.lake_dir).addresses()["subscriber_key"]
    assert keys.len() > 1_000
    assert long_numbers.isdisjoint(keys.to_list())


def test_an_applied_winner_is_measured_against_those_kept_out(settings: Settings, night: None) -> None:
    """The whole way of a change: record, approval, the stand-in account, later nights, lift beside the promise."""
    flow, step, test = PLANTED.experiment
    winner = Proposal(
        kind=Kind.EXPERIMENT_WINNER,
        target=test,
        title="Send arm B to everybody",
        workflow_id=flow,
        step_id=step,
        before={},
        after={"field": PLANTED.experiment_field, "value": "B", "holdout_value": "A"},
        apply_kind=ApplyKind.MEMBER_FIELDS,
        base_version="p1",
        evidence={},
        expected_lift=0.5,
        risk=Risk.LOW,
        holdout_share=0.5,
        measure=Measure(metric=MetricName.CONVERSION, window_days=3),
    )
    now = datetime(2026, 6, 30, 4, tzinfo=UTC)
    first_day = SAMPLE_TONIGHT + timedelta(days=1)
    with open_ledger(settings) as ledger:
        ledger.propose([winner], now=now, approval_policy=POLICY)
        review.approve(ledger, POLICY, Seen.of(ledger.record(winner.optimization_id)), actor="mara", now=now)
        with connect(settings, SAMPLE_TONIGHT) as client:
            account = MailchimpAccount(client, Lake(settings.lake_dir).addresses(), lambda: now)
            done = apply(
                ledger,
                winner.optimization_id,
                account,
                read_publication(settings.published_dir),
                approval_policy=POLICY,
                standing=[winner],
                first_day=first_day,
                now=now,
            )
        assert done.details["writes"].keys() == {Outcome.WRITTEN}
    later = SAMPLE_TONIGHT + timedelta(days=10)
    run_night(settings, later, ignore)
    rows = pl.read_parquet(settings.published_dir / "parquet" / "realised_lift.parquet")
    [told] = rows.filter(pl.col("is_latest") & (pl.col("role") == "primary")).to_dicts()
    assert (told["optimization_id"], told["promised_lift"]) == (winner.optimization_id, 0.5)
    assert told["as_of_day"] == later
    assert told["exposures"] > 0
    assert told["held_out_exposures"] > 0
    calendar = pl.read_parquet(settings.published_dir / "parquet" / "calendar.parquet")
    assert calendar["day"].max() == later
    assert len(snapshots(settings.published_dir)) == 1


def test_a_forgotten_person_leaves_no_byte(settings: Settings, night: None) -> None:
    """Runs last: it takes the publication away until the next nightly."""
    address = Lake(settings.lake_dir).addresses()["email_address"][0]
    key = load_keys(settings).of_address(address)
    removed, _ = forget_person(settings, address)
    assert removed > 0
    for path in settings.data_dir.rglob("*"):
        if path.is_file() and settings.sample_dir not in path.parents:
            content = path.read_bytes()
            assert address.encode() not in content
            assert member_id(address).encode() not in content
        if path.suffix == ".parquet" and settings.lake_dir in path.parents:
            rows = pl.read_parquet(path, hive_partitioning=False)
            assert "subscriber_key" not in rows.columns or key not in rows["subscriber_key"]
