"""Everything that a user may want to change, in one frozen model. Each threshold says why it has its value.

Mathematical constants do not belong here. They are named beside their use.
"""

import re
from datetime import UTC, date, datetime, timedelta
from email.utils import getaddresses
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PACKAGE = Path(__file__).resolve().parent
# In a checkout the SQL and the sample's definitions stand beside the package. A wheel holds them in a folder of the
# package (see `pyproject.toml`).
_IN_WHEEL = PACKAGE / "_resources"
RESOURCES = _IN_WHEEL if _IN_WHEEL.is_dir() else PACKAGE.parent
SQL_DIR = RESOURCES / "sql"
WORKSPACE_FILE = RESOURCES / "workspace.yaml"
SAMPLE_DEFINITIONS = RESOURCES / "data" / "definitions"
MANIFEST_NAME = "manifest.json"
SAMPLE_FIRST_DAY = date(2026, 1, 1)
SAMPLE_TONIGHT = date(2026, 6, 29)
SAMPLE_DATA = Path("data")
DUCKDB = "duckdb"
Refusal = Literal["none", "forbidden", "missing", "other shape", "single details", "no offset"]
"""How the reads of journeys, which Mailchimp does not document, fail or differ: each was seen or must be expected."""


MailSecurity = Literal["starttls", "tls", "none"]


def _is_sample(given: dict[str, Any]) -> bool:
    """Whether neither key nor address of an account is among the settings given."""
    return given.get("mailchimp_api_key") is None and given.get("mailchimp_url") is None


class Settings(BaseSettings):
    """Settings from `DRIPTUNE_*` environment variables or `.env`. The defaults run the sample account."""

    model_config = SettingsConfigDict(env_prefix="DRIPTUNE_", env_file=".env", extra="ignore", frozen=True)

    mailchimp_api_key: SecretStr | None = Field(
        default=None,
        alias="MAILCHIMP_API_KEY",
        description="Key with data-centre suffix. Without a key the sample account is used.",
    )
    mailchimp_url: str | None = Field(default=None, description="Base URL including /3.0. By default from the key.")
    data_dir: Path = Field(
        default_factory=lambda given: SAMPLE_DATA if _is_sample(given) else SAMPLE_DATA / "account",
        validate_default=True,
        description="Folder of lake, working file, publications and ledger. A real account does not use the sample's.",
    )
    events: str | None = Field(default=None, description="Folder, glob or URL of event files.")
    definitions: Path = Field(
        default_factory=lambda given: SAMPLE_DEFINITIONS if _is_sample(given) else given["data_dir"] / "definitions",
        description="Folder of the user's YAML files. A real account does not use those of the sample.",
    )
    ledger_url: SecretStr | None = Field(
        default=None,
        description="SQLAlchemy URL of the ledger. By default SQLite in the data dir. Postgres for several hosts.",
    )
    engine: SecretStr = Field(
        default=SecretStr(DUCKDB),
        description="What computes facts and reductions: duckdb, or the address of a Spark Connect server such as "
        "sc://host:15002. Data dir and cluster need storage with the same paths.",
    )
    as_of: date | None = Field(
        default=None, description="Tonight: the last day whose data are used. By default the last complete UTC day."
    )

    timezone: str = Field(default="UTC", description="Zone of the schedule, and of subscribers without a known one.")
    nightly_cron: str = Field(default="30 3 * * *", description="When the nightly starts, in `timezone`.")
    currency: str = Field(
        default="USD", description="The workspace's currency. Revenue in other currencies is rejected."
    )
    alert_webhook: SecretStr | None = Field(default=None, description="URL that receives run failures as JSON.")

    digest_webhook: SecretStr | None = Field(
        default=None,
        description="URL that receives the morning in about ten lines after each publication, as JSON with `text`.",
    )

    address: str = Field(
        default="http://127.0.0.1:3000",
        pattern=r"^https?://[^\s?#]+$",
        description="Where browsers reach `driptune up`. The links of the mail and of the pages begin with it.",
    )
    mail_host: str | None = Field(
        default=None, description="SMTP server by which the morning is mailed after each publication. None: no mail."
    )
    mail_port: int = Field(default=587, ge=1, le=65535, description="Its port: 587 for STARTTLS, 465 for TLS.")
    mail_security: MailSecurity = Field(
        default="starttls", description="How the connection is encrypted. The server's certificate must be trusted."
    )
    mail_user: str | None = Field(default=None, description="Name by which the mail server knows driptune, if any.")
    mail_password: SecretStr | None = Field(default=None, description="Password of that name.")
    mail_from: str | None = Field(default=None, description="Address that the morning comes from.")
    mail_to: str | None = Field(default=None, description="Addresses that get the morning, separated by commas.")

    personal_fields: tuple[str, ...] = Field(
        default=("FNAME", "LNAME", "NAME", "ADDRESS", "PHONE", "BIRTHDAY", "COMPANY"),
        description="Merge fields that are never stored, beside those whose own name or value tells who somebody is.",
    )
    external_id_field: str | None = Field(
        default=None, description="Merge field that holds the id by which event files name a subscriber."
    )
    cohort_field: str | None = Field(
        default=None,
        description="Merge field whose values form cohorts, in addition to signup, first purchase and plan.",
    )
    first_day: date | None = Field(default=None, description="Oldest day to read. By default everything in Mailchimp.")
    snapshots_kept: int = Field(default=3, ge=1, description="Earlier publications that are kept, to go back to.")
    maturity_days: int = Field(
        default=5, description="Days until the rates of a message no longer change: Mailchimp attributes for five days."
    )
    recheck_days: int = Field(
        default=5,
        description="Days for which a sent campaign is read again: /reports does not say when bounces arrive.",
    )
    member_sweep_nights: int = Field(
        default=7,
        ge=1,
        description="Nights between full sweeps of the members: a deleted one leaves no other trace.",
    )
    lateness_days: int = Field(default=30, description="How late an event may arrive and still be counted.")
    default_grace_hours: int = Field(
        default=48, description="Grace: time beyond the planned delay before a subscriber counts as stuck."
    )
    funnel_days: int = Field(
        default=180, description="Days of entry used for drop-off: older entries describe a workflow that has changed."
    )
    delay_horizon_days: int = Field(
        default=14,
        ge=1,
        le=60,
        description="Days after entry into a step in which a conversion counts for the delay after it. Longer than all "
        "delays compared, so that each has time to work. Conversions are followed for 60 days.",
    )
    experiment_baseline_days: int = Field(
        default=56,
        ge=7,
        description="Days before a test from which its sample is planned: whole weeks of the workflow as it is.",
    )
    decision_horizon_days: int = Field(
        default=14,
        ge=1,
        le=60,
        description="Days after the message in which the goal of its workflow counts for the path or content served.",
    )
    send_time_days: int = Field(
        default=180, description="Days of activity from which send times are learnt: older habits have changed."
    )
    send_time_exploration_share: float = Field(
        default=0.1,
        ge=0,
        le=1,
        description="Share of subscribers whose send time is drawn at random among the allowed hours. A tenth costs "
        "little, and measures the lift of the others.",
    )
    holidays: tuple[date, ...] = Field(
        default=(), description="Days that anomaly baselines neither score nor learn from: sending differs on them."
    )
    shared_ip_recipients: int = Field(
        default=10,
        description="Recipients of one day's mail for whom one IP address acts, nearly always within half an hour of "
        "sending, to be taken for a scanner.",
    )
    release_late_hours: int = Field(
        default=36,
        ge=1,
        description="Hours after the decided moment in which somebody is still let into a flow. Events are read once a "
        "night, so a moment may be a day old when it becomes known.",
    )
    max_connections: int = Field(
        default=8, ge=1, le=10, description="Mailchimp allows ten. Two are left to other programs."
    )
    call_deadline_seconds: float = Field(default=120.0, description="Mailchimp itself ends requests after 120 s.")
    feed_minutes: int = Field(
        default=120,
        ge=0,
        le=180,
        description="Minutes a night for activity feeds, a call a person; the other people follow on later nights. Two "
        "hours read 190,000 people, and a night may take four. 0 = read none, and compute the times of sending.",
    )
    feed_calls: int | None = Field(
        default=None, ge=1, description="Feeds read in a night. By default as many as the minutes allow."
    )
    retry_budget_seconds: float = Field(
        default=300.0, description="Longest time of one call, with all attempts and waits."
    )
    max_response_bytes: int = Field(
        default=64 * 2**20,
        description="Largest answer that is read: a page of 1,000 busy recipients has some megabytes.",
    )

    sample_refusal: Refusal = Field(
        default="none", description="How the sample account refuses the reads of journeys, to see what happens then."
    )

    @field_validator("data_dir")
    @classmethod
    def _plain_path(cls, value: Path) -> Path:
        # DuckDB writes the log of a file to the path before a '?', and Dagster takes '%41' for an 'A'.
        if found := re.search(r"\?|%[0-9A-Fa-f]{2}", str(value.resolve())):
            raise ValueError(f"'{value.resolve()}' holds '{found[0]}', which databases cannot have in a path.")
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

    @field_validator("currency")
    @classmethod
    def _in_capitals(cls, value: str) -> str:
        return value.strip().upper()

    @field_validator("mail_from", "mail_to")
    @classmethod
    def _addresses(cls, value: str | None) -> str | None:
        found = [] if value is None else getaddresses([value])
        if value is not None and (not value.isprintable() or not all("@" in address for _, address in found)):
            raise ValueError(f"{value!r} is no address. Write one such as 'driptune@example.com'.")
        return value

    @model_validator(mode="after")
    def _mail_is_whole(self) -> Self:
        if self.mail_host is not None and (self.mail_from is None or self.mail_to is None):
            raise ValueError("DRIPTUNE_MAIL_HOST is set. Set DRIPTUNE_MAIL_FROM and DRIPTUNE_MAIL_TO, too.")
        if self.mail_password is not None and self.mail_security == "none":
            raise ValueError("DRIPTUNE_MAIL_SECURITY 'none' would send DRIPTUNE_MAIL_PASSWORD in the clear.")
        return self

    @field_validator("engine")
    @classmethod
    def _known_engine(cls, value: SecretStr) -> SecretStr:
        place = urlsplit(value.get_secret_value())
        if value.get_secret_value() != DUCKDB and not (place.scheme == "sc" and place.hostname):
            raise ValueError(
                "This is no engine. Write 'duckdb', or the address of a cluster such as 'sc://host:15002'."
            )
        return value

    @classmethod
    def sample(cls) -> Self:
        """The sample account with every default. It reads no `.env` and no environment: they may name an account."""
        return cls.model_construct()

    @property
    def is_sample(self) -> bool:
        """Whether the sample account is used."""
        return _is_sample(dict(self))

    @property
    def lake_dir(self) -> Path:
        """The lake: Parquet files as they came in, partitioned by day."""
        return self.data_dir / "lake"

    @property
    def working_file(self) -> Path:
        """The private DuckDB file of the nightly. Readers never open it."""
        return self.data_dir / "warehouse" / "working.duckdb"

    @property
    def cluster_address(self) -> str | None:
        """Where the Spark cluster listens. None if DuckDB is the engine."""
        engine = self.engine.get_secret_value()
        return None if engine == DUCKDB else engine

    @property
    def exchange_dir(self) -> Path:
        """Through which rows pass between DuckDB and a Spark cluster, while a nightly runs."""
        return self.data_dir / "warehouse" / "exchange"

    @property
    def published_dir(self) -> Path:
        """What BI tools read: the DuckDB file, the same tables as Parquet, and the manifest."""
        return self.data_dir / "published"

    @property
    def ledger_address(self) -> str:
        """The SQLAlchemy URL of the ledger."""
        if self.ledger_url is not None:
            return self.ledger_url.get_secret_value()
        # The name of a folder may hold what means something else in a URL.
        return f"sqlite:///{quote(str(self.data_dir.resolve()))}/ledger/ledger.sqlite"

    @property
    def manifest_file(self) -> Path:
        """Written last by every publication. Where it is missing, nothing is published."""
        return self.published_dir / MANIFEST_NAME

    @property
    def logins_dir(self) -> Path:
        """Links into the inbox that nobody has used yet."""
        return self.data_dir / "logins"

    @property
    def reports_dir(self) -> Path:
        """The pages of the morning."""
        return self.data_dir / "reports"

    @property
    def stop_file(self) -> Path:
        """While this file exists, nobody is let into a flow."""
        return self.data_dir / "releases.stopped"

    @property
    def exports_dir(self) -> Path:
        """Private files with addresses, which people asked for."""
        return self.data_dir / "exports"

    @property
    def dagster_home(self) -> Path:
        """Dagster's instance directory."""
        return self.data_dir / "dagster_home"

    @property
    def sample_dir(self) -> Path:
        """Where the event files and the truth of the sample account are generated."""
        return self.data_dir / "sample_account"

    @property
    def event_source(self) -> str | None:
        """Where event files are. The sample account has its own."""
        return self.events or (str(self.sample_dir / "events") if self.is_sample else None)

    def resolve_as_of(self, now: datetime | None = None) -> date:
        """Tonight: the configured day, else the sample account's last day, else the last complete UTC day."""
        if self.as_of is None and self.is_sample:
            return SAMPLE_TONIGHT
        return self.as_of or last_complete_day(now or datetime.now(UTC))


def last_complete_day(now: datetime) -> date:
    """The last UTC day that was over at this moment, in whatever zone the moment is told."""
    return now.astimezone(UTC).date() - timedelta(days=1)
