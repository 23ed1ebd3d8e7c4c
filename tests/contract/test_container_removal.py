"""A container that Docker will not remove: its run ends all the same, and it goes when Docker can."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from tests.contract.agent_at_work import an_agent, at_work, finished, result_of, start
from tests.contract.contained import log_of
from tests.contract.stubborn_engine import BUSY, IMAGE, StubbornEngine, a_stubborn_engine
from vm_agent.containers.terms import Terms

JOB = {"image": "box:1"}
REFUSING = (500, 409)  # what Docker says while a mount of the container is busy, and while it still tries


@pytest.fixture
def stubborn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StubbornEngine]:
    """An engine that must have removed everything in the end."""
    with a_stubborn_engine(tmp_path_factory.mktemp("docker")) as engine:  # a short name: sockets are in it
        yield engine
        assert engine.containers == {}, "a container was forgotten"
        assert next(engine.refusals, None) is None, "a refusal never happened"


@asynccontextmanager
async def an_agent_of(engine: StubbornEngine, folder: Path, patience: float) -> AsyncIterator[httpx.AsyncClient]:
    (folder / "app").mkdir(exist_ok=True)
    terms = Terms(engine=engine.url, pull="never", network=False, removal_seconds=patience)
    async with asyncio.timeout(120), at_work(an_agent(folder, containers=terms)) as client:
        yield client


async def until(seen: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not seen():
            await asyncio.sleep(0.01)


def notes(folder: Path) -> list[Path]:
    return list(folder.glob("state/runs/*/container.json"))


async def test_a_removal_that_works_at_last_is_waited_for(stubborn: StubbornEngine, tmp_path: Path) -> None:
    stubborn.refusals = iter((*REFUSING, *REFUSING))
    async with an_agent_of(stubborn, tmp_path, patience=3600) as client:
        run = await result_of(client, job=JOB)
        assert (run["state"], run["result"], run["image"]) == ("SUCCEEDED", {"it": "worked"}, IMAGE)
        assert stubborn.containers == {}, "not finished before it is gone"
        assert notes(tmp_path) == []


async def test_what_the_job_did_counts_though_it_is_cancelled_while_docker_removes_its_container(
    stubborn: StubbornEngine, tmp_path: Path
) -> None:
    stubborn.refusals = cycle(REFUSING)
    async with an_agent_of(stubborn, tmp_path, patience=3600) as client:
        run = (await start(client, job=JOB)).json()
        await until(lambda: len(stubborn.refused) > 3)
        await client.post(f"/runs/{run['id']}/cancel")
        stubborn.refusals = iter(REFUSING)
        ended = await finished(client, run["id"])
        assert (ended["state"], ended["result"]) == ("SUCCEEDED", {"it": "worked"})


async def test_a_container_that_cannot_be_removed_holds_nobody_up_and_goes_with_a_later_run(
    stubborn: StubbornEngine, tmp_path: Path
) -> None:
    stubborn.refusals = cycle(REFUSING)
    async with an_agent_of(stubborn, tmp_path, patience=0.2) as client:
        for count in (1, 2):
            run = await result_of(client, job=JOB)
            assert (run["state"], run["result"]) == ("SUCCEEDED", {"it": "worked"}), await log_of(client, run)
            assert len(stubborn.containers) == count
            assert "it has ended, and is left for the next run in a container to remove\n" in await log_of(client, run)
        assert "mayfly: of an earlier run: " in await log_of(client, run)
        stubborn.refusals = iter(())
        assert (await result_of(client, job=JOB))["state"] == "SUCCEEDED"
        assert stubborn.containers == {}


async def test_what_could_not_be_removed_goes_as_the_agent_begins_again(
    stubborn: StubbornEngine, tmp_path: Path
) -> None:
    stubborn.refusals = cycle(REFUSING)
    async with an_agent_of(stubborn, tmp_path, patience=0) as client:
        assert (await result_of(client, job=JOB))["state"] == "SUCCEEDED"
    for still_there in (1, 0):
        assert len(notes(tmp_path)) == 1
        async with an_agent_of(stubborn, tmp_path, patience=3600):
            assert len(stubborn.containers) == still_there, "an agent waits for no container that has ended"
        stubborn.refusals = iter(())
    assert notes(tmp_path) == []


async def test_nothing_is_run_beside_an_earlier_container_that_still_runs(
    stubborn: StubbornEngine, tmp_path: Path
) -> None:
    stubborn.keep({"mayfly.run": "earlier", "mayfly.home": str(tmp_path / "state" / "runs")}, "running")
    stubborn.refusals = iter((500,))
    async with an_agent_of(stubborn, tmp_path, patience=0) as client:
        run = await result_of(client, job=JOB)
        assert (run["state"], run["failure"]["exit_code"]) == ("FAILED", 125)
        assert run["failure"]["detail"] == (
            f"a container of an earlier run still runs: cannot remove the container: {BUSY}"
        )
        assert (await result_of(client, job=JOB))["state"] == "SUCCEEDED"


async def test_one_that_still_runs_is_waited_for_however_long_docker_takes(
    stubborn: StubbornEngine, tmp_path: Path
) -> None:
    def refuse() -> Iterator[int]:
        """While it is said to run its run is not finished, whatever the patience."""
        for _ in range(4):
            for container in stubborn.containers.values():
                container.state = "running"
            yield 500

    stubborn.refusals = refuse()
    async with an_agent_of(stubborn, tmp_path, patience=0) as client:
        run = await result_of(client, job=JOB)
        assert (run["state"], len(stubborn.refused)) == ("SUCCEEDED", 4)
