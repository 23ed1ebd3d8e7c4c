"""The command as a user types it: real processes on both sides, exit codes, stdout and signals."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import demo_exports, exports
from gcp_emulator.seed import demo_seed
from tests.contract.world import Running, running
from tests.journeys.lab import API_KEY, CHECKOUT, a_world, starts_the_agent

READABLE = [CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)]


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Running]:
    """A cloud whose VM must be off in the end."""
    with running(lambda: Emulator(seed=a_world(), folder=tmp_path / "disks", readable=READABLE)) as port:
        cloud = Running(port)
        yield cloud
        changes = [entry for entry in cloud.history("state") if entry["resource"].endswith("/gpu-vm")]
        assert not changes or changes[-1]["to"] == "TERMINATED", "the VM was left on"
        assert cloud.history("violation") == []


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Running]:
    """The demo's cloud, with an agent for a startup script: in the end there is nothing but its VM, and that is off."""
    seed = demo_seed(starts_the_agent(), api_key=API_KEY)
    with running(lambda: Emulator(seed=seed, folder=tmp_path / "disks", readable=READABLE)) as port:
        cloud = Running(port)
        yield cloud
        listed = httpx.get(f"{cloud.url}/compute/v1/projects/demo/zones/us-central1-a/instances").json()["items"]
        assert {vm["name"]: vm["status"] for vm in listed} == {"gpu-vm": "TERMINATED"}
        assert cloud.history("violation") == []


def test_the_demos_template_makes_a_vm_for_one_run(demo: Running, tmp_path: Path):
    order = ["run", "--template", "gpu-template", "--instance", "gpu-worker", "--", "sh", "-c", "echo $((6 * 7))"]
    code, receipt, stderr = end_of(mayfly(demo, tmp_path / "cwd", *order))
    assert (code, receipt["cleanup"]) == (0, "confirmed")
    assert '"42"' in stderr
    assert demo.verbs().count("instances.delete") == 1


def environment_of(cloud: Running) -> dict[str, str]:
    path = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}
    return path | {"TIMEOUT": "60s"} | exports(cloud.port) | demo_exports()


def mayfly(cloud: Running, folder: Path, *arguments: str, **variables: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mayfly", *arguments]
    folder.mkdir(exist_ok=True)  # nobody's .env or mayfly.toml
    environment, pipe = environment_of(cloud) | variables, subprocess.PIPE
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=pipe, stderr=pipe, text=True)


def wait_for(message: str, process: "subprocess.Popen[str]") -> None:
    assert process.stderr is not None
    assert any(message in json.loads(line)["message"] for line in process.stderr)


def end_of(process: "subprocess.Popen[str]") -> tuple[int, dict[str, object], str]:
    stdout, stderr = process.communicate(timeout=90)
    return process.returncode, json.loads(stdout), stderr


def test_run_prints_the_receipt_and_nothing_else_on_stdout(cloud: Running, tmp_path: Path):
    code, receipt, stderr = end_of(mayfly(cloud, tmp_path / "cwd", "run", "--key", "monday"))
    assert code == 0
    assert set(receipt) == {
        "run_key",
        "mode",
        "outcome",
        "exit_code",
        "detail",
        "result",
        "attempts",
        "project",
        "job",
        "started_at",
        "answered_from_memory",
        "artifacts",
        "phases",
        "vm",
        "address",
        "cleanup",
    }
    assert (receipt["run_key"], receipt["outcome"], receipt["result"]) == ("monday", "succeeded", {"order": "placed"})
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert {line["severity"] for line in lines} == {"INFO"}
    assert "trading for real" in [line["message"] for line in lines]
    assert API_KEY not in stderr


def test_test_rehearses(cloud: Running, tmp_path: Path):
    code, receipt, _ = end_of(mayfly(cloud, tmp_path / "cwd", "test"))
    assert (code, receipt["mode"], receipt["result"]) == (0, "test", {"order": "rehearsed"})


def test_a_job_that_raises_is_exit_1_and_its_traceback_is_shown(cloud: Running, tmp_path: Path):
    code, receipt, stderr = end_of(mayfly(cloud, tmp_path / "cwd", "run", "main:fail"))
    assert (code, receipt["outcome"], receipt["cleanup"]) == (1, "failed", "confirmed")
    assert "Traceback" in stderr
    assert "ValueError: no such coin" in stderr


def test_a_command_after_two_dashes_runs_on_the_vm(cloud: Running, tmp_path: Path):
    code, receipt, stderr = end_of(mayfly(cloud, tmp_path / "cwd", "run", "--", "sh", "-c", "echo $((6 * 7))"))
    assert (code, receipt["job"]) == (0, "sh -c echo $((6 * 7))")
    assert '"42"' in stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_incident_11_a_signal_brings_everything_down_and_is_exit_143(
    cloud: Running, tmp_path: Path, number: signal.Signals
):
    process = mayfly(cloud, tmp_path / "cwd", "run", "main:for_ever")
    wait_for("Running the job", process)
    process.send_signal(number)
    code, receipt, _ = end_of(process)
    assert (code, receipt["outcome"], receipt["cleanup"]) == (143, "terminated", "confirmed")


def test_on_cloud_run_the_receipt_is_a_log_line_and_a_pause_is_no_end(cloud: Running, tmp_path: Path):
    task = {"CLOUD_RUN_JOB": "mayfly", "CLOUD_RUN_EXECUTION": "mayfly-x7k2p", "CLOUD_RUN_TASK_INDEX": "0"}
    until = tmp_path / "disks/demo/us-central1-a/gpu-vm/released"  # the VM sees its own disk alone
    process = mayfly(cloud, tmp_path / "cwd", "run", "main:outlast", "--set", f"until={until}", **task)
    wait_for("Running the job", process)
    process.send_signal(signal.SIGTSTP)
    wait_for("SIGTSTP", process)
    until.touch()
    code, receipt, _ = end_of(process)
    assert (code, receipt["run_key"], receipt["severity"]) == (0, "mayfly-x7k2p-0", "INFO")
    assert "succeeded" in str(receipt["message"])


def test_a_key_that_cannot_be_read_is_a_receipt_too(cloud: Running, tmp_path: Path):
    code, receipt, stderr = end_of(mayfly(cloud, tmp_path / "cwd", "run", AUTH="api-key", AGENT_KEY_SECRET="nowhere"))
    assert (code, receipt["outcome"], receipt["vm"], receipt["cleanup"]) == (3, "no-machine", None, "confirmed")
    assert "secrets/nowhere" in stderr


def test_a_job_may_say_what_the_locale_cannot(cloud: Running, tmp_path: Path):
    words = ["run", "--", "echo", "Grüße ✓"]
    code, receipt, stderr = end_of(mayfly(cloud, tmp_path / "cwd", *words, PYTHONIOENCODING="ascii"))
    assert (code, receipt["job"]) == (0, "echo Grüße ✓")
    assert "Grüße ✓" in [json.loads(line)["message"] for line in stderr.splitlines()]


def on_a_terminal(cloud: Running, folder: Path) -> "tuple[subprocess.Popen[bytes], int]":
    """A run that would never end, and the terminal that it has to itself."""
    ours, theirs = os.openpty()
    command = ["setsid", "--ctty", sys.executable, "-m", "mayfly", "run", "main:for_ever"]
    environment = environment_of(cloud) | {"TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(command, env=environment, cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    return process, ours


def test_on_a_terminal_there_is_a_live_view_and_ctrl_c_brings_everything_down(cloud: Running, tmp_path: Path):
    process, terminal = on_a_terminal(cloud, tmp_path)
    screen = shown_until(terminal, "Running the job")
    os.write(terminal, b"\x03")
    screen += shown_until(terminal, None)
    assert process.wait() == 143
    for word in ("✓", "Starting gpu-vm", "SIGINT", "Stopping gpu-vm", "run called off", "billed"):
        assert word in screen
    assert '"severity"' not in screen


def test_who_insists_may_leave_and_is_told_what_is_owed(cloud: Running, tmp_path: Path):
    process, terminal = on_a_terminal(cloud, tmp_path)
    shown_until(terminal, "Running the job")
    cloud.fault(on="instances.stop", times=1000, reply={"status": 503, "reason": "backendError"})
    os.write(terminal, b"\x03")
    shown_until(terminal, "coming down")
    os.write(terminal, b"\x03")
    shown_until(terminal, "Once more leaves it as it is")
    os.write(terminal, b"\x03")
    screen = shown_until(terminal, None)
    assert process.wait() == 143
    for word in ("run called off", "not seen off", "CLEAN-UP OWED", f"http://127.0.0.1:{cloud.port}/"):
        assert word in screen
    assert "console.cloud.google.com" not in screen
    turn_off(cloud)


def test_a_terminal_that_is_closed_brings_everything_down(cloud: Running, tmp_path: Path):
    process, terminal = on_a_terminal(cloud, tmp_path)
    shown_until(terminal, "Running the job")
    os.close(terminal)
    assert process.wait() == 143


def test_a_receipt_that_nobody_reads_changes_nothing(cloud: Running, tmp_path: Path):
    process = mayfly(cloud, tmp_path / "cwd", "run")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    process.stderr.close()
    assert process.wait() == 0


def turn_off(cloud: Running) -> None:
    """What the receipt says: as a person would."""
    httpx.delete(f"{cloud.url}/_emulator/faults").raise_for_status()
    zone = f"{cloud.url}/compute/v1/projects/demo/zones/us-central1-a"
    operation = httpx.post(f"{zone}/instances/gpu-vm/stop").raise_for_status().json()["name"]
    httpx.post(f"{zone}/operations/{operation}/wait", timeout=60).raise_for_status()


def shown_until(terminal: int, word: str | None) -> str:
    """What a terminal shows until the word comes, or until nobody writes to it any more."""
    shown = b""
    while word is None or word.encode() not in shown:
        try:
            shown += os.read(terminal, 4096)
        except OSError:  # how Linux says that the other side is closed
            break
    return shown.decode(errors="replace")
