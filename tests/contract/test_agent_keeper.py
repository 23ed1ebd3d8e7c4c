"""The keeper of a run outlives what its machine's shutdown sends to everybody."""

import os
import signal
from pathlib import Path
from uuid import uuid4

import pytest

from tests.contract.agent_at_work import write_main
from vm_agent.process import LocalProcesses, Order
from vm_agent.protocol import FunctionJob, Mode


@pytest.fixture
def processes(tmp_path: Path) -> LocalProcesses:
    write_main(tmp_path, "def run(): return 42")
    return LocalProcesses(
        app=tmp_path / "app",
        environment=dict(os.environ),
        boot_id="boot-1",
        stop_grace_seconds=0.5,
        leftover_grace_seconds=0.2,
    )


def an_order(folder: Path) -> Order:
    folder.mkdir(parents=True)
    job = FunctionJob(function="main:run")
    return Order(uuid4().hex, "monday", 1, folder, job, Mode.RUN, {}, 30, None)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_a_signal_that_comes_before_the_keeper_has_its_handlers_waits_for_them(
    processes: LocalProcesses, tmp_path: Path, number: signal.Signals
) -> None:
    """It still imports when the signal comes: 20 ms in which its default would be to die."""
    child = await processes.start(an_order(tmp_path / "run"), lambda _progress: None)
    os.kill(child.mark.pid, number)
    child.go()
    verdict = await child.ended()
    assert (verdict.state, verdict.result) == ("SUCCEEDED", 42)
