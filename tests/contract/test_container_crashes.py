"""Whoever is killed, a container is seen gone before anybody says how its run ended: on a real Docker Engine."""

import asyncio
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.contract.agent_at_work import AgentProcess, agent_process, finished, result_of, start
from tests.contract.contained import an_agent_with, until_it_says, without_dockers_client
from tests.engines import TestEngine, an_engine, script

FOREVER = script("trap '' TERM; echo at work; while true; do sleep 1; done")


def an_agent(engine: TestEngine, folder: Path, **environment: str) -> AbstractAsyncContextManager[AgentProcess]:
    (folder / "app").mkdir(exist_ok=True)
    terms = {"MAYFLY_CONTAINER_PULL": "never", "MAYFLY_CONTAINER_NETWORK": "off"}
    return agent_process(folder, **engine.environment, **terms, **environment)


async def at_work(client: httpx.AsyncClient) -> dict[str, Any]:
    run = (await start(client, key="k", job=FOREVER)).json()
    await until_it_says(client, run["id"], "at work\n")
    return dict(run)


def processes_of(run: dict[str, Any], module: str) -> list[psutil.Process]:
    """Those that run this module of ours for this run."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if module in (words := process.info["cmdline"] or []) and words[-1].endswith(run["id"])
    ]


def inside(run: dict[str, Any]) -> list[psutil.Process]:
    """The processes in the container of this run."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("MAYFLY_CONTAINER_OF") == run["id"]:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


async def all_of_ours_are_killed_at_once(agent: AgentProcess, run: dict[str, Any]) -> None:
    ours = [psutil.Process(agent.process.pid), *processes_of(run, "vm_agent.runner")]
    for process in ours:
        process.suspend()  # so that none sees the other die
    for process in ours:
        process.kill()
    await agent.process.wait()


async def test_an_agent_that_is_killed_takes_its_container_along(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent(engine, tmp_path) as agent:
        run = await at_work(agent.client)
        assert inside(run)
        await agent.kill()
    async with an_agent(engine, tmp_path) as agent:
        ended = (await agent.client.get(f"/runs/{run['id']}")).json()
        assert engine.left()["containers"] == []
        assert not inside(run)
        assert (ended["state"], ended["image"]) == ("INTERRUPTED", engine.api.inspect_image("box:1")["Id"])


async def test_when_all_of_ours_are_killed_at_once_the_next_agent_ends_the_container_first(
    engine: TestEngine, tmp_path: Path
) -> None:
    async with an_agent(engine, tmp_path) as agent:
        run = await at_work(agent.client)
        await all_of_ours_are_killed_at_once(agent, run)
    assert len(engine.left()["containers"]) == 1, "nobody was left to end it"
    async with an_agent(engine, tmp_path) as agent:
        assert engine.left()["containers"] == []
        assert (await agent.client.get(f"/runs/{run['id']}")).json()["state"] == "INTERRUPTED"


async def test_an_agent_that_has_lost_dockers_client_still_ends_what_runs_in_the_container(
    engine: TestEngine, tmp_path: Path
) -> None:
    async with an_agent(engine, tmp_path) as agent:
        run = await at_work(agent.client)
        await all_of_ours_are_killed_at_once(agent, run)
    assert inside(run)
    async with an_agent(engine, tmp_path, PYTHONPATH=str(without_dockers_client(tmp_path))) as agent:
        assert (await agent.client.get(f"/runs/{run['id']}")).json()["state"] == "INTERRUPTED"
        assert not inside(run)
    async with an_agent_with(engine, tmp_path, network=False) as client:
        assert (await result_of(client, job=script("true")))["state"] == "SUCCEEDED"
    assert engine.left()["containers"] == []


@pytest.mark.parametrize("module", ["vm_agent.runner", "vm_agent.containers"])
async def test_one_that_looked_after_it_is_killed(engine: TestEngine, tmp_path: Path, module: str) -> None:
    async with an_agent_with(engine, tmp_path, network=False) as client:
        run = await at_work(client)
        (process,) = processes_of(run, module)
        process.kill()
        ended = await finished(client, run["id"])
        assert ended["state"] == "INTERRUPTED"
        assert engine.left()["containers"] == []
        assert not inside(run)
        assert (await result_of(client, job=script("true")))["state"] == "SUCCEEDED"


async def test_a_container_that_somebody_else_removed_was_killed(engine: TestEngine, tmp_path: Path) -> None:
    async with an_agent_with(engine, tmp_path, network=False) as client:
        run = await at_work(client)
        engine.api.remove_container(f"mayfly-{run['id']}", force=True)
        ended = await finished(client, run["id"])
        assert (ended["state"], ended["failure"]["exit_code"]) == ("FAILED", 137)


async def test_an_engine_that_dies_under_a_run_leaves_it_interrupted_and_nothing_alive(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with an_engine(tmp_path_factory.mktemp("dying")) as engine:  # a short name: sockets are in it
        async with an_agent_with(engine, tmp_path, network=False) as client:
            run = await at_work(client)
            engine.kill_engine()
            ended = await finished(client, run["id"])
            assert ended["state"] == "INTERRUPTED"
            assert "the Docker Engine went away under the run" in ended["failure"]["detail"]
            assert not inside(run)
            assert (await result_of(client, job=script("true")))["state"] == "FAILED"


async def test_what_an_engine_kept_of_an_earlier_run_goes_with_the_next(engine: TestEngine, tmp_path: Path) -> None:
    labels = {"mayfly.run": "earlier", "mayfly.home": str(tmp_path / "state" / "runs")}
    engine.api.create_container("box:1", ["/bin/sh"], labels=labels)
    async with an_agent_with(engine, tmp_path) as client:
        assert (await result_of(client, job=script("true")))["state"] == "SUCCEEDED"
    assert engine.left()["containers"] == []


async def test_two_agents_of_one_engine_leave_each_others_containers_alone(engine: TestEngine, tmp_path: Path) -> None:
    one, two = an_agent_with(engine, tmp_path / "one", network=False), an_agent_with(engine, tmp_path / "two")
    async with one as client, two as other:
        run = await at_work(client)
        assert (await result_of(other, job=script("true")))["state"] == "SUCCEEDED"
        assert (await client.get(f"/runs/{run['id']}")).json()["state"] == "RUNNING"
        await client.post(f"/runs/{run['id']}/cancel")
        async with asyncio.timeout(60):
            assert (await finished(client, run["id"]))["state"] == "CANCELLED"
