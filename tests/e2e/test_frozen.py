"""A process that stands still (SIGSTOP, a frozen container, a host that migrates) and goes on later as if nothing were.

The world has gone on without it: polls were answered to nobody, the lease ran out, the job ended or met its deadline.
"""

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from orchestrator.lease import Lease, read_lease
from tests.contract.world import Running
from tests.e2e.test_command_line import cloud, end_of, mayfly, wait_for

__all__ = ["cloud"]  # the fixture
VM = "compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm"


def test_a_job_that_ended_while_nobody_listened_is_told_afterwards(cloud: Running, tmp_path: Path):
    until = tmp_path / "disks/demo/us-central1-a/gpu-vm/released"
    process = mayfly(cloud, tmp_path / "cwd", "run", "main:outlast", "--set", f"until={until}")
    wait_for("at work", process)
    with frozen(process):
        until.touch()
        becomes(lambda: "SUCCEEDED" in console(cloud))
    code, receipt, _ = end_of(process)
    assert (code, receipt["cleanup"]) == (0, "confirmed")


@pytest.mark.parametrize("phase", ["Running the job", "Waiting for the agent"])
def test_a_lease_that_ran_out_meanwhile_is_taken_again_and_the_run_goes_on(cloud: Running, tmp_path: Path, phase: str):
    until = tmp_path / "disks/demo/us-central1-a/gpu-vm/released"
    process = mayfly(cloud, tmp_path / "cwd", "run", "main:outlast", "--set", f"until={until}", LEASE_TTL="2s")
    wait_for(phase, process)
    with frozen(process):
        becomes(lambda: has_run_out(lease(cloud)))
    until.parent.mkdir(parents=True, exist_ok=True)
    until.touch()
    code, receipt, _ = end_of(process)
    assert (code, receipt["attempts"], receipt["cleanup"]) == (0, 1, "confirmed")
    assert console(cloud).count("SUCCEEDED") == 1


def test_a_deadline_holds_for_who_slept_through_it(cloud: Running, tmp_path: Path):
    process = mayfly(cloud, tmp_path / "cwd", "run", "main:for_ever", TIMEOUT="3s", LEASE_TTL="2s")
    wait_for("Running the job", process)
    with frozen(process):
        becomes(lambda: "TIMED_OUT" in console(cloud))
        becomes(lambda: has_run_out(lease(cloud)))
    code, receipt, _ = end_of(process)
    assert (code, receipt["outcome"], receipt["cleanup"]) == (8, "timed-out", "confirmed")


def test_a_run_that_another_took_over_meanwhile_is_left_to_him(cloud: Running, tmp_path: Path):
    """Woken up, it neither stops the VM nor asks for anything: the lease is not its own any more."""
    process = mayfly(cloud, tmp_path / "cwd", "run", "main:for_ever", "--key", "monday", LEASE_TTL="3s")
    wait_for("Running the job", process)
    with frozen(process):
        take_over(cloud)
        stops = cloud.verbs().count("instances.stop")
    code, receipt, _ = end_of(process)
    assert (code, receipt["cleanup"]) == (7, "owed")
    assert cloud.verbs().count("instances.stop") == stops
    httpx.post(f"{cloud.url}/{VM}/stop").raise_for_status()
    becomes(lambda: httpx.get(f"{cloud.url}/{VM}").json()["status"] == "TERMINATED")


@contextmanager
def frozen(process) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def console(cloud: Running) -> str:
    entries = cloud.ask("history")["entries"]
    return "".join(entry["text"] for entry in entries if entry.get("event") == "SerialOutput")


def lease(cloud: Running) -> Lease:
    items = httpx.get(f"{cloud.url}/{VM}").json()["metadata"]["items"]
    found = read_lease({item["key"]: item["value"] for item in items}["mayfly-lease"])
    assert found is not None
    return found


def has_run_out(lease: Lease) -> bool:
    return lease.expires_at is not None and lease.expires_at < datetime.now(UTC)


def take_over(cloud: Running) -> None:
    metadata = httpx.get(f"{cloud.url}/{VM}").json()["metadata"]
    values = {item["key"]: item["value"] for item in metadata["items"]}
    theirs = json.loads(values["mayfly-lease"])
    values["mayfly-lease"] = json.dumps(theirs | {"epoch": theirs["epoch"] + 1, "nonce": "theirs", "key": "sunday"})
    items = [{"key": name, "value": value} for name, value in values.items()]
    body = {"fingerprint": metadata["fingerprint"], "items": items}
    httpx.post(f"{cloud.url}/{VM}/setMetadata", json=body).raise_for_status()


def becomes(holds: Callable[[], bool]) -> None:
    """Ask again until it is so; only a failing test waits as long."""
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)
