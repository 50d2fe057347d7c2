"""Everything a user may want to change, in one frozen model; every threshold says why it has its value.

Mathematical constants do not belong here: they stand, named, beside their use.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_ROOT = Path(__file__).resolve().parent.parent
SQL_DIR = PROJECT_ROOT / "sql"
SAMPLE_FIRST_DAY = date(2026, 1, 1)
SAMPLE_TONIGHT = date(2026, 6, 29)
SAMPLE_DATA = Path("data")


def _is_sample(given: dict[str, Any]) -> bool:
    """Whether neither key nor address of an account is among the settings given."""
    return given.get("mailchimp_api_key") is None and given.get("mailchimp_url") is None


class Settings(BaseSettings):
    """Settings from `DRIPTUNE_*` environment variables or `.env`; the defaults run the sample account."""

    model_config = SettingsConfigDict(env_prefix="DRIPTUNE_", env_file=".env", extra="ignore", frozen=True)

    mailchimp_api_key: SecretStr | None = Field(
        default=None, alias="MAILCHIMP_API_KEY", description="Key with data-centre suffix; none = the sample account."
    )
    mailchimp_url: str | None = Field(default=None, description="Base URL including /3.0; default from the key.")
    data_dir: Path = Field(
        default_factory=lambda given: SAMPLE_DATA if _is_sample(given) else SAMPLE_DATA / "account",
        description="Home of lake, working file, publications and ledger; a real account's is not the sample's.",
    )
    events: str | None = Field(default=None, description="Folder, glob or URL of event files.")
    definitions: Path = Field(
        default_factory=lambda given: (SAMPLE_DATA if _is_sample(given) else given["data_dir"]) / "definitions",
        description="Folder of the user's YAML files. The sample's approvers have no say over a real account.",
    )
    ledger_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of the ledger; default a SQLite file in the data dir. Postgres for several hosts.",
    )
    engine: str = Field(default="duckdb", description="The SQL engine that builds core facts and reductions.")
    as_of: date | None = Field(default=None, description="'Tonight'; default the last complete UTC day.")

    timezone: str = Field(default="UTC", description="Zone of the nightly schedule and of people without a known one.")
    nightly_cron: str = Field(default="30 3 * * *", description="When the nightly starts, in `timezone`.")
    currency: str = Field(default="USD", description="The workspace's currency; revenue in others is rejected.")
    alert_webhook: SecretStr | None = Field(default=None, description="URL that receives run failures as JSON.")

    digest_webhook: SecretStr | None = Field(
        default=None, description="URL that receives the morning in ten lines, as JSON with `text`, once a publication."
    )

    personal_fields: tuple[str, ...] = Field(
        default=("FNAME", "LNAME", "ADDRESS", "PHONE", "BIRTHDAY", "COMPANY"),
        description="Merge fields never stored: they name a person and no analysis needs them.",
    )
    external_id_field: str | None = Field(
        default=None, description="Merge field that holds the id by which event files name a subscriber."
    )
    cohort_field: str | None = Field(
        default=None, description="Merge field whose values form cohorts too, beside signup, first purchase and plan."
    )
    first_day: date | None = Field(default=None, description="Oldest day to read; default everything Mailchimp holds.")
    snapshots_kept: int = Field(default=3, ge=1, description="Old publications kept for the one who must go back.")
    maturity_days: int = Field(
        default=5, description="Days until a send's rates stop moving: Mailchimp attributes opens for five days."
    )
    recheck_days: int = Field(
        default=5, description="Days a sent campaign is read again: bounces move no recency field in /reports."
    )
    member_sweep_nights: int = Field(
        default=7,
        ge=1,
        description="Nights between full sweeps of the members: a deleted one leaves no other trace.",
    )
    lateness_days: int = Field(default=30, description="How late an event may arrive and still be counted.")
    default_grace_hours: int = Field(
        default=48, description="Waiting beyond the planned delay before a subscriber counts as stuck."
    )
    funnel_days: int = Field(
        default=180, description="Entry days used for drop-off: older entrants describe a flow that has changed."
    )
    delay_horizon_days: int = Field(
        default=14,
        ge=1,
        le=60,
        description="Days from a step in which a conversion counts for the delay after it: longer than the delays "
        "compared, or the longest one has no time left to work. Conversions are followed for 60 days.",
    )
    experiment_baseline_days: int = Field(
        default=56,
        ge=7,
        description="Days of a step before a test from which its sample is planned: whole weeks of the flow as it is.",
    )
    decision_horizon_days: int = Field(
        default=14, ge=1, le=60, description="Days in which a conversion counts for the path or content served."
    )
    send_time_days: int = Field(
        default=180, description="Days of activity from which send times are learnt: habits older than that have moved."
    )
    send_time_exploration_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of subscribers whose hour is drawn by lot among the allowed ones: a tenth costs little and "
        "tells the lift of the other nine.",
    )
    send_times_used_from: date | None = Field(
        default=None,
        description="First day on which your flows mail at the assigned hour; before it no hour counts as drawn.",
    )
    holidays: tuple[date, ...] = Field(
        default=(), description="Days neither scored nor learnt by the anomaly baselines: sending differs on them."
    )
    shared_ip_recipients: int = Field(
        default=10, description="Recipients clicked for by one address in a day before it is taken for a scanner."
    )
    max_connections: int = Field(default=8, ge=1, le=10, description="Mailchimp allows ten; two are left to others.")
    call_deadline_seconds: float = Field(default=120.0, description="Mailchimp ends requests at 120 s itself.")
    retry_budget_seconds: float = Field(
        default=300.0, description="Time of one call, attempts and waits together, before giving up."
    )
    max_response_bytes: int = Field(
        default=64 * 2**20, description="Largest answer taken in: a page of 1,000 busy recipients has some megabytes."
    )

    @field_validator("engine")
    @classmethod
    def _built_engine(cls, value: str) -> str:
        if value != "duckdb":
            raise ValueError(f"'{value}' is no engine of this release. Write 'duckdb', or leave it out.")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(
                f"'{value}' is not an IANA time zone. Write one such as 'UTC' or 'Europe/Vienna'."
            ) from error
        return value

    @property
    def is_sample(self) -> bool:
        """Whether the sample account stands in for a real one."""
        return _is_sample(dict(self))

    @property
    def lake_dir(self) -> Path:
        """Day-partitioned Parquet as it came in."""
        return self.data_dir / "lake"

    @property
    def working_file(self) -> Path:
        """The private DuckDB file of the nightly run; never opened by readers."""
        return self.data_dir / "warehouse" / "working.duckdb"

    @property
    def published_dir(self) -> Path:
        """What BI tools read: the snapshot, its Parquet twin and the manifest."""
        return self.data_dir / "published"

    @property
    def ledger_address(self) -> str:
        """The SQLAlchemy URL of the ledger."""
        if self.ledger_url is not None:
            return self.ledger_url.get_secret_value()
        return f"sqlite:///{self.data_dir.resolve()}/ledger/ledger.sqlite"

    @property
    def reports_dir(self) -> Path:
        """The pages of the morning, plain files."""
        return self.data_dir / "reports"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance directory."""
        return self.data_dir / "dagster_home"

    @property
    def sample_dir(self) -> Path:
        """Where the sample account's event files and truth are generated."""
        return self.data_dir / "sample_account"

    @property
    def event_source(self) -> str | None:
        """Where event files stand; the sample account brings its own."""
        return self.events or (str(self.sample_dir / "events") if self.is_sample else None)

    def resolve_as_of(self, now: datetime | None = None) -> date:
        """Tonight: the configured day, else the sample account's last day, else the last complete UTC day."""
        if self.as_of is None and self.is_sample:
            return SAMPLE_TONIGHT
        return self.as_of or ((now or datetime.now(UTC)).date() - timedelta(days=1))
