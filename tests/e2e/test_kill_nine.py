"""`kill -9` of the orchestrator at any rung, and then nothing but one net is left: the VM is off within its bound.

Real processes and real clocks, with the numbers shortened by settings. Each VM has an orchestrator of its own that is
killed as soon as the cloud has seen a certain thing; when the VM was off, the cloud's history says.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import demo_exports, exports
from gcp_emulator.seed import AddressSeed, InstanceSeed, SecretSeed, Seed
from tests.contract.world import Running, running
from tests.journeys.lab import API_KEY, CHECKOUT, starts_the_agent

SLOW = pytest.mark.skipif(
    os.environ.get("MAYFLY_SLOW") != "1", reason="waits minutes for deadlines; to run it: MAYFLY_SLOW=1 make test"
)
READABLE = [CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)]
SHORT = {"BOOT_TIMEOUT": "40s", "TIMEOUT": "10s", "BOOT_MARGIN": "5s", "LEASE_TTL": "10s"}
MAX_RUN = timedelta(seconds=55)  # what those add up to
NO_LIMIT_SOON = {"BOOT_MARGIN": "2h"}
LONG_SILENCE = {"mayfly-silence-seconds": "3600"}  # of the VM's own dead-man
SWEEP_PERIOD, CLAIMABLE = 5, 10 + 30  # seconds: between sweeps; a lease's TTL and the longest life of a request
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


@contextmanager
def a_cloud(folder: Path, **metadata: str) -> Iterator[Running]:
    seed = a_world(metadata)
    with running(lambda: Emulator(seed=seed, folder=folder / "disks", readable=READABLE, latency="brisk")) as port:
        cloud = Running(port)
        yield cloud
        assert all(is_off(cloud, rung) for rung in RUNGS)
        assert cloud.history("violation") == []


def history_of(cloud: Running, vm: str) -> list[Entry]:
    entries = cloud.ask("history")["entries"]
    return [entry for entry in entries if f"instances/{vm}" in entry.get("path", entry.get("resource", ""))]


def mayfly(cloud: Running, folder: Path, *words: str, **settings: str) -> "subprocess.Popen[bytes]":
    folder.mkdir(exist_ok=True)  # nobody's .env or mayfly.toml
    environment = SHORT | exports(cloud.port) | demo_exports() | {"PYTHONPATH": str(CHECKOUT)} | settings
    command = [sys.executable, "-m", "mayfly", *words]
    return subprocess.Popen(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def kill_each_at_its_rung(cloud: Running, folder: Path, *rungs: str, **settings: str) -> None:
    """One after the other, so that the machine below is not so busy that a boot takes longer than it may."""
    for rung in rungs or RUNGS:
        job = "main:run" if rung == "stop-sent" else "main:for_ever"
        names = {"INSTANCE": rung, "STATIC_NAME": f"{rung}-ip"}
        process = mayfly(cloud, folder / rung, "run", job, **names, **settings)
        try:
            until(partial(has_reached, cloud, rung), f"{rung} was seen", 60)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def has_reached(cloud: Running, rung: str) -> bool:
    return any(map(RUNGS[rung], history_of(cloud, rung)))


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


def stopped(cloud: Running) -> set[str]:
    """The VMs that somebody asked Google to stop."""
    return {entry["path"].split("/")[-2] for entry in cloud.history("request") if entry["verb"] == "instances.stop"}


@SLOW
def test_incident_04_with_nothing_left_but_googles_own_limit_every_vm_is_off_in_time(tmp_path: Path):
    """A person holds every dead-man back, and nobody sweeps. On one VM all of ours is dead: its guest crashed."""
    hold = datetime.now().astimezone() + timedelta(hours=1)
    with a_cloud(tmp_path, **{"mayfly-hold": hold.isoformat()}) as cloud:
        kill_each_at_its_rung(cloud, tmp_path)
        cloud.fault(guest_crash={}, vm="job-accepted")
        bound = MAX_RUN + GOOGLES_OWN_TIME
        until(lambda: all(is_off(cloud, rung) for rung in RUNGS), "every VM went off", bound.total_seconds())
        on = {rung: time_on(cloud, rung) for rung in RUNGS}
        assert all(span <= bound for span in on.values()), on
        assert not any(on[rung] for rung in ("lease-taken", "deadline-armed", "address-attached"))
        assert all(on[rung] >= MAX_RUN for rung in ("start-sent", "vm-running", "job-accepted")), "nobody else did it"
        assert stopped(cloud) == {"stop-sent"}
        assert [rule["spent"] for rule in cloud.ask("faults")["faults"]] == [True]


@SLOW
def test_incident_10_with_nothing_left_but_the_sweep_every_vm_is_off_and_every_address_free(tmp_path: Path):
    """Google's limit and the dead-man's silence are hours away."""
    left = ("lease-taken", "address-attached", "start-sent", "vm-running", "job-accepted")
    with a_cloud(tmp_path, **LONG_SILENCE) as cloud:
        kill_each_at_its_rung(cloud, tmp_path, *left, **NO_LIMIT_SOON)
        ends = time.monotonic() + CLAIMABLE + 3 * SWEEP_PERIOD + GOOGLES_OWN_TIME.total_seconds()
        while mayfly(cloud, tmp_path / "sweep", "sweep").wait() or not all(is_off(cloud, rung) for rung in left):
            assert time.monotonic() < ends, "the sweeps did not put it right in time"
            time.sleep(SWEEP_PERIOD)
        assert stopped(cloud) == {"start-sent", "vm-running", "job-accepted"}
        until(lambda: not any(users(cloud, rung) for rung in left), "every address was free", 3 * CLAIMABLE)


def users(cloud: Running, rung: str) -> list[str]:
    path = f"compute/v1/projects/demo/regions/us-central1/addresses/{rung}-ip"
    found: list[str] = httpx.get(f"{cloud.url}/{path}").raise_for_status().json().get("users", [])
    return found
