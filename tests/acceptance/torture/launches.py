"""What Dagster can be asked for over GraphQL, by its own pages and by those of others."""

import json
import time

import dagster as dg

from pipeline.orchestration.jobs import apply_changes
from tests.acceptance.torture.foreign_pages import LAUNCHES
from tests.acceptance.torture.signed_in import APPROVER, Target, Victim
from tests.acceptance.torture.stolen import Attack

RUN_SECONDS = 300
FOREIGN, OWN, TEXT = "forged", "own", "launchpad"
UNFINISHED = {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING,
              dg.DagsterRunStatus.STARTED}  # fmt: skip


def launch(tag: str, config: object = None, **tags: str) -> str:
    """A mutation that starts the job that applies, with these run tags and this text of the launchpad."""
    told = ", ".join(f'{{key: "{key}", value: "{value}"}}' for key, value in {tag: "yes", **tags}.items())
    selector = f'repositoryLocationName: "driptune", repositoryName: "__repository__", jobName: "{apply_changes.name}"'
    return (
        f"mutation {{ launchRun(executionParams: {{selector: {{{selector}}}, runConfigData: "
        f"{json.dumps(json.dumps(config or {}))}, executionMetadata: {{tags: [{told}]}}}}) {{ __typename }} }}"
    )


def own_ways(victim: Victim) -> int:
    """Of two foreign pages' scripts, those that get what they want in a page of Dagster's own."""

    def has_run() -> bool:
        return bool(victim.runs(OWN))

    def script(name: str) -> str:
        page = LAUNCHES[name].removeprefix("<script>").removesuffix("</script>")
        return page.replace("$base", victim.base).replace("$launch", launch(OWN))

    victim.runs_script(script("mutation as JSON"), has_run)
    has_launched = has_run()
    return has_launched + (victim.runs_script(script("mutation over a websocket"), lambda: False) > 0)


def texts() -> list[tuple[str, Attack]]:
    """Texts that somebody is talked into pasting into the launchpad; they run, and decide nothing."""
    return [("tags of the launchpad", _by_tags), ("text of the launchpad", _by_config)]


def _by_tags(victim: Victim, target: Target) -> bool:
    _send(victim, launch(TEXT, approve=target.record_id, actor=APPROVER, decision="approve", user=APPROVER))
    _end(victim)
    return False


def _by_config(victim: Victim, target: Target) -> bool:
    decision = {"config": {"approve": target.record_id, "actor": APPROVER}}
    for config in ({"ops": {"write_changes": decision}}, {"resources": {"ledger": decision, "settings": decision}}):
        _send(victim, launch(TEXT, config))
    _end(victim)
    return False


def _send(victim: Victim, mutation: str) -> None:
    answer = victim.send("POST", "/graphql", body=json.dumps({"query": mutation}), Content_Type="application/json")
    if answer.status != 200:
        raise RuntimeError(f"Dagster's own launchpad got {answer.status}: {answer.body[:500]}")


def _end(victim: Victim) -> None:
    deadline = time.monotonic() + RUN_SECONDS
    while not victim.runs(TEXT) or any(run.status in UNFINISHED for run in victim.runs(TEXT)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"A run of the launchpad did not end within {RUN_SECONDS} s.")
        time.sleep(1)
