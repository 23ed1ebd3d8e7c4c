"""`kill -9` of the orchestrator at any rung, and then nothing but one net is left: the VM is off within its bound.

Real processes and real clocks, with the numbers shortened by settings. Each VM has an orchestrator of its own that is
killed as soon as the cloud has seen a certain thing; when the VM was off, the cloud's history says.
"""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import demo_exports, exports
from gcp_emulator.seed import AddressSeed, InstanceSeed, SecretSeed, Seed
from tests.contract.world import Running, running
from tests.journeys.lab import API_KEY, CHECKOUT, starts_the_agent

READABLE = [CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)]
SHORT = {"BOOT_TIMEOUT": "20s", "TIMEOUT": "10s", "BOOT_MARGIN": "5s", "LEASE_TTL": "10s"}
MAX_RUN = timedelta(seconds=35)  # what those add up to
GOOGLES_OWN_TIME = timedelta(seconds=150)  # from its limit until it has stopped the VM: the published bound

Entry = Mapping[str, Any]


def asked(verb: str) -> Callable[[Entry], bool]:
    return lambda entry: entry["kind"] == "request" and entry["verb"] == verb and entry["status"] == 200


def is_running(entry: Entry) -> bool:
    return entry["kind"] == "state" and entry["to"] == "RUNNING"


def says(words: str) -> Callable[[Entry], bool]:
    return lambda entry: entry.get("event") == "SerialOutput" and re.search(words, entry["text"]) is not None


RUNGS: Mapping[str, Callable[[Entry], bool]] = {
    "lease-taken": asked("instances.setMetadata"),
    "deadline-armed": asked("instances.setScheduling"),
    "address-attached": asked("instances.addAccessConfig"),
    "start-sent": asked("instances.start"),
    "vm-running": is_running,
    "job-accepted": says(r"run \w+ accepted"),
    "stop-sent": asked("instances.stop"),
}


def a_world(metadata: Mapping[str, str]) -> Seed:
    """A stopped VM, its startup script and an address of its own for each rung."""
    given = {"enable-guest-attributes": "TRUE", "startup-script": starts_the_agent(), **metadata}
    return Seed(
        instances=tuple(InstanceSeed(rung, metadata=given, labels={"mayfly": "managed"}) for rung in RUNGS),
        addresses=tuple(AddressSeed(f"{rung}-ip") for rung in RUNGS),
        secrets=(SecretSeed("mayfly-agent-key", versions=(API_KEY,)),),
    )


@pytest.fixture
def held_cloud(tmp_path: Path) -> Iterator[Running]:
    """A cloud in which a person holds every dead-man back."""
    hold = datetime.now().astimezone() + timedelta(hours=1)
    seed = a_world({"mayfly-hold": hold.isoformat()})
    with running(lambda: Emulator(seed=seed, folder=tmp_path / "disks", readable=READABLE, latency="brisk")) as port:
        yield Running(port)


def history_of(cloud: Running, vm: str) -> list[Entry]:
    entries = cloud.ask("history")["entries"]
    return [entry for entry in entries if f"instances/{vm}" in entry.get("path", entry.get("resource", ""))]


def begin(cloud: Running, vm: str, folder: Path) -> "subprocess.Popen[bytes]":
    folder.mkdir()  # nobody's .env or mayfly.toml
    names = {"INSTANCE": vm, "STATIC_NAME": f"{vm}-ip", "PYTHONPATH": str(CHECKOUT)}
    environment = SHORT | exports(cloud.port) | demo_exports() | names
    job = "main:run" if vm == "stop-sent" else "main:for_ever"
    command = [sys.executable, "-m", "mayfly", "run", job]
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_each_at_its_rung(cloud: Running, folder: Path) -> None:
    """One after the other, so that the machine below is not so busy that a boot takes longer than it may."""
    for rung, reached in RUNGS.items():
        process = begin(cloud, rung, folder / rung)
        try:
            until(lambda rung=rung, reached=reached: any(map(reached, history_of(cloud, rung))), f"{rung} was seen", 60)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def until(holds: Callable[[], bool], what: str, seconds: float) -> None:
    """Ask the cloud again until it says so."""
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends, f"within {seconds} s nobody saw that {what}"
        time.sleep(0.02)


def states(cloud: Running, vm: str) -> list[tuple[str, datetime]]:
    entries = [entry for entry in history_of(cloud, vm) if entry["kind"] == "state"]
    return [(entry["to"], datetime.fromisoformat(entry["at"])) for entry in entries]


def is_off(cloud: Running, vm: str) -> bool:
    seen = states(cloud, vm)
    return not seen or seen[-1][0] == "TERMINATED"


def time_on(cloud: Running, vm: str) -> timedelta:
    """From RUNNING to TERMINATED; none if it was never on."""
    times = dict(states(cloud, vm))
    return times["TERMINATED"] - times["RUNNING"] if "RUNNING" in times else timedelta(0)


def test_with_nothing_left_but_googles_own_limit_every_vm_is_off_in_time(held_cloud: Running, tmp_path: Path):
    kill_each_at_its_rung(held_cloud, tmp_path)
    bound = (MAX_RUN + GOOGLES_OWN_TIME).total_seconds()
    until(lambda: all(is_off(held_cloud, rung) for rung in RUNGS), "every VM went off", bound)
    on = {rung: time_on(held_cloud, rung) for rung in RUNGS}
    assert all(span <= MAX_RUN + GOOGLES_OWN_TIME for span in on.values()), on
    never_started = {"lease-taken", "deadline-armed", "address-attached"}
    assert all(not on[rung] for rung in never_started)
    assert all(on[rung] >= MAX_RUN for rung in ("start-sent", "vm-running", "job-accepted")), "nobody else stopped it"
    stops = [entry for entry in held_cloud.history("request") if entry["verb"] == "instances.stop"]
    assert [stop["path"].split("/")[-2] for stop in stops] == ["stop-sent"]
    assert httpx.get(f"{held_cloud.url}/_emulator/faults").json()["faults"] == []
    assert held_cloud.history("violation") == []
