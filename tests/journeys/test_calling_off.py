"""A signal turns the trip round, wherever it is."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.events import PhaseStarted
from orchestrator.run import Outcome
from tests.journeys.lab import Lab, a_lab

PHASES = ["lease", "deadline", "attach", "start", "boot", "invoke", "job"]


def in_phase(lab: Lab, name: str) -> Callable[[], bool]:
    return lambda: any(isinstance(event, PhaseStarted) and event.name == name for event in lab.told)


@pytest.mark.parametrize("phase", PHASES)
async def test_a_run_that_is_called_off_comes_down_from_wherever_it_is(tmp_path: Path, phase: str):
    async with a_lab(tmp_path) as lab:
        called_off = asyncio.Event()
        running = asyncio.create_task(lab.run("main:for_ever", called_off=called_off))
        await lab.until(in_phase(lab, phase))
        called_off.set()
        receipt = await running
        assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.TERMINATED, 143, "confirmed")
        assert (await lab.address())["status"] == "RESERVED"
        lease = await lab.lease()
        assert lease is None or lease.phase == "free"
        await lab.all_is_well()


async def test_a_run_that_has_ended_keeps_its_outcome_when_the_way_down_is_called_off(lab: Lab):
    called_off = asyncio.Event()
    running = asyncio.create_task(lab.run("main:run", called_off=called_off))
    await lab.until(in_phase(lab, "stop"))
    called_off.set()
    receipt = await running
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.SUCCEEDED, 0, "confirmed")


async def test_output_is_shown_while_the_job_runs(lab: Lab):
    until = lab.disk / "go-on"
    running = asyncio.create_task(lab.run("main:outlast", params={"until": str(until)}))
    await lab.until(lambda: lab.output == "at work\n")
    until.touch()
    assert (await running).exit_code == 0
