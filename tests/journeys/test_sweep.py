"""Sweeps: what a dead orchestrator left behind is put right, and nothing else is touched."""

import pytest

from orchestrator.lease import Phase
from orchestrator.swept import Standing
from tests.journeys.lab import Lab
from tests.journeys.sweeping import abandoned_at, sweep

RUNGS = {
    "lease": ("deadline", []),
    "deadline": ("attach", []),
    "address": ("start", ["detach"]),
    "machine": ("boot", ["stop", "detach"]),
    "agent": ("invoke", ["stop", "detach"]),
    "job done": ("stop", ["stop", "detach"]),
    "machine off": ("detach", ["detach"]),
    "address off": ("release", []),
}


@pytest.mark.parametrize("rung", RUNGS)
async def test_what_an_orchestrator_left_that_died_on_a_rung_is_put_right(lab: Lab, rung: str):
    phase, moves = RUNGS[rung]
    await abandoned_at(lab, phase)
    receipt = await sweep(lab)
    [vm] = receipt.findings
    assert (vm.standing, vm.owed, receipt.exit_code) == (Standing.ABANDONED, False, 0)
    assert list(vm.moves) == ["claim", *moves, "release"]
    assert (await lab.vm())["status"] == "TERMINATED"
    assert (await lab.address())["status"] == "RESERVED"
    lease = await lab.lease()
    assert lease is not None
    assert lease.phase is Phase.FREE
