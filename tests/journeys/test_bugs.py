"""Our own code fails, at every verb: a bug may cost the run, but it must not leave a VM on."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import AgentSilent, BadUsage, Stockout, Transient
from orchestrator.events import Event
from orchestrator.lease import Phase
from orchestrator.policy import seconds
from orchestrator.run import Outcome
from tests.journeys.lab import IMPATIENT, MUTATIONS, Lab, a_lab, in_phase

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


async def test_past_the_deadline_of_a_run_whose_agent_is_silent_its_outcome_is_unknown(lab: Lab):
    """It may have ended in time; `killed at its deadline` would be a guess."""
    silent: list[Exception] = []
    running = asyncio.create_task(
        lab.run(
            "main:for_ever",
            timeout="2s",
            bugs={"agent.follow,find": silent},
            policy=replace(IMPATIENT, grace=seconds(0), lost_agent=seconds(60), log_poll=seconds(0.2)),
        )
    )
    await lab.until(in_phase(lab, "job"))
    silent += [AgentSilent("not a word")] * 10_000
    receipt = await running
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.INTERRUPTED, 5, "confirmed")


async def test_a_view_that_fails_does_not_keep_the_vm_on(lab: Lab):
    def fail(event: Event) -> None:
        raise ValueError("I/O operation on closed file")

    receipt = await lab.run("main:run", tell=fail)
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.SUCCEEDED, 0, "confirmed")
    assert await everything_is_down(lab)


async def test_a_start_of_which_nobody_knows_whether_it_lands_is_followed_by_a_stop(lab: Lab):
    """The VM looks off, and a request that was lost may still switch it on."""
    receipt = await lab.run("main:run", bugs={"machines.start": [Transient("no answer")]})
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.NO_MACHINE, 3, "confirmed")
    assert len(lab.requests("instances.stop")) == 1
    assert await everything_is_down(lab)


async def test_a_start_that_google_refused_needs_no_stop(lab: Lab):
    receipt = await lab.run("main:run", bugs={"machines.start": [Stockout("not one left")]})
    assert (receipt.exit_code, receipt.cleanup) == (3, "confirmed")
    assert lab.requests("instances.stop") == []
    assert receipt.vm is not None
    assert receipt.vm.billed_seconds is None, "the times on the VM are those of an earlier run"


async def test_a_renewal_that_fails_by_a_bug_is_tried_again(lab: Lab):
    until, renewed = lab.disk / "go-on", []
    bugs: list[Exception] = []
    policy = replace(IMPATIENT, lease_renewal=seconds(0.1))
    running = asyncio.create_task(
        lab.run("main:outlast", params={"until": str(until)}, bugs={"leases.write": bugs}, policy=policy)
    )
    await lab.until(lambda: "at work" in lab.output)
    bugs.append(ValueError("a bug of ours"))
    await lab.until(lambda: not bugs)
    renewed = lab.requests("instances.setMetadata")
    await lab.until(lambda: len(lab.requests("instances.setMetadata")) > len(renewed))
    until.touch()
    assert (await running).exit_code == 0


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
