"""The container images in a real Docker Engine: nobody's user, a read-only root, no home; signals and exit codes."""

import json
import socket
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import demo_exports, exports
from tests.contract.world import Running, running
from tests.e2e.test_command_line import READABLE, turn_off
from tests.images import ADDED, AGENT, ORCHESTRATOR, Ended, Images
from tests.journeys.lab import a_world
from vm_agent.protocol import START_MEDIA_TYPE, CommandJob, StartRequest

SIZE_MB_MAX = 200
PYTHON = "/app/.venv/bin/python"
# Docker gives every container a HOME, also one whose user has none; so the first process takes it away, and becomes us.
HOMELESS = [PYTHON, "-c", "import os, sys; os.environ.pop('HOME'); os.execv(sys.argv[1], sys.argv[1:])"]
NOBODY = "54321:54321"  # in no /etc/passwd, as the users of some platforms
A_TASK = {"CLOUD_RUN_JOB": "mayfly", "CLOUD_RUN_EXECUTION": "mayfly-x7k2p", "CLOUD_RUN_TASK_INDEX": "0"}
NOT_IN_THERE = "pip uv uvx cc gcc g++ c++ clang ld as make sh bash dash busybox apt apt-get dpkg perl curl wget git"


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Running]:
    """A cloud whose VM must be off in the end."""
    with running(lambda: Emulator(seed=a_world(), folder=tmp_path / "disks", readable=READABLE)) as port:
        cloud = Running(port)
        yield cloud
        changes = [entry for entry in cloud.history("state") if entry["resource"].endswith("/gpu-vm")]
        assert not changes or changes[-1]["to"] == "TERMINATED", "the VM was left on"
        assert cloud.history("violation") == []


def at(cloud: Running) -> dict[str, str]:
    return {"TIMEOUT": "60s", **exports(cloud.port), **demo_exports()}


def python(images: Images, script: str, image: str = ORCHESTRATOR) -> str:
    """What a script says inside."""
    ended = images.run(image, ["-c", script], entrypoint=[PYTHON])
    assert ended.code == 0, ended.stderr
    return ended.stdout


def said(images: Images, container: str, message: str) -> None:
    """Wait until a line of its log has it."""
    lines = images.api.logs(container, stream=True, follow=True)
    assert any(message in line for line in logged(lines)), images.end_of(container)


def logged(pieces: Iterator[bytes]) -> Iterator[str]:
    """Docker's pieces of a log are no lines."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from (line.decode() for line in lines)


def receipt_of(ended: Ended) -> dict[str, Any]:
    receipt: dict[str, Any] = json.loads(ended.stdout)
    return receipt


def test_the_orchestrators_image_takes_200_mb_at_most(images: Images, record_property: Any) -> None:
    sizes = {image: images.size_mb(image) for image in (ORCHESTRATOR, AGENT)}
    record_property("told", ", ".join(f"{image} unpacked: {size:.0f} MB" for image, size in sizes.items()))
    assert 50 < sizes[ORCHESTRATOR] <= SIZE_MB_MAX


def test_an_image_says_what_it_is_and_starts_python_without_a_shell(images: Images) -> None:
    for image, command in {
        ORCHESTRATOR: ["/app/.venv/bin/mayfly", "run"],
        AGENT: [PYTHON, "-m", "vm_agent"],
    }.items():
        seen = images.api.inspect_image(image)
        config = seen["Config"]
        assert [*config["Entrypoint"], *(config["Cmd"] or [])] == command
        assert (seen["Os"], seen["Architecture"], config["User"]) == ("linux", "amd64", "65532:65532")
        labels = {name.removeprefix("org.opencontainers.image.") for name in config["Labels"]}
        assert labels == {"title", "description", "licenses", "version", "revision"}


def test_the_image_has_the_orchestrator_and_nothing_to_build_or_install_with(images: Images) -> None:
    script = f"""
import os, pathlib, importlib.util
names = set({NOT_IN_THERE!r}.split())
programs = [path for folder in ("bin", "sbin") for path in pathlib.Path("/").glob(f"**/{{folder}}/*")]
assert len(programs) > 5, programs
assert not [path for path in programs if path.name.rstrip("0123456789.-") in names]
assert not [name for name in ("pip", "setuptools", "uv", "gcp_emulator") if importlib.util.find_spec(name)]
print(*sorted(os.listdir("/app")))
"""
    inside = python(images, script).split()
    ours = {"mayfly", "orchestrator", "vm_agent", "startup.sh", "pyproject.toml", "uv.lock", "README.md", "LICENSE"}
    assert set(inside) == {*ours, ".venv", "bytecode"}


def test_whatever_a_run_imports_was_compiled_when_the_image_was_built(images: Images) -> None:
    script = """
import sys, os
import mayfly.carry_out, mayfly.sweeping, orchestrator.wiring, orchestrator.google_clients, orchestrator.google_identity
modules = [one for one in list(sys.modules.values()) if getattr(one, "__cached__", None)]
print(len(modules), *[one.__name__ for one in modules if not os.path.exists(one.__cached__)])
"""
    count, *left_out = python(images, script).split()
    assert int(count) > 400
    assert left_out == []


def test_settings_that_are_missing_are_told_in_a_sentence_with_exit_2(images: Images) -> None:
    ended = images.run(ORCHESTRATOR, user=NOBODY)
    assert (ended.code, ended.stdout) == (2, "")
    assert "PROJECT_ID is not set" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_run_needs_no_home_no_user_and_nowhere_to_write(images: Images, cloud: Running, record_property: Any) -> None:
    """As a task of Cloud Run: its execution names the run."""
    command = ["/app/.venv/bin/mayfly", "run"]
    settings = {"environment": at(cloud) | A_TASK, "entrypoint": HOMELESS, "user": NOBODY}
    with images.running(ORCHESTRATOR, command, **settings) as container:
        ended = images.end_of(container)
        began = datetime.fromisoformat(images.api.inspect_container(container)["State"]["StartedAt"][:26] + "+00:00")
    assert ended.code == 0, ended.stderr
    receipt = receipt_of(ended)
    assert (receipt["run_key"], receipt["outcome"], receipt["cleanup"]) == ("mayfly-x7k2p-0", "succeeded", "confirmed")
    assert receipt["result"] == {"order": "placed"}
    assert (cloud.verbs().count("instances.start"), cloud.verbs().count("instances.stop")) == (1, 1)
    assert "Traceback" not in ended.stderr
    first = next(entry["at"] for entry in cloud.history("request") if "/compute/" in entry["path"])
    seconds = (datetime.fromisoformat(first) - began).total_seconds()
    record_property("told", f"container started -> first Compute request: {seconds:.2f} s, beside other tests")


def test_a_job_that_fails_is_exit_1(images: Images, cloud: Running) -> None:
    ended = images.run(ORCHESTRATOR, ["run", "main:fail"], environment=at(cloud))
    assert (ended.code, receipt_of(ended)["cleanup"]) == (1, "confirmed")
    assert "ValueError: no such coin" in ended.stderr


def test_a_sweep_runs_from_the_same_image(images: Images, cloud: Running) -> None:
    ended = images.run(ORCHESTRATOR, ["sweep"], environment=at(cloud))
    assert ended.code == 0, ended.stderr


@pytest.mark.parametrize("cleanup", ["confirmed", "owed"])
def test_sigterm_reaches_python_which_stops_the_vm_or_says_what_is_owed(
    images: Images, cloud: Running, cleanup: str
) -> None:
    """Within the ten seconds that Cloud Run gives it."""
    with images.running(ORCHESTRATOR, ["run", "main:for_ever"], environment=at(cloud) | A_TASK) as container:
        said(images, container, "Running the job")
        assert first_process(images, container) == ["/app/.venv/bin/python", "/app/.venv/bin/mayfly"]
        if cleanup == "owed":
            cloud.fault(on="instances.stop", times=1000, reply={"status": 503, "reason": "backendError"})
        images.api.kill(container, "SIGTERM")
        ended = images.end_of(container)
    assert ended.code == 143, ended.stderr
    receipt = receipt_of(ended)
    assert (receipt["outcome"], receipt["cleanup"]) == ("terminated", cleanup)
    if cleanup == "owed":
        turn_off(cloud)


def first_process(images: Images, container: str) -> Sequence[str]:
    command = [PYTHON, "-c", "print(*open('/proc/1/cmdline').read().split(chr(0))[:2])"]
    told: bytes = images.api.exec_start(images.api.exec_create(container, command)["Id"])
    return told.decode().split()


def test_the_agents_image_is_a_service_that_runs_jobs(images: Images) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    cloud_run = {"PORT": str(port), "K_SERVICE": "jobs", "MAYFLY_API_KEY": "sesame"}
    writable = {"tmpfs": {"/tmp": ""}}  # noqa: S108 - in there
    with (
        images.running(AGENT, environment=cloud_run, host=writable) as container,
        httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"X-API-Key": "sesame"}, timeout=60) as client,
    ):
        said(images, container, "listening on")
        ready(client)
        headers = {"Prefer": "wait=30", "Idempotency-Key": "monday", "Content-Type": START_MEDIA_TYPE}
        start = StartRequest(
            job=CommandJob(command=["sh", "-c", f"echo $((6 * 7)); id -u; python -c 'import {ADDED}'"])
        )
        asked = client.post("/run", content=start.model_dump_json(), headers=headers)
        run = asked.raise_for_status().json()
        assert run["state"] == "SUCCEEDED", run
        assert client.get(f"/runs/{run['id']}/logs").text.split() == ["42", "65532"]
        images.api.kill(container, "SIGTERM")
        assert images.end_of(container).code == 0


def ready(client: httpx.Client) -> None:
    until = time.monotonic() + 60
    while client.get("/").status_code != httpx.codes.OK:
        assert time.monotonic() < until, client.get("/").text
        time.sleep(0.05)
