"""Our own code fails, at every verb: a bug may cost the run, but it must not leave a VM on."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import AgentSilent, BadUsage, Transient
from orchestrator.lease import Phase
from orchestrator.policy import seconds
from orchestrator.run import Outcome
from tests.journeys.lab import IMPATIENT, MUTATIONS, Lab, a_lab

ON_THE_WAY_UP = ["machines.arm", "addresses.attach", "machines.start", "agent.greet", "agent.start", "agent.follow"]
ON_THE_WAY_DOWN = ["machines.stop", "addresses.detach"]


async def everything_is_down(lab: Lab) -> bool:
    lease = await lab.lease()
    free = lease is None or lease.phase is Phase.FREE
    return free and (await lab.vm())["status"] == "TERMINATED" and (await lab.address())["status"] == "RESERVED"


@pytest.mark.parametrize("verb", ON_THE_WAY_UP)
async def test_a_bug_on_the_way_up_turns_the_trip_round(lab: Lab, verb: str):
    receipt = await lab.run("main:run", bugs={verb: [ValueError("a bug of ours")]})
    assert receipt.exit_code in {4, 5}
    assert "a bug of ours" in receipt.detail
    assert receipt.cleanup == "confirmed"
    assert await everything_is_down(lab)


@pytest.mark.parametrize("verb", ON_THE_WAY_DOWN)
async def test_a_bug_on_the_way_down_is_no_reason_to_stop_coming_down(lab: Lab, verb: str):
    receipt = await lab.run("main:run", bugs={verb: [ValueError("a bug of ours")] * 3})
    assert (receipt.outcome, receipt.cleanup) == (Outcome.SUCCEEDED, "confirmed")
    assert await everything_is_down(lab)


async def test_a_bug_that_stays_on_the_way_down_is_exit_7(tmp_path: Path):
    async with a_lab(tmp_path) as lab:
        bugs: list[Exception] = [ValueError("a bug of ours")] * 10_000
        receipt = await lab.run("main:run", bugs={"machines.stop": bugs}, policy=replace(IMPATIENT, down=seconds(1)))
        assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.CLEANUP_OWED, 7, "owed")
        await lab.all_is_well(still_on=["gpu-vm"])


@pytest.mark.parametrize("verb", ["agent.start", "agent.follow"])
@pytest.mark.parametrize(
    "error", [Transient("no answer"), AgentSilent("not a word")], ids=lambda error: type(error).__name__
)
async def test_once_the_agent_was_asked_silence_leaves_the_outcome_unknown(lab: Lab, verb: str, error: Exception):
    """`agent never ready` would be a lie: the run may have been accepted."""
    receipt = await lab.run(
        "main:for_ever", bugs={verb: [error] * 10_000}, policy=replace(IMPATIENT, lost_agent=seconds(1))
    )
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.INTERRUPTED, 5, "confirmed")


@pytest.mark.parametrize("error", [BadUsage("a key that no header can carry"), TypeError("a bug of ours")])
async def test_before_anything_is_touched_what_cannot_be_judged_is_raised(lab: Lab, error: Exception):
    with pytest.raises(type(error)):
        await lab.run("main:run", bugs={"machines.look": [error]})
    assert lab.requests(*MUTATIONS) == []


async def test_a_key_that_cannot_be_sent_still_brings_the_vm_down(lab: Lab):
    """BadUsage says "nothing was touched": once something was, it comes down like any other error."""
    receipt = await lab.run("main:run", bugs={"agent.greet": [BadUsage("a key that no header can carry")]})
    assert (receipt.exit_code, receipt.cleanup) == (4, "confirmed")
    assert await everything_is_down(lab)
