"""From a trigger to a VM that is off: the real orchestrator as a task of Cloud Run, started by a tick or a request.

Nothing but the wire is emulated: a tick is a request of the scheduler's account, its execution starts the orchestrator
as a process with the container's environment, which reads its tokens from its own metadata server.
"""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.containers import Processes
from gcp_emulator.seed import ProjectSeed, caller_email
from tests.contract.cloud_run import CloudRun
from tests.journeys.lab import CHECKOUT, Lab, a_lab, a_world
from tests.journeys.test_run_key import accepted

ORCHESTRATOR, SCHEDULER = caller_email("demo"), "mayfly-scheduler@demo.iam.gserviceaccount.com"
SCHEDULES = "/v1/projects/demo/locations/us-central1/jobs"
RUN = "https://run.googleapis.com/v2/projects/demo/locations/us-central1/jobs/mayfly:run"
SETTINGS = {
    "PROJECT_ID": "demo",
    "ZONE": "us-central1-a",
    "INSTANCE": "gpu-vm",
    "STATIC_NAME": "gpu-ip",
    "TIMEOUT": "5m",
}
MAY = {
    "roles/owner": (f"serviceAccount:{ORCHESTRATOR}",),
    "roles/run.jobsExecutorWithOverrides": (f"serviceAccount:{SCHEDULER}",),
}


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what processes bring about, however slow this machine is."""
    async with asyncio.timeout(240):
        while not holds():
            await asyncio.sleep(0.05)


class Deployed:
    """The job `mayfly` in a lab's cloud, and its schedule `nightly`."""

    def __init__(self, lab: Lab, run: CloudRun) -> None:
        self.lab, self.run = lab, run

    async def job(self, *arguments: str, retries: int = 0, task_timeout: str = "600s", **settings: str) -> None:
        env = [{"name": name, "value": value} for name, value in (SETTINGS | settings).items()]
        container = {"image": "mayfly", "args": list(arguments), "env": env}
        await self.run.job(container, serviceAccount=ORCHESTRATOR, maxRetries=retries, timeout=task_timeout)

    async def schedule(self, *arguments: str) -> None:
        """Let the job be run with these arguments at nine each morning."""
        body = {"overrides": {"containerOverrides": [{"args": list(arguments)}]}} if arguments else {}
        target = {
            "uri": RUN,
            "body": base64.b64encode(json.dumps(body).encode()).decode(),
            "oauthToken": {"serviceAccountEmail": SCHEDULER},
        }
        nightly = {"name": f"{SCHEDULES.removeprefix('/v1/')}/nightly", "schedule": "0 9 * * *", "httpTarget": target}
        await self.run.post(SCHEDULES, nightly)

    async def tick(self) -> None:
        await self.run.post(f"{SCHEDULES}/nightly:run", {})

    async def over(self, count: int = 1) -> list[dict[str, Any]]:
        """The executions, oldest first, once so many are over."""
        job = "/v2/projects/demo/locations/us-central1/jobs/mayfly"
        await until(lambda: len(self._ended()) >= count)
        executions: list[dict[str, Any]] = (await self.run.get(f"{job}/executions"))["executions"]
        assert len(executions) == count
        return executions[::-1]

    def _ended(self) -> list[dict[str, Any]]:
        entries = [entry for entry in self.lab.emulator.history() if entry["kind"] == "state"]
        executions = [entry for entry in entries if entry["resource"].startswith("executions/")]
        return [entry for entry in executions if entry["to"] in {"SUCCEEDED", "FAILED", "CANCELLED"}]

    @property
    def attempts(self) -> list[tuple[int, int | None, int | None]]:
        """Attempt, exit code and signal of everything that ended."""
        entries = [entry for entry in self.lab.emulator.history() if entry["kind"] == "task"]
        ended = [entry for entry in entries if entry["event"] not in {"started", "timeout"}]
        return [(entry["attempt"], entry.get("exit_code"), entry.get("signal")) for entry in ended]

    async def receipts(self) -> list[dict[str, Any]]:
        """What the attempts printed at their end, oldest first."""
        return [said for said in await self.run.log() if isinstance(said, dict) and "run_key" in said]

    def starts(self) -> int:
        return len(self.lab.requests("instances.start"))

    async def came_down(self) -> None:
        """The VM is off, and its address is nobody's."""
        assert (await self.lab.vm())["status"] == "TERMINATED"
        assert (await self.lab.address())["status"] == "RESERVED"

    async def stopped(self) -> None:
        """After SIGTERM the stop was sent; the rest may be owed, if ten seconds did not suffice."""
        await until(lambda: self.lab.states()[-1:] == ["TERMINATED"])
        [receipt] = await self.receipts()
        assert receipt["exit_code"] == 143
        if receipt["cleanup"] == "confirmed":
            await self.came_down()


@asynccontextmanager
async def deployed(folder: Path) -> AsyncIterator[Deployed]:
    world = replace(a_world(), projects=(ProjectSeed("demo", policy=MAY),))
    tasks = Processes((sys.executable, str(CHECKOUT / "tests" / "journeys" / "hasty.py")))
    async with (
        a_lab(folder, world, containers=tasks) as lab,
        httpx.AsyncClient(base_url=lab.emulator.url, timeout=60) as http,
    ):
        yield Deployed(lab, CloudRun(lab.emulator, http))
        await lab.all_is_well()


@pytest.fixture
async def mayfly(tmp_path: Path) -> AsyncIterator[Deployed]:
    async with deployed(tmp_path / "disks") as mayfly:
        yield mayfly


async def test_a_tick_runs_the_job_on_the_vm_which_is_off_afterwards(mayfly: Deployed):
    await mayfly.job("run", "main:run")
    await mayfly.schedule()
    await mayfly.tick()
    [execution] = await mayfly.over()
    assert execution.get("succeededCount") == 1, await mayfly.run.log()
    [receipt] = await mayfly.receipts()
    assert (receipt["exit_code"], receipt["result"], receipt["cleanup"]) == (0, {"order": "placed"}, "confirmed")
    assert receipt["run_key"].startswith(execution["name"].rpartition("/")[2])
    assert mayfly.attempts == [(0, 0, None)]
    assert accepted(mayfly.lab) == mayfly.starts() == 1
    await mayfly.came_down()


async def test_a_tick_rehearses_if_its_arguments_say_so(mayfly: Deployed):
    await mayfly.job("run", "main:run")
    await mayfly.schedule("test", "main:test")
    await mayfly.tick()
    await mayfly.over()
    [receipt] = await mayfly.receipts()
    assert (receipt["mode"], receipt["result"]) == ("test", {"order": "rehearsed"})
    await mayfly.came_down()


async def test_a_tick_that_is_delivered_twice_is_one_run(mayfly: Deployed):
    await mayfly.job("run", "main:run", ONCE_PER="1d")
    await mayfly.schedule()
    await mayfly.lab.inject(resource="*/jobs/nightly", tick_twice={"after": 0})
    await mayfly.tick()
    first, second = await mayfly.over(2)
    assert (first.get("succeededCount"), second.get("succeededCount")) == (1, 1), await mayfly.run.log()
    one, other = await mayfly.receipts()
    assert one["run_key"] == other["run_key"]
    assert one["result"] == other["result"] == {"order": "placed"}
    assert sorted(receipt["answered_from_memory"] for receipt in (one, other)) in ([False, True], [False, False])
    assert accepted(mayfly.lab) == mayfly.starts() == 1
    await mayfly.came_down()


async def test_a_scheduler_that_may_not_run_the_job_is_told_so_and_nothing_starts(mayfly: Deployed):
    await mayfly.job("run", "main:run")
    body = {"policy": {"bindings": [{"role": "roles/owner", "members": [f"serviceAccount:{ORCHESTRATOR}"]}]}}
    await mayfly.run.post("/v1/projects/demo:setIamPolicy", body)
    await mayfly.schedule()
    await mayfly.tick()
    status = (await mayfly.run.get(f"{SCHEDULES}/nightly"))["status"]
    assert status["code"] == 7
    assert "run.jobs.run" in status["message"]
    assert mayfly.attempts == []


async def test_a_job_that_fails_is_answered_from_memory_to_its_retries(mayfly: Deployed):
    await mayfly.job("run", "main:fail", retries=2)
    await mayfly.run.run()
    [execution] = await mayfly.over()
    assert (execution["failedCount"], execution["retriedCount"]) == (1, 2)
    assert mayfly.attempts == [(0, 1, None), (1, 1, None), (2, 1, None)]
    receipts = await mayfly.receipts()
    assert [receipt["answered_from_memory"] for receipt in receipts] == [False, True, True]
    assert accepted(mayfly.lab) == mayfly.starts() == 1
    await mayfly.came_down()


async def test_a_task_past_its_timeout_brings_the_vm_down_and_says_143(mayfly: Deployed):
    await mayfly.job("run", "main:for_ever", task_timeout="12s")
    await mayfly.run.run()
    [execution] = await mayfly.over()
    result = await mayfly.run.result(execution)
    assert result["status"]["message"] == "The configured timeout was reached."
    if mayfly.attempts[0][1] is None:  # told so before Python could heed
        assert mayfly.starts() == 0
    else:
        assert mayfly.attempts == [(0, 143, None)]
        await mayfly.stopped()


async def test_a_cancelled_execution_brings_the_vm_down(mayfly: Deployed):
    await mayfly.job("run", "main:for_ever", retries=3)
    operation = await mayfly.run.run()
    await until(lambda: accepted(mayfly.lab) == 1)
    await mayfly.run.post(f"/v2/{operation['metadata']['name']}:cancel", {})
    [execution] = await mayfly.over()
    assert execution["cancelledCount"] == 1
    assert mayfly.attempts == [(0, 143, None)]
    await mayfly.stopped()


@pytest.mark.parametrize("moment", ["instances.setMetadata", "instances.start", "instances.stop"])
async def test_a_killed_task_is_finished_by_its_retry(mayfly: Deployed, moment: str):
    await mayfly.job("run", "main:run", retries=1)
    await mayfly.lab.inject(on=moment, moment="after", kill_tasks={"job": "mayfly"})
    await mayfly.run.run()
    [execution] = await mayfly.over()
    assert execution.get("succeededCount") == 1, await mayfly.run.log()
    assert mayfly.attempts == [(0, None, 9), (1, 0, None)]
    assert accepted(mayfly.lab) == 1
    await mayfly.came_down()
