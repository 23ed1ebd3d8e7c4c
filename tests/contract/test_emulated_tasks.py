"""Tasks of Cloud Run jobs that really run: what is around them, and how they end."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import google.auth.transport.requests
import httpx
import pytest
from google.oauth2 import id_token

from gcp_emulator.containers import Docker
from gcp_emulator.emulator import Emulator
from gcp_emulator.knobs import Knobs
from gcp_emulator.seed import ProjectSeed, SecretSeed, Seed
from tests.contract.cloud_run import CloudRun, python
from tests.engines import TestEngine
from tests.tools import required_tool

ACCOUNT = "orchestrator@demo.iam.gserviceaccount.com"
DEFAULT = "123456789012-compute@developer.gserviceaccount.com"
READS = {"roles/secretmanager.secretAccessor": (f"serviceAccount:{DEFAULT}",)}
WORLD = Seed(projects=(ProjectSeed("demo", policy=READS),), secrets=(SecretSeed("key", versions=("correct horse",)),))
NAP = "import signal, time; "
HEEDS = f"{NAP}signal.signal(signal.SIGTERM, lambda *_: exit(143)); print('up', flush=True); time.sleep(600)"
HEEDS_NOT = f"{NAP}signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"


@pytest.fixture
async def run() -> AsyncIterator[CloudRun]:
    emulator = Emulator(seed=WORLD, knobs=Knobs(task_grace_seconds=0.2))
    async with emulator, httpx.AsyncClient(base_url=emulator.url) as http:
        yield CloudRun(emulator, http)
        assert [entry for entry in emulator.history() if entry["kind"] == "violation"] == []


async def test_a_task_has_the_containers_environment_the_ways_to_this_cloud_and_nothing_else(
    run: CloudRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the laptop's own")
    key = {"name": "KEY", "valueSource": {"secretKeyRef": {"secret": "key", "version": "latest"}}}
    prints = python("import json, os; print(json.dumps({'env': dict(os.environ), 'here': os.listdir()}))")
    await run.job(prints | {"env": [{"name": "ZONE", "value": "us-central1-a"}, key]})
    execution = await run.done(await run.run())
    [said] = await run.log()
    environment = said["env"]
    assert (environment["ZONE"], environment["KEY"], said["here"]) == ("us-central1-a", "correct horse", [])
    assert environment["CLOUD_RUN_EXECUTION"] == execution["name"].rpartition("/")[2]
    assert environment["COMPUTE_EMULATOR_HOST"] == run.emulator.host
    assert environment["GCE_METADATA_HOST"] not in {run.emulator.host, ""}
    assert "HOME" not in environment
    assert "AWS_SECRET_ACCESS_KEY" not in environment


async def test_a_task_is_the_jobs_own_account(run: CloudRun) -> None:
    text = """
import google.auth.transport.requests, google.oauth2.id_token as tokens, google.auth
request = google.auth.transport.requests.Request()
credentials, project = google.auth.default()
credentials.refresh(request)
print(credentials.service_account_email, project, credentials.token)
print(tokens.fetch_id_token(request, "an-agent"))
"""
    await run.job(python(text), serviceAccount=ACCOUNT)
    execution = await run.done(await run.run())
    assert execution.get("succeededCount") == 1, await run.log()
    said, token = await run.log()
    assert said == f"{ACCOUNT} demo ya29.emulated-{ACCOUNT}"
    certificates = f"{run.emulator.url}/oauth2/v1/certs"
    request = google.auth.transport.requests.Request()  # type: ignore[no-untyped-call]
    claims = await asyncio.to_thread(id_token.verify_token, token, request, "an-agent", certificates)
    assert claims["email"] == ACCOUNT


async def test_a_cancelled_task_hears_sigterm_and_is_not_tried_again(run: CloudRun) -> None:
    await run.job(python(HEEDS))
    operation = await run.run()
    await run.until_it_says("up")
    await run.post(f"/v2/{operation['metadata']['name']}:cancel", {})
    execution = await run.done(operation)
    assert execution["cancelledCount"] == 1
    assert (await run.result(execution))["exitCode"] == 143


async def test_a_task_that_does_not_heed_is_killed_after_its_grace(run: CloudRun) -> None:
    await run.job(python(HEEDS_NOT))
    operation = await run.run()
    await run.until_it_says("up")
    await run.post(f"/v2/{operation['metadata']['name']}:cancel", {})
    execution = await run.done(operation)
    assert (await run.result(execution))["termSignal"] == signal.SIGKILL


async def test_a_task_past_its_timeout_is_told_to_end(run: CloudRun) -> None:
    await run.job(python(HEEDS), timeout="1s", maxRetries=0)
    execution = await run.done(await run.run())
    result = await run.result(execution)
    assert result["status"]["message"] == "The configured timeout was reached."
    assert result["exitCode"] in {143, None} or "termSignal" in result  # the second may be over before it is up


async def test_what_a_task_leaves_behind_ends_with_it(run: CloudRun) -> None:
    text = """
import subprocess, sys
left = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
print(left.pid)
"""
    await run.job(python(text))
    await run.done(await run.run())
    [pid] = await run.log()
    assert not Path("/proc", pid).exists()


async def test_a_program_that_is_not_there_is_a_failed_attempt(run: CloudRun) -> None:
    await run.job({"image": "x", "command": ["/no/such/program"]}, maxRetries=0)
    execution = await run.done(await run.run())
    assert (await run.result(execution))["exitCode"] == 127
    [said] = await run.log()
    assert "No such file or directory: '/no/such/program'" in said


async def test_no_task_outlives_a_killed_emulator(tmp_path: Path) -> None:
    text = f"""
import asyncio, httpx, sys
sys.path.insert(0, {str(Path.cwd())!r})
from gcp_emulator.emulator import Emulator
from tests.contract.cloud_run import CloudRun, python
async def main():
    async with Emulator() as emulator, httpx.AsyncClient(base_url=emulator.url) as http:
        run = CloudRun(emulator, http)
        await run.job(python("import os, time; print(os.getpid(), flush=True); time.sleep(600)"))
        await run.run()
        while not await run.log():
            await asyncio.sleep(0.02)
        print((await run.log())[0], flush=True)
        await asyncio.sleep(600)
asyncio.run(main())
"""
    pipe = asyncio.subprocess.PIPE
    emulator = await asyncio.create_subprocess_exec(sys.executable, "-c", text, stdout=pipe)
    assert emulator.stdout
    pid = (await emulator.stdout.readline()).decode().strip()
    assert Path("/proc", pid).exists()
    emulator.kill()
    await emulator.wait()
    async with asyncio.timeout(60):
        while Path("/proc", pid).exists():
            await asyncio.sleep(0.02)


@pytest.fixture
async def docker(engine: TestEngine) -> AsyncIterator[CloudRun]:
    command = required_tool("docker", "apt-get install docker-cli (or docker.io, where that has it)")
    containers = Docker(command=(command, "--host", engine.url))
    async with (
        Emulator(seed=WORLD, containers=containers) as emulator,
        httpx.AsyncClient(base_url=emulator.url) as http,
    ):
        yield CloudRun(emulator, http)
    assert engine.left()["containers"] == []


def shell(text: str) -> dict[str, object]:
    return {"image": "box:1", "command": ["/bin/sh"], "args": ["-c", text]}


async def test_a_container_gets_its_arguments_and_variables_and_its_exit_code_is_the_tasks(docker: CloudRun) -> None:
    says = 'echo "$0 $1 $PATH $HOST $CLOUD_RUN_JOB"'
    script = f'touch /file 2>/dev/null || echo "read only"; touch /tmp/file && {says}; exit 7'
    container = shell(script)
    container["args"] = ["-c", script, "zero", "one"]
    container["env"] = [{"name": "PATH", "value": "/bin"}, {"name": "HOST", "value": "two words"}]
    await docker.job(container, maxRetries=0)
    execution = await docker.done(await docker.run())
    said = await docker.log()
    assert said == ["read only", "zero one /bin two words mayfly"]
    assert (await docker.result(execution))["exitCode"] == 7


async def test_a_container_hears_sigterm_and_none_is_left(docker: CloudRun) -> None:
    await docker.job(shell("trap 'echo closing; exit 4' TERM; echo up; sleep 600 & wait"))
    operation = await docker.run()
    await docker.until_it_says("up")
    await docker.post(f"/v2/{operation['metadata']['name']}:cancel", {})
    execution = await docker.done(operation)
    assert (await docker.result(execution))["exitCode"] == 4
    assert await docker.log() == ["up", "closing"]


async def test_a_container_that_runs_when_the_emulator_ends_is_taken_away(docker: CloudRun) -> None:
    await docker.job(shell("trap '' TERM; echo up; sleep 600"))
    await docker.run()
    await docker.until_it_says("up")
