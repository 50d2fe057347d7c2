"""A synthetic account as lake files: coherent journeys drawn by hashing inside DuckDB, a month at a time.

40 flows of 3-8 steps over 365 days; subscribers of very unequal activity in 24 zones; machine opens for 42% of them,
scanners for 2%; human opens, clicks and purchases that follow each other; every row told on the night of its day.
`events` counts all rows. Nothing is measured here.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb
import polars as pl

from pipeline.dimensions.zones import zone_offsets
from pipeline.schemas import core
from pipeline.schemas.base import Table, conform, identity

EPOCH = date(1970, 1, 1)
FIRST_DAY = date(2025, 7, 1)
DAYS = 365
LAST_DAY = FIRST_DAY + timedelta(days=DAYS - 1)
WORKFLOWS = 40
ROWS_PER_JOURNEY = 14.6
# Subscribers as a multiple of a flow's entrants, less one: few are in all flows, most in two.
SPREAD = 9
ZONES = (
    "UTC", "Europe/London", "Europe/Vienna", "Europe/Athens", "Europe/Istanbul", "Africa/Cairo", "Africa/Lagos",
    "America/New_York", "America/Chicago", "America/Denver", "America/Los_Angeles", "America/Phoenix",
    "America/Sao_Paulo", "America/Santiago", "America/Mexico_City", "Asia/Dubai", "Asia/Kolkata", "Asia/Kathmandu",
    "Asia/Shanghai", "Asia/Tokyo", "Australia/Sydney", "Australia/Adelaide", "Pacific/Auckland", "Pacific/Apia",
)  # fmt: skip
LINKS = 3


@dataclass(frozen=True)
class Scale:
    """How large an account is, by the number of rows in its lake, and over how many days."""

    events: int
    days: int = DAYS

    @property
    def journeys(self) -> int:
        """Entries into a flow."""
        return round(self.events / ROWS_PER_JOURNEY / WORKFLOWS) * WORKFLOWS

    @property
    def entrants(self) -> int:
        """Entrants of one flow; not a multiple of the prime by which they are shuffled."""
        return self.journeys // WORKFLOWS + 1

    @property
    def subscribers(self) -> int:
        """People, of whom few make most journeys."""
        return self.entrants * (SPREAD + 1) + 1


def day_number(day: date) -> int:
    """Days since 1970-01-01."""
    return (day - EPOCH).days


# A uniform draw in [0, 1) from a journey, a step and a salt. `i` is the journey, `k` the step.
MACROS = """
CREATE OR REPLACE MACRO draw(i, k, salt) AS (hash(i * 10000 + k * 100 + salt) >> 11) / 9007199254740992.0;
CREATE OR REPLACE MACRO draw_int(i, k, salt, n) AS CAST(floor(draw(i, k, salt) * n) AS BIGINT);
CREATE OR REPLACE MACRO steps_of(w) AS 3 + w % 6;
CREATE OR REPLACE MACRO delay_hours(w) AS 24 + 12 * (w % 3);
"""
JOURNEYS = """
CREATE OR REPLACE TEMP TABLE visit AS
WITH person AS (
  -- Distinct within a flow: Mailchimp sends an e-mail of a flow to a person once.
  SELECT i, i % {workflows} AS w, (i // {workflows} * 7919 + i % {workflows} * 31) % {entrants} AS place
  FROM range({low}, {high}) AS r(i)
),
journey AS (
  SELECT i, w, place + place * place * {spread} // {entrants} + 1 AS who,
    {first_us} + CAST(floor((i + draw(i, 0, 3)) * {span_us} / {journeys}) AS BIGINT) AS start_us,
    CAST(floor(ln(1 - draw(i, 0, 4)) / ln(0.85)) AS BIGINT) + 1 AS wanted
  FROM person
)
SELECT i, who, w, k, least(wanted, steps_of(w)) AS depth, who * 7919 % 100 AS nature,
  start_us + k * delay_hours(w) * 3600000000 + CASE WHEN k > 0 THEN draw_int(i, k, 5, 21600) ELSE 0 END * 1000000
    AS at_us
FROM journey, range(0, 8) AS s(k)
WHERE k < least(wanted, steps_of(w))
"""
TABLES = {
    "sends": """
SELECT 'flow' || w || '-' || k AS campaign_id, who AS subscriber_key, at_us + 60000000 AS sent_us,
  'feed' AS sent_at_source,
  CASE WHEN draw(i, k, 6) < 0.01 THEN 'hard' WHEN draw(i, k, 6) < 0.02 THEN 'soft' ELSE 'sent' END AS status
FROM visit""",
    "email_activity": """
WITH sent AS (SELECT *, at_us + 60000000 AS sent_us FROM visit WHERE draw(i, k, 6) >= 0.02),
human AS (
  SELECT *, sent_us + 60000000 + CAST(-ln(1 - draw(i, k, 7) * 0.9999) * 36000 AS BIGINT) * 1000000 AS open_us
  FROM sent WHERE draw(i, k, 8) < 0.3
),
activity AS (
  SELECT w, k, who, 'open' AS action, sent_us + 2000000 + draw_int(i, k, 9, 30) * 1000000 AS occurred_us, '' AS url,
    -1 AS ip FROM sent WHERE nature < 42
  UNION ALL
  SELECT w, k, who, 'open', open_us, '', who FROM human
  UNION ALL
  SELECT w, k, who, 'click', open_us + 20000000 + draw_int(i, k, 10, 600) * 1000000,
    'https://example.org/' || draw_int(i, k, 11, {links}), who FROM human WHERE draw(i, k, 12) < 0.2
  UNION ALL
  SELECT w, k, who, 'click', sent_us + (2 + link) * 1000000, 'https://example.org/' || link, -1 - who % 50
  FROM sent, range({links}) AS r(link) WHERE nature >= 98
)
SELECT 'flow' || w || '-' || k AS campaign_id, who AS subscriber_key, action, occurred_us, url,
  CAST(NULL AS VARCHAR) AS bounce_kind, ip AS ip_key, FALSE AS is_image_proxy, FALSE AS is_bot
FROM activity""",
    "open_details": """
SELECT 'flow' || w || '-' || k AS campaign_id, who AS subscriber_key,
  at_us + 62000000 + draw_int(i, k, 9, 30) * 1000000 AS occurred_us, TRUE AS is_proxy_open
FROM visit WHERE draw(i, k, 6) >= 0.02 AND nature < 42""",
    "unsubscribes": """
SELECT 'flow' || w || '-' || k AS campaign_id, who AS subscriber_key,
  at_us + 3660000000 + draw_int(i, k, 13, 36000) * 1000000 AS occurred_us, CAST(NULL AS VARCHAR) AS reason
FROM visit WHERE draw(i, k, 14) < 0.004""",
    "abuse_reports": """
SELECT 'flow' || w || '-' || k AS campaign_id, who AS subscriber_key,
  at_us + 3660000000 + draw_int(i, k, 15, 36000) * 1000000 AS occurred_us
FROM visit WHERE draw(i, k, 16) < 0.0002""",
    "events": """
WITH told AS (
  SELECT 's' || i || '-' || k AS event_id, at_us AS occurred_us, 'step_entered' AS event_type, who, w, k FROM visit
  UNION ALL
  SELECT 'x' || i, at_us + 7200000000, 'exit', who, w, NULL FROM visit
  WHERE k = depth - 1 AND (depth = steps_of(w) OR draw(i, 0, 17) < 0.5)
  UNION ALL
  SELECT 'v' || i || '-' || k, at_us + draw_int(i, k, 18, 86400) * 1000000, 'visit', who, NULL, NULL FROM visit
  WHERE draw(i, k, 19) < 0.25
  UNION ALL
  SELECT 'p' || i || '-' || k, at_us + draw_int(i, k, 20, 172800) * 1000000, 'purchase', who, NULL, NULL FROM visit
  WHERE draw(i, k, 21) < 0.015
)
SELECT event_id, occurred_us, event_type, who AS subscriber_key, 'flow' || w AS workflow_id, 'step' || k AS step_id,
  CASE WHEN event_type = 'purchase' THEN 'order-' || event_id END AS order_id,
  CASE WHEN event_type = 'purchase' THEN CAST(1000 + hash(event_id) % 9000 AS BIGINT) END AS revenue_cents,
  CASE WHEN event_type = 'purchase' THEN 'USD' END AS currency, CAST(NULL AS VARCHAR) AS plan,
  CASE WHEN event_type = 'exit' THEN 'completed' END AS reason, CAST(NULL AS VARCHAR) AS next_step_id,
  CAST(NULL AS BIGINT) AS assigned_delay_hours, CAST(NULL AS BOOLEAN) AS is_delay_randomised, '{{}}' AS properties
FROM told""",
}  # fmt: skip
INSTANTS = {"sends": "sent_us"}


def write_lake(scale: Scale, root: Path, threads: int = 2) -> int:
    """Write the account's lake below `root` and return its number of rows."""
    rows = 0
    months = 12
    with duckdb.connect(config={"threads": threads, "memory_limit": "3GiB"}) as connection:
        connection.execute(MACROS)
        for month in range(months):
            low, high = (scale.journeys * part // months for part in (month, month + 1))
            _execute(connection, JOURNEYS, scale, low=low, high=high)
            for name, select in TABLES.items():
                rows += _write_table(connection, name, select, scale, root, month)
        _write_links(connection, root)
    return rows


def _write_table(
    connection: duckdb.DuckDBPyConnection, name: str, select: str, scale: Scale, root: Path, month: int
) -> int:
    instant = INSTANTS.get(name, "occurred_us")
    last_us = (day_number(FIRST_DAY) + scale.days) * 86_400_000_000
    day = f"CAST({instant} // 86400000000 AS INTEGER)"
    sql = f"""
COPY (
  SELECT rows.*, CAST({day} AS BIGINT) AS as_of_day, strftime(DATE '1970-01-01' + {day}, '%Y-%m-%d') AS day
  FROM ({_fill(select, scale)}) AS rows WHERE {instant} < {last_us} ORDER BY day
) TO '{root / name}' (FORMAT parquet, COMPRESSION zstd, PARTITION_BY (day), OVERWRITE_OR_IGNORE,
  FILENAME_PATTERN 'month{month:02d}_{{i}}')"""
    return int(connection.execute(sql).fetchall()[0][0])


def _write_links(connection: duckdb.DuckDBPyConnection, root: Path) -> None:
    folder = root / "click_details" / f"day={FIRST_DAY.isoformat()}"
    folder.mkdir(parents=True)
    connection.execute(f"""
COPY (
  SELECT 'flow' || w || '-' || k AS campaign_id, 'link' || link AS link_id, 'https://example.org/' || link AS url,
    CAST(0 AS BIGINT) AS total_clicks, CAST(0 AS BIGINT) AS unique_clicks,
    CAST({day_number(FIRST_DAY)} AS BIGINT) AS as_of_day
  FROM range({WORKFLOWS}) AS a(w), range(8) AS b(k), range({LINKS}) AS c(link) WHERE k < steps_of(w)
) TO '{folder / "links.parquet"}' (FORMAT parquet)""")


def _execute(connection: duckdb.DuckDBPyConnection, sql: str, scale: Scale, **more: int) -> None:
    connection.execute(_fill(sql, scale, **more))


def _fill(sql: str, scale: Scale, **more: int) -> str:
    return sql.format(
        journeys=scale.journeys,
        entrants=scale.entrants,
        spread=SPREAD,
        workflows=WORKFLOWS,
        links=LINKS,
        first_us=day_number(FIRST_DAY) * 86_400_000_000,
        span_us=scale.days * 86_400_000_000,
        **more,
    )


def dimensions(scale: Scale) -> dict[type[Table], pl.DataFrame]:
    """The account's flows, steps, transitions, subscribers and zones."""
    flows = [(w, 3 + w % 6) for w in range(WORKFLOWS)]
    workflows = pl.DataFrame(
        [
            {
                "workflow_key": w + 1, "workflow_id": f"flow{w}", "name": f"Flow {w}", "kind": "flow", "priority": w,
                "goal_event_type": "purchase" if w % 2 else None, "status": "active", "definition_version": "1",
            }
            for w, _ in flows
        ]
    )  # fmt: skip
    steps = pl.DataFrame(
        [
            {
                "step_key": 1000 + w * 10 + k, "workflow_key": w + 1, "workflow_id": f"flow{w}", "step_id": f"step{k}",
                "position": k + 1, "name": f"Step {k}", "kind": "email", "campaign_id": f"flow{w}-{k}",
                "status": "active",
            }
            for w, count in flows
            for k in range(count)
        ]
    )  # fmt: skip
    edges = pl.DataFrame(
        [
            {
                "workflow_key": w + 1, "from_step_key": 1000 + w * 10 + k, "to_step_key": 1001 + w * 10 + k,
                "delay_version": 1, "delay_hours": 24 + 12 * (w % 3), "grace_hours": 48, "valid_from_us": -(2**61),
                "valid_to_us": 2**61, "is_default": True, "edge_source": "map", "observed_people": None,
            }
            for w, count in flows
            for k in range(count - 1)
        ]
    )  # fmt: skip
    key = pl.int_range(1, scale.subscribers + 1, eager=True)
    day_us = 86_400_000_000
    subscribers = pl.DataFrame({"subscriber_key": key}).with_columns(
        status=pl.lit("subscribed"),
        zone=pl.col("subscriber_key").mod(len(ZONES)).replace_strict(dict(enumerate(ZONES)), return_dtype=pl.String),
        zone_source=pl.lit("member"),
        signup_us=(day_number(FIRST_DAY - timedelta(days=365)) + pl.col("subscriber_key").mod(700)) * day_us,
        first_purchase_us=pl.when(pl.col("subscriber_key") % 3 == 0).then(
            (day_number(FIRST_DAY) + pl.col("subscriber_key").mod(300)) * day_us
        ),
        plan=pl.col("subscriber_key").mod(4).replace_strict({0: None, 1: "free", 2: "team", 3: "scale"}),
        merge_fields=pl.lit("{}"),
        tags=pl.lit("[]"),
    )
    offsets = zone_offsets(ZONES, FIRST_DAY - timedelta(days=1), FIRST_DAY + timedelta(days=2 * DAYS))
    frames = {
        core.CoreWorkflows: workflows, core.CoreSteps: steps, core.CoreEdges: edges,
        core.CoreSubscribers: subscribers, core.CoreZoneOffsets: offsets,
    }  # fmt: skip
    return {model: conform(frame, model) for model, frame in frames.items()}


def write_dimensions(connection: duckdb.DuckDBPyConnection, frames: dict[type[Table], pl.DataFrame]) -> None:
    """Write the dimension tables into a working file."""
    connection.execute("CREATE SCHEMA IF NOT EXISTS core")
    for model, frame in frames.items():
        connection.register("incoming", frame)
        connection.execute(f"CREATE OR REPLACE TABLE {identity(model).qualified_name} AS SELECT * FROM incoming")
        connection.unregister("incoming")
