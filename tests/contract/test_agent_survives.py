"""What is true after the agent was killed, asked to leave, or set up wrongly."""

import asyncio
import contextlib
import os
import signal
import sqlite3
import sys
from pathlib import Path

import httpx
import pytest

from tests.contract.agent_at_work import (
    agent_environment,
    agent_process,
    alive,
    an_agent,
    at_work,
    finished,
    ready,
    start,
    until_file,
    write_main,
)
from tests.contract.test_agent_jobs import STUBBORN
from vm_agent.ledger import Mark
from vm_agent.protocol import RunView, State


async def test_after_sigkill_of_the_agent_its_run_is_killed_to_the_last_process_then_interrupted(
    tmp_path: Path,
) -> None:
    write_main(tmp_path, STUBBORN)
    async with agent_process(tmp_path) as agent:
        run = (await start(agent.client, key="k")).json()
        wanderer = int(await until_file(tmp_path / "app" / "wanderer"))
        await agent.kill()
    async with agent_process(tmp_path) as agent:
        ended = await finished(agent.client, run["id"])
        assert not alive(wanderer), "it was seen gone before anything was said"
        assert ended["state"] == "INTERRUPTED"
        assert (await ready(agent.client)).json()["run"] is None
        again = await start(agent.client, key="k")
        assert (again.status_code, again.json()["state"]) == (200, "INTERRUPTED"), "the key is never run twice"
        (tmp_path / "app" / "wanderer").unlink()
        second = await start(agent.client, key="k", attempt=2)
        assert second.status_code == 202
        await until_file(tmp_path / "app" / "wanderer")
        await agent.client.post(f"/runs/{second.json()['id']}/cancel")
        await finished(agent.client, second.json()["id"])


async def test_when_agent_and_keeper_are_killed_at_once_the_next_agent_still_finds_the_grandchild(
    tmp_path: Path,
) -> None:
    write_main(tmp_path, STUBBORN)
    async with agent_process(tmp_path) as agent:
        run = (await start(agent.client)).json()
        wanderer = int(await until_file(tmp_path / "app" / "wanderer"))
        os.kill(agent.process.pid, signal.SIGSTOP)
        os.kill(await keeper_of(agent.process.pid), signal.SIGKILL)
        await agent.kill()
        assert alive(wanderer)
    async with at_work(an_agent(tmp_path)) as client:
        assert (await client.get(f"/runs/{run['id']}")).json()["state"] == "INTERRUPTED"
        assert not alive(wanderer)


async def test_a_job_does_not_outlive_its_agent_even_if_none_comes_back(tmp_path: Path) -> None:
    write_main(tmp_path, STUBBORN)
    async with agent_process(tmp_path) as agent:
        await start(agent.client, timeout_seconds=3600)
        wanderer = int(await until_file(tmp_path / "app" / "wanderer"))
        await agent.kill()
    async with asyncio.timeout(30):
        while alive(wanderer):
            await asyncio.sleep(0.05)


async def test_a_run_that_ended_while_the_agent_was_dead_keeps_its_own_end(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(): return 5")
    agent = an_agent(tmp_path)
    async with at_work(agent) as client:
        run = (await start(client)).json()
        await finished(client, run["id"])
        view = agent.runs.ledger.find(run["id"])
    forget_the_end(
        tmp_path / "state" / "ledger.db", view.model_copy(update={"state": State.RUNNING, "finished_at": None})
    )
    async with at_work(an_agent(tmp_path)) as client:
        again = (await client.get(f"/runs/{run['id']}")).json()
    assert (again["state"], again["result"]) == ("SUCCEEDED", 5)


async def test_a_stranger_that_was_given_the_recorded_pid_is_left_alone(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(): return 5")
    stranger = await asyncio.create_subprocess_exec("sleep", "3600")
    agent = an_agent(tmp_path)
    async with at_work(agent) as client:
        run = (await start(client)).json()
        await finished(client, run["id"])
        folder = agent.runs.folder_of(run["id"])
        (folder / "outcome.json").unlink()
        await agent.runs.processes.clear(folder, Mark(stranger.pid, "1", "boot-1"))
    assert stranger.returncode is None
    assert alive(stranger.pid)
    stranger.kill()
    await stranger.wait()


async def test_an_agent_that_is_asked_to_leave_ends_its_run_and_says_so(tmp_path: Path) -> None:
    write_main(
        tmp_path,
        """
        import time
        def run():
            try:
                open("begun", "w").write("yes")
                time.sleep(3600)
            finally:
                open("tidy", "w").write("yes")
        """,
    )
    async with agent_process(tmp_path) as agent:
        run = (await start(agent.client)).json()
        await until_file(tmp_path / "app" / "begun")
        waiting = asyncio.create_task(agent.client.get(f"/runs/{run['id']}", params={"wait": 60}))
        await agent.client.get("/")  # the waiting call is in by now
        agent.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(httpx.HTTPError):
            await waiting
        await agent.process.wait()
    assert (tmp_path / "app" / "tidy").exists()
    ledger = an_agent(tmp_path).runs.ledger
    assert ledger.find(run["id"]).state == "INTERRUPTED"
    ledger.close()


async def test_a_run_that_was_accepted_but_never_started_is_interrupted(tmp_path: Path) -> None:
    write_main(tmp_path, "def run(): open('begun', 'w').write('yes')")
    agent = an_agent(tmp_path)
    async with at_work(agent) as client:
        run = (await start(client)).json()
        await finished(client, run["id"])
        view = agent.runs.ledger.find(run["id"])
    (tmp_path / "app" / "begun").unlink()
    forget_the_end(
        tmp_path / "state" / "ledger.db", view.model_copy(update={"state": State.ACCEPTED, "finished_at": None})
    )
    async with at_work(an_agent(tmp_path)) as client:
        assert (await client.get(f"/runs/{run['id']}")).json()["state"] == "INTERRUPTED"
    assert not (tmp_path / "app" / "begun").exists()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"MAYFLY_API_KEY": " "}, "MAYFLY_API_KEY is not set"),
        ({"MAYFLY_AUTH": "id-token"}, "MAYFLY_CALLERS is not set, and MAYFLY_AUTH is id-token: nobody could call"),
        (
            {"MAYFLY_AUTH": "id-token", "MAYFLY_CALLERS": "a@x.org"},
            "MAYFLY_AUTH=id-token is for a VM of Compute Engine: set MAYFLY_AUTH=api-key elsewhere",
        ),
        ({"AGENT_PORT": "http"}, "AGENT_PORT is 'http'"),
        ({"GCE_METADATA_HOST": "127.0.0.1:1"}, "the metadata server does not tell nic0's address"),
    ],
)
async def test_an_agent_that_is_set_up_wrongly_does_not_start(
    tmp_path: Path, changes: dict[str, str], complaint: str
) -> None:
    environment = {**os.environ, **agent_environment(tmp_path), **changes}
    code, said = await said_by(environment, *(["--host", "127.0.0.1"] if "GCE_METADATA_HOST" not in changes else []))
    assert code == 2
    assert complaint in said


async def test_two_agents_do_not_share_a_ledger(tmp_path: Path) -> None:
    async with agent_process(tmp_path):
        code, said = await said_by({**os.environ, **agent_environment(tmp_path)}, "--host", "127.0.0.1", "--port", "0")
    assert code == 2
    assert "another agent is at work" in said


async def said_by(environment: dict[str, str], *arguments: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "vm_agent", *arguments, env=environment, stderr=asyncio.subprocess.PIPE
    )
    _, said = await process.communicate()
    return process.returncode, said.decode()


async def keeper_of(agent: int) -> int:
    """The keeper's pid, from the kernel's list of the agent's children."""
    tasks = Path(f"/proc/{agent}/task").iterdir()
    children = [int(pid) for task in tasks for pid in (task / "children").read_text().split()]
    return next(pid for pid in children if b"vm_agent.runner" in Path(f"/proc/{pid}/cmdline").read_bytes())


def forget_the_end(ledger: Path, view: RunView) -> None:
    """Make the ledger what it was when the agent died."""
    with contextlib.closing(sqlite3.connect(ledger)) as db, db:
        db.execute(
            "UPDATE runs SET state = ?, live = 1, view = ? WHERE id = ?", (view.state, view.model_dump_json(), view.id)
        )
