"""The agent against its own OpenAPI document: thousands of requests, sensible and not, and each answer as declared."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from starlette.routing import Route

from tests.contract.agent_at_work import KEY, AgentProcess, agent_process, write_main
from vm_agent.app import PARTS, make_face
from vm_agent.document import document

# What another address costs is 412 after four seconds of waiting: here, at once.
HASTY = "from vm_agent import policy; policy.EGRESS_SECONDS = 0.05; from vm_agent.__main__ import main; main()"
CONFIG = """
seed = 20
[generation]
max-examples = 4
database = "none"
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "404", "409", "412", "413", "422", "429", "500"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "404", "405", "409", "412", "413", "422", "429"]
[[operations]]  # the plain form: 500, as JSON and not as a problem, says that the job failed
include-path-regex = "^/(run|test)$"
include-method = "GET"
[operations.checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "500"]
"""


def agent_at(folder: Path) -> Any:
    """An agent whose jobs find no program by its name: some jobs in these requests are commands."""
    write_main(folder, "def run(): return 1\ndef test(): return 2")
    return agent_process(folder, program=("-c", HASTY), PATH="/nonexistent", MAYFLY_STOP_GRACE_SECONDS="0.1")


async def schemathesis(folder: Path, agent: AgentProcess, *options: str) -> str:
    """What it says at its end. Any failure is one of the test's."""
    (folder / "openapi.json").write_text(json.dumps(document(make_face())))
    (folder / "schemathesis.toml").write_text(CONFIG)
    program = Path(sys.executable).with_name("schemathesis")
    command = [
        program,
        "--config-file",
        "schemathesis.toml",
        "run",
        "openapi.json",
        "--url",
        str(agent.client.base_url),
    ]
    bounds = ["--request-timeout", "30", "--no-color", "--warnings", "off"]
    done = await asyncio.to_thread(  # what the agent says meanwhile must be read
        partial(subprocess.run, [*command, *bounds, *options], capture_output=True, text=True, timeout=300, cwd=folder)
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr
    assert "14 selected / 14 total" in done.stdout
    assert "Tested: 14" in done.stdout
    return done.stdout


def accepted(folder: Path) -> int:
    """How many runs the ledger has."""
    with sqlite3.connect(folder / "state" / "ledger.db") as ledger:
        return int(ledger.execute("SELECT count(*) FROM runs").fetchone()[0])


async def test_with_credentials_the_agent_answers_as_its_document_says_and_never_makes_a_mistake(
    tmp_path: Path,
) -> None:
    async with agent_at(tmp_path) as agent:
        await schemathesis(tmp_path, agent, "-H", f"X-API-Key: {KEY}", "--phases", "coverage,fuzzing,stateful")
        assert (await agent.client.get("/")).json()["status"] == "ok"
    assert accepted(tmp_path) > 0


async def test_without_credentials_nothing_has_any_effect(tmp_path: Path) -> None:
    async with agent_at(tmp_path) as agent:
        await schemathesis(tmp_path, agent, "--phases", "coverage,fuzzing")
        greeting = (await agent.client.get("/")).json()
    assert accepted(tmp_path) == 0
    assert (greeting["status"], greeting["run"], greeting["epoch"]) == ("ok", None, 0)


def test_the_document_names_every_path_that_there_is() -> None:
    api = document(make_face())
    told = {f"{method} {path}" for path, operations in api["paths"].items() for method in operations}
    routes = {
        f"{method.lower()} {route.path.replace(':anything', '')}"
        for part in PARTS
        for route in part.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    assert told == routes
    assert len(told) == 14
    assert json.dumps(api).count("application/problem+json") > 100
