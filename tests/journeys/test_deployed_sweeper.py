"""The sweeper as a deploy leaves it: in its own process, as its own account, it asks agents whether a run is alive."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from gcp_emulator.containers import Processes
from gcp_emulator.seed import PERSON
from mayfly.deploy.startup import startup_script
from mayfly.deploy.vm_body import attributes
from tests.journeys.deploying import Project, a_project
from tests.journeys.lab import API_KEY, CHECKOUT, Lab, starts_the_agent
from tests.journeys.sweeping import all_is_given_back, killed_at, run_out

JOBS = "v2/projects/demo/locations/us-central1/jobs"


@pytest.mark.parametrize("auth", ["id-token", "api-key"])
async def test_what_an_orchestrator_left_on_after_its_job_is_off_after_the_deployed_sweepers_next_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: str
):
    tasks = Processes((sys.executable, str(CHECKOUT / "tests" / "journeys" / "hasty.py")))
    seen = [CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)]
    async with a_project(tmp_path, monkeypatch, containers=tasks, readable=seen) as project:
        await deploy_with_an_agent(project, auth)
        lab = Lab(project.emulator)
        await killed_at(lab, "stop", auth=auth)
        await run_out(lab)
        assert (await lab.vm())["status"] == "RUNNING"
        execution = await swept(project)
        assert execution.get("succeededCount") == 1, project.emulator.history()[-20:]
        assert await all_is_given_back(lab)
        await project.all_is_well()


async def deploy_with_an_agent(project: Project, auth: str) -> None:
    """The agent obeys whom the deploy says; only that it is there at once, for startup.sh takes half a minute."""
    vm = {"machine_type": "e2-medium", "callers": [PERSON]}
    common: dict[str, Any] = {"auth": auth, "job": {}, "schedule": [], "sweep": {"every": "1d"}}
    project.describe(**common, vm=vm)
    callers = attributes(project.config(), startup_script())["mayfly-callers"]
    script = starts_the_agent(MAYFLY_AUTH=auth, MAYFLY_CALLERS=callers)
    project.describe(**common, vm={**vm, "metadata": {"startup-script": script}})
    await project.deploy(values={"mayfly-agent-key": API_KEY.encode()} if auth == "api-key" else {})


async def swept(project: Project) -> dict[str, Any]:
    """As a tick starts it; the execution, once it is over."""
    await project.post(f"{JOBS}/mayfly-sweep:run", {})
    async with asyncio.timeout(240):
        while True:
            [execution] = (await project.ask(f"{JOBS}/mayfly-sweep/executions"))["executions"]
            if "completionTime" in execution:
                return dict(execution)
            await asyncio.sleep(0.1)
