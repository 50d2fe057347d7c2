"""`driptune mcp`: what an assistant may ask, by the Model Context Protocol. It reads, and decides nothing.

Tables, views and their meanings come from the published file, records from the ledger. There is no tool that approves,
rejects, applies or changes anything, and none that names a person: the published tables hold no address.
"""

from collections.abc import Callable
from functools import wraps
from importlib.metadata import version
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

from pipeline.common.errors import DriptuneError
from pipeline.operations.after_publication import digest_lines
from pipeline.optimizations.ledger import open_ledger
from pipeline.optimizations.record import Record
from pipeline.published.queries import ask
from pipeline.schemas.vocabulary import RecordStatus as Status
from pipeline.settings import Settings

INSTRUCTIONS = """driptune measures the automated e-mail of a Mailchimp account every night. Start with morning_digest.
For figures, call list_tables, then describe_table, then query. Prefer the views (v_steps, v_funnel, ...): they hold the
names that people know. A rate x_rate comes with its interval, x_rate_low to x_rate_high: tell it, and do not call a
difference real whose intervals overlap much. Rows with is_mature = false still move. Tables with a column "window" have
a row for each of several windows: filter on one. You cannot decide about proposals: a person does, in the inbox."""
READ_ONLY = ToolAnnotations(read_only_hint=True, destructive_hint=False, open_world_hint=False)
MOST_ROWS = 200
ALL = 10_000
"""More tables and columns than there are."""


def build_server(settings: Settings) -> MCPServer:
    """The server with its tools; `run()` serves it over standard input and output."""
    server = MCPServer("driptune", version=version("driptune"), instructions=INSTRUCTIONS, log_level="WARNING")
    for tool in _tools(settings):
        server.add_tool(_telling(tool), annotations=READ_ONLY)
    return server


def _tools(settings: Settings) -> list[Callable[..., Any]]:
    def asked(sql: str) -> list[dict[str, Any]]:
        answer = ask(settings.published_dir, sql, most_rows=ALL)
        return [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]

    def morning_digest() -> list[str]:
        """The last night in about ten lines: mail, drop-off, alarms, tests, people who are stuck, open decisions."""
        with open_ledger(settings) as ledger:
            return [line.strip() for line in digest_lines(settings, ledger)]

    def list_tables() -> list[dict[str, Any]]:
        """Every published table and view with what a row of it is. Views begin with v_ and hold names."""
        return asked(
            "SELECT view_name AS name, comment AS meaning FROM duckdb_views() WHERE schema_name = 'marts' UNION ALL "
            "SELECT table_name, comment FROM duckdb_tables() WHERE schema_name = 'marts' ORDER BY name"
        )

    def describe_table(name: str) -> list[dict[str, Any]]:
        """The columns of a table or view: name, type, and meaning with its unit."""
        found = asked(
            "SELECT table_name, column_name AS name, data_type AS type, comment AS meaning FROM duckdb_columns() "
            "WHERE schema_name = 'marts' ORDER BY table_name, column_index"
        )
        columns = [column for column in found if column.pop("table_name") == name]
        if not columns:
            raise ToolError(f"There is no table '{name}'. list_tables names them all.")
        return columns

    def query(sql: str, rows: int = MOST_ROWS) -> dict[str, Any]:
        """Answer one SELECT in DuckDB's dialect, with at most 200 rows. Quote "window", "table" and "column"."""
        answer = ask(settings.published_dir, sql, most_rows=max(1, min(rows, MOST_ROWS)))
        return {"columns": answer.columns, "rows": answer.rows, "is_cut": answer.is_cut}

    def pending_records() -> list[dict[str, Any]]:
        """The proposals that wait for a person's decision, the largest expected gain first."""
        with open_ledger(settings) as ledger:
            records = ledger.records(Status.PENDING)
        return [_in_short(one) for one in sorted(records, key=lambda one: -(one.proposal.expected_gain or 0))]

    def record(optimization_id: str) -> dict[str, Any]:
        """One proposal with its evidence and its history. A person decides about it, in the inbox."""
        with open_ledger(settings) as ledger:
            found, events = ledger.record(optimization_id), ledger.history(optimization_id)
        told = found.model_dump(mode="json")
        told["proposal"]["evidence"].pop("chart", None)
        told["history"] = [
            {"at": event.occurred_at.isoformat(), "what": event.event_type, "by": event.actor} for event in events
        ]
        return told

    return [morning_digest, list_tables, describe_table, query, pending_records, record]


def _in_short(record: Record) -> dict[str, Any]:
    made = record.proposal
    return {
        "optimization_id": record.optimization_id,
        "title": made.title,
        "kind": made.kind,
        "risk": made.risk,
        "because": made.evidence.get("summary"),
        "expected_lift": made.expected_lift,
        "expected_conversions_in_four_weeks": made.expected_gain,
        "lapses": record.expires_at.date().isoformat(),
    }


def _telling(tool: Callable[..., Any]) -> Callable[..., Any]:
    """The tool with the messages of expected errors told to the assistant, which else hears only that it failed."""

    @wraps(tool)
    def told(*arguments: Any, **named: Any) -> Any:
        try:
            return tool(*arguments, **named)
        except DriptuneError as error:
            raise ToolError(str(error)) from None

    return told
