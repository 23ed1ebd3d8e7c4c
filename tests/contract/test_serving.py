"""The emulator as a process of its own: how it ends, and what is left of its VMs then."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.contract.world import PROJECT, ZONE

VM = f"/compute/v1/projects/{PROJECT}/zones/{ZONE}/instances/stubborn-vm"


class Served:
    """`python -m gcp_emulator` with a VM whose processes want to outlive it."""

    def __init__(self, folder: Path) -> None:
        # The processes of this VM are known by the odd number of seconds that they want to sleep.
        self._marker = f"86400.{time.monotonic_ns()}"
        command = [sys.executable, "-m", "gcp_emulator", "--port", "0", "--latency", "instant", "--folder", str(folder)]
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.url = self._url()

    def boot_stubborn_vm(self) -> None:
        sleep = f"sleep {self._marker}"
        script = f"#!/bin/sh\ntrap '' TERM HUP\nsetsid sh -c '{sleep} & {sleep}' &\n(setsid {sleep} &)\n{sleep}\n"
        vm = {"name": "stubborn-vm", "metadata": {"startup-script": script}}
        httpx.post(f"{self.url}/_emulator/seed", json={"instances": [vm]}).raise_for_status()
        httpx.post(f"{self.url}{VM}/start").raise_for_status()
        self.wait_for_processes(4)

    def wait_for_processes(self, number: int) -> None:
        deadline = time.monotonic() + 30
        while (found := self._sleepers()) != number:
            assert time.monotonic() < deadline, f"{found} processes instead of {number}"
            time.sleep(0.02)

    def _sleepers(self) -> int:
        return sum(each.info["cmdline"] == ["sleep", self._marker] for each in psutil.process_iter(["cmdline"]))

    def _url(self) -> str:
        assert self.process.stderr is not None
        found = re.search(r"http://[\d.:]+", self.process.stderr.readline())
        assert found, "the emulator did not say where it is"
        return found.group()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    served.process.kill()
    served.process.wait()
    assert served.process.stderr is not None
    served.process.stderr.close()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_an_emulator_that_is_told_to_end_switches_its_vms_off_first(served: Served, ending: signal.Signals) -> None:
    served.boot_stubborn_vm()
    served.process.send_signal(ending)
    assert served.process.wait(timeout=30) == 0
    assert served._sleepers() == 0


def test_a_shutdown_that_is_under_way_does_not_hold_the_end_up(served: Served) -> None:
    """Compute Engine gives a guest two minutes; who presses Ctrl-C does not."""
    served.boot_stubborn_vm()
    httpx.post(f"{served.url}{VM}/stop").raise_for_status()
    served.process.terminate()
    assert served.process.wait(timeout=30) == 0
    assert served._sleepers() == 0


def test_nothing_is_left_of_a_vm_when_the_emulator_is_killed(served: Served) -> None:
    served.boot_stubborn_vm()
    served.process.kill()
    served.wait_for_processes(0)


def test_a_second_emulator_on_the_same_port_says_so(served: Served) -> None:
    port = served.url.rpartition(":")[2]
    command = [sys.executable, "-m", "gcp_emulator", "--port", port]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert f"127.0.0.1:{port} is taken: is another emulator running?" in done.stderr
