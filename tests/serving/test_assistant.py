"""What an assistant sees: the SDK's own client asks the server, in memory and over a real subprocess."""

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult

from pipeline.optimizations.approval_policy import ApprovalPolicy
from pipeline.optimizations.ledger import open_ledger
from pipeline.serving.assistant import build_server
from pipeline.settings import Settings
from tests.optimizations.conftest import proposal
from tests.worlds.publication import publish_all
from tests.worlds.published import row

TOOLS = {"morning_digest", "list_tables", "describe_table", "query", "pending_records", "record"}
COMMAND = "from pipeline.cli.main import main; main()"
Question = tuple[str, Mapping[str, Any]]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """An account with a publication and one proposal."""
    folder = tmp_path_factory.mktemp("account")
    funnel = row("funnel", workflow_id="welcome", from_step_id="hello", to_step_id="tips", entrants=9)
    publish_all(folder, {"workflows": row("workflows", workflow_id="welcome", name="Welcome"), "funnel": funnel})
    settings = Settings(data_dir=folder, _env_file=None)
    with open_ledger(settings) as ledger:
        made = proposal(evidence={"summary": "Forty-eight hours convert best.", "chart": {"mark": "line"}})
        ledger.propose([made], now=datetime.now(UTC), approval_policy=ApprovalPolicy())
    return settings


def answers(server: Any, *questions: Question) -> list[CallToolResult]:
    """What a client hears that asks one question after the other."""

    async def ask() -> list[CallToolResult]:
        async with Client(server) as client:
            return [await client.call_tool(name, dict(arguments)) for name, arguments in questions]

    return anyio.run(ask)


def told(answer: CallToolResult) -> Any:
    """The content of an answer that is no error."""
    assert not answer.is_error, answer.content
    found = answer.structured_content or {}
    return found.get("result", found)


def words(answer: CallToolResult) -> str:
    """The message of an error."""
    assert answer.is_error
    return str(answer.content[0].text)  # type: ignore[union-attr]


def test_every_tool_reads_only_and_none_decides(settings: Settings) -> None:
    async def ask() -> Any:
        async with Client(build_server(settings)) as client:
            return (await client.list_tools()).tools

    tools = anyio.run(ask)
    assert {tool.name for tool in tools} == TOOLS
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools)


def test_tables_are_found_described_and_queried(settings: Settings) -> None:
    listed, described, found = answers(
        build_server(settings),
        ("list_tables", {}),
        ("describe_table", {"name": "v_funnel"}),
        ("query", {"sql": "SELECT workflow_name, to_step_id, entrants FROM v_funnel"}),
    )
    names = {table["name"] for table in told(listed)}
    assert {"funnel", "v_funnel", "optimizations"} <= names
    assert all(table["meaning"] for table in told(listed))
    assert [column["name"] for column in told(described)][:3] == ["workflow_name", "from_step_name", "to_step_name"]
    assert all(column["meaning"] for column in told(described))
    assert told(found) == {
        "columns": ["workflow_name", "to_step_id", "entrants"], "rows": [["Welcome", "tips", 9]], "is_cut": False,
    }  # fmt: skip


def test_refusals_reach_the_assistant_in_words(settings: Settings) -> None:
    unknown, wicked, nobody = answers(
        build_server(settings),
        ("describe_table", {"name": "members"}),
        ("query", {"sql": "SELECT * FROM read_text('/etc/passwd')"}),
        ("record", {"optimization_id": "nobody"}),
    )
    assert "There is no table 'members'" in words(unknown)
    assert "disabled by configuration" in words(wicked)
    assert "There is no record 'nobody'" in words(nobody)


def test_proposals_are_told_with_evidence_and_history_and_without_drawings(settings: Settings) -> None:
    (waiting,) = answers(build_server(settings), ("pending_records", {}))
    [short] = told(waiting)
    assert short["because"] == "Forty-eight hours convert best."
    (whole,) = answers(build_server(settings), ("record", {"optimization_id": short["optimization_id"]}))
    assert told(whole)["proposal"]["evidence"] == {"summary": "Forty-eight hours convert best."}
    assert [event["what"] for event in told(whole)["history"]] == ["proposed"]


def test_the_command_serves_a_real_client_over_standard_input_and_output(settings: Settings, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DRIPTUNE_")}
    environment |= {"DRIPTUNE_DATA_DIR": str(settings.data_dir)}
    server = StdioServerParameters(
        command=sys.executable, args=["-c", COMMAND, "mcp"], env=environment, cwd=str(tmp_path)
    )
    digest, counted = answers(server, ("morning_digest", {}), ("query", {"sql": "SELECT count(*) FROM v_funnel"}))
    assert told(digest)[0].startswith("The morning after 2026-06-29")
    assert "1 proposal waits" in json.dumps(told(digest))
    assert told(counted)["rows"] == [[1]]
