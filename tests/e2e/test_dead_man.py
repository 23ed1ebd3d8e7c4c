"""The orchestrator is killed, and nothing is left but the VM's own dead-man: the agent's, or the watch of startup.sh.

Real processes and real clocks, the silence shortened by the VM's metadata; Google's own limit is far away. What became
of each VM, the cloud's history says.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.exports import demo_exports, exports
from gcp_emulator.seed import AddressSeed, InstanceSeed, Seed, caller_email
from tests.contract.world import Running, running
from tests.e2e.boots import startup_script
from tests.guests import alive_in
from tests.journeys.lab import CHECKOUT
from vm_agent.clock import MachineClock
from vm_agent.pulse import PulseFile

READABLE = [CHECKOUT, Path(sys.prefix), Path(sys.base_prefix)]
VM = "/compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm"
SILENCE = 3  # seconds
BOOTING, STARTING = "mayfly: booting", "mayfly: stage=agent status=starting"
BOOTED, ACCEPTED = "mayfly: stage=agent status=done", r"run \w+ accepted"


class Vm:
    """The one VM of a cloud, from outside and from underneath."""

    def __init__(self, cloud: Running, folder: Path) -> None:
        self.cloud = cloud
        self.disk = folder / "disks/demo/us-central1-a/gpu-vm"
        self._home = folder / "home"
        self._home.mkdir()  # nobody's .env or mayfly.toml

    def rent(self, job: str, killed_at: str, *, timeout: str = "1h", **params: str) -> None:
        """`mayfly run JOB`, killed by SIGKILL as soon as the VM's console has shown that."""
        words = [part for name, value in params.items() for part in ("--set", f"{name}={value}")]
        names = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "TIMEOUT": timeout}
        environment = names | exports(self.cloud.port) | demo_exports()
        command = [sys.executable, "-m", "mayfly", "run", job, *words]
        quiet = subprocess.DEVNULL
        orchestrator = subprocess.Popen(command, env=environment, cwd=self._home, stdout=quiet, stderr=quiet)
        try:
            self.says(killed_at)
        finally:
            orchestrator.send_signal(signal.SIGKILL)
            orchestrator.wait()

    def start(self) -> None:
        """As a person does, by hand."""
        httpx.post(f"{self.cloud.url}{VM}/start").raise_for_status()

    def stop(self) -> None:
        """Likewise."""
        httpx.post(f"{self.cloud.url}{VM}/stop").raise_for_status()

    def write_metadata(self, **attributes: str | None) -> None:
        """Change some of its attributes; None takes one off."""
        metadata = httpx.get(f"{self.cloud.url}{VM}").raise_for_status().json()["metadata"]
        values = {item["key"]: item["value"] for item in metadata["items"]} | attributes
        items = [{"key": name, "value": value} for name, value in values.items() if value is not None]
        body = {"fingerprint": metadata["fingerprint"], "items": items}
        httpx.post(f"{self.cloud.url}{VM}/setMetadata", json=body).raise_for_status()

    @property
    def console(self) -> str:
        entries = self.cloud.ask("history")["entries"]
        return "".join(entry["text"] for entry in entries if entry.get("event") == "SerialOutput")

    def says(self, words: str, times: int = 1) -> None:
        until(
            lambda: len(re.findall(words, self.console)) >= times, f"the console shows {words!r}", lambda: self.console
        )

    def is_off(self) -> None:
        until(lambda: self.states()[-1] == "TERMINATED", "the VM is off", lambda: self.console)
        assert [entry for entry in self.cloud.history("request") if entry["verb"] == "instances.stop"] == []

    def states(self) -> Sequence[str]:
        entries = self.cloud.history("state")
        return ["", *(entry["to"] for entry in entries if entry["resource"].endswith("/gpu-vm"))]

    def looks_again(self) -> None:
        """The watch has looked another three times, and left it on."""
        self.says("looked:", times=self.console.count("looked:") + 3)
        assert self.states()[-1] == "RUNNING"

    def pids_of(self, *words: str) -> list[int]:
        """The processes inside whose command has these words, without children that are only about to be another."""
        pids = [pid for pid in alive_in(self.disk) if set(words) <= set(command_of(pid))]
        return [pid for pid in pids if parent_of(pid) not in pids]

    def silence_is_over(self) -> None:
        """For the agent, had it not a reason to wait."""
        pulse = PulseFile(self.disk / "run/mayfly/pulse")

        def over() -> bool:
            seen = pulse.read()
            return seen is not None and MachineClock().uptime() > seen.heard + SILENCE + 2

        until(over, "the silence is over", lambda: self.console)


@pytest.fixture
def vm(tmp_path: Path) -> Iterator[Vm]:
    metadata = {
        "enable-guest-attributes": "TRUE",
        "startup-script": startup_script(),
        "mayfly-callers": caller_email("demo"),
        "mayfly-silence-seconds": str(SILENCE),
        "mayfly-boot-minutes": "1",
    }
    seed = Seed(
        instances=(InstanceSeed("gpu-vm", metadata=metadata, labels={"mayfly": "managed"}),),
        addresses=(AddressSeed("gpu-ip"),),
    )
    with running(lambda: Emulator(seed=seed, folder=tmp_path / "disks", readable=READABLE)) as port:
        vm = Vm(Running(port), tmp_path)
        yield vm
        assert vm.states()[-1] == "TERMINATED", "the VM was left on"
        assert vm.cloud.history("violation") == []
        assert [fault for fault in vm.cloud.ask("faults")["faults"] if not fault["spent"] and fault["times"]] == []


@pytest.mark.parametrize("rung", [BOOTING, STARTING])
def test_incident_04_a_vm_whose_orchestrator_is_killed_while_it_boots_is_off_after_the_silence(vm: Vm, rung: str):
    vm.rent("main:for_ever", rung, timeout="8s")
    vm.is_off()
    assert "dead-man: no word for 3 s, and no run in progress: powering off" in vm.console


def test_a_vm_that_a_person_started_and_forgot_is_off_after_the_silence(vm: Vm):
    vm.start()
    vm.is_off()
    assert "dead-man: no word for 3 s, and no run in progress: powering off" in vm.console


def test_a_run_inside_its_deadline_is_not_cut_although_nobody_speaks(vm: Vm):
    vm.rent("main:outlast", ACCEPTED, until=str(vm.disk / "go"))
    vm.silence_is_over()
    vm.looks_again()
    (vm.disk / "go").touch()
    vm.is_off()
    ended, off = vm.console.index("SUCCEEDED"), vm.console.index("powering off")
    assert ended < off


def test_a_run_that_nobody_follows_ends_at_its_deadline_and_the_vm_with_it(vm: Vm):
    vm.rent("main:for_ever", ACCEPTED, timeout="8s")
    vm.is_off()
    assert vm.console.index("TIMED_OUT") < vm.console.index("powering off")


def test_when_the_agent_is_killed_too_and_cannot_start_again_the_watch_powers_off(vm: Vm):
    vm.rent("main:for_ever", ACCEPTED)
    (vm.disk / "run/services/mayfly-agent").unlink()  # its supervisor finds nothing to start
    [agent] = vm.pids_of("vm_agent")
    os.kill(agent, signal.SIGKILL)
    vm.is_off()
    assert "mayfly: silence, and no run in progress, but the agent did nothing: powering off" in vm.console
    assert "dead-man: no word" not in vm.console


def test_an_agent_that_crashes_again_and_again_does_not_keep_its_vm_on(vm: Vm):
    vm.rent("main:for_ever", ACCEPTED)

    def off_in_spite_of_it() -> bool:
        for agent in vm.pids_of("vm_agent"):
            kill(agent)
        return vm.states()[-1] == "TERMINATED"

    until(off_in_spite_of_it, "the VM is off", lambda: vm.console)


def test_a_run_is_not_cut_while_its_agent_hangs_and_the_vm_goes_off_when_both_are_gone(vm: Vm):
    vm.rent("main:outlast", ACCEPTED, until=str(vm.disk / "go"))
    vm.silence_is_over()
    [agent] = vm.pids_of("vm_agent")
    os.kill(agent, signal.SIGSTOP)
    vm.looks_again()
    assert vm.pids_of("vm_agent.call"), "the job works on"
    (vm.disk / "run/services/mayfly-agent").unlink()
    kill(agent)
    vm.is_off()
    assert "mayfly: silence, and no run in progress, but the agent did nothing: powering off" in vm.console


def test_who_is_at_work_on_the_vm_keeps_it_on_until_he_says_otherwise(vm: Vm):
    until_then = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    vm.write_metadata(**{"mayfly-hold": until_then})
    vm.start()
    vm.says("somebody is at work here")
    vm.silence_is_over()
    vm.looks_again()
    assert until_then in (vm.disk / "run/motd.d/mayfly-hold").read_text()
    vm.write_metadata(**{"mayfly-hold": None})
    vm.is_off()


def test_a_vm_whose_metadata_server_dies_is_off_after_the_silence_too(vm: Vm):
    """The lease is renewed, but nobody on the VM can see it."""
    vm.start()
    vm.says(BOOTED)
    vm.cloud.fault(on="metadata.get", times=None, reply={"status": 503})
    epochs = count(1)

    def off_in_spite_of_it() -> bool:
        vm.write_metadata(**{"mayfly-lease": json.dumps({"epoch": next(epochs)})})
        return vm.states()[-1] == "TERMINATED"

    until(off_in_spite_of_it, "the VM is off", lambda: vm.console)


def until(holds: Callable[[], bool], what: str, evidence: Callable[[], str]) -> None:
    """Ask again until it is so; only a failing test waits as long."""
    ends = time.monotonic() + 90
    while not holds():
        assert time.monotonic() < ends, f"it never was so that {what}:\n{evidence()}"
        time.sleep(0.05)


def command_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []


def parent_of(pid: int) -> int:
    try:
        return int(re.findall(r"PPid:\s*(\d+)", Path(f"/proc/{pid}/status").read_text())[0])
    except OSError:
        return 0


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
