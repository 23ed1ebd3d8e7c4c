"""`mayfly cancel`, where the run is not simply held: it is about to begin, waits twice, or was left at work."""

import asyncio
import sys
from pathlib import Path

import pytest

from gcp_emulator.containers import Processes
from mayfly.cancelling import cancel
from mayfly.executions import Executions, deployed_executions
from mayfly.google import google_of
from mayfly.standing import standing_of
from orchestrator.errors import Busy, CleanupOwed
from orchestrator.run import Outcome
from tests.journeys.cloud_run import config_of, deployed
from tests.journeys.command import begin, mayfly
from tests.journeys.lab import IMPATIENT, Lab, a_lab
from tests.journeys.sweeping import abandoned_at, left_lease, sweep


async def started(lab: Lab, *arguments: str) -> str:
    config = config_of(lab)
    async with google_of(config.settings, IMPATIENT) as google:
        executions: Executions = deployed_executions(google, config)
        return await executions.start(arguments)


def states(lab: Lab) -> dict[str, str]:
    return {one.id: one.state.value for one in lab.emulator.cloud.world.executions.values()}


async def at_work(lab: Lab) -> str:
    """The key of the run that the VM's agent has, once it has one."""
    async with asyncio.timeout(120):
        while (greeting := (await standing_of(config_of(lab))).greeting) is None or greeting.run is None:
            await asyncio.sleep(0.1)
    return greeting.run.key


async def test_an_execution_that_is_about_to_begin_is_cancelled_by_its_key_and_named_where_none_is_given(
    tmp_path: Path,
):
    starting = Processes((sys.executable, "-c", "import time; time.sleep(600)"))  # it never gets to the lease
    async with a_lab(tmp_path / "disks", containers=starting) as lab:
        await deployed(lab, maxRetries=3)
        nightly, unnamed = await started(lab, "run", "--key", "nightly"), await started(lab, "run")
        with pytest.raises(
            Busy, match=f"{unnamed}, {nightly} in Cloud Run may be about to begin one.*cancel {unnamed}"
        ):
            await cancel(config_of(lab), None, print)
        assert states(lab).keys() == {nightly, unnamed}
        assert "CANCELLED" not in states(lab).values()

        cancelled = await mayfly(lab, tmp_path / "cwd", "cancel", "nightly")
        assert (cancelled.code, cancelled.receipt["run_key"], cancelled.receipt["how"]) == (0, "nightly", "execution")
        assert cancelled.receipt["detail"] == f"{nightly} ended, and run nightly holds nothing: gpu-vm is TERMINATED."
        assert states(lab)[nightly] == "CANCELLED"
        assert states(lab)[unnamed] != "CANCELLED"

        by_name = await cancel(config_of(lab), unnamed, print)
        assert (by_name.key, states(lab)[unnamed]) == (unnamed, "CANCELLED")
        assert (await cancel(config_of(lab), None, print)).said == "No run is live on gpu-vm."
        assert lab.requests("instances.start", "instances.stop") == []
        await lab.all_is_well()


async def test_an_execution_between_two_attempts_does_not_begin_the_next_though_its_lease_has_run_out(tmp_path: Path):
    between = Processes((sys.executable, "-c", "import time; time.sleep(600)"))
    async with a_lab(tmp_path / "disks", containers=between) as lab:
        await deployed(lab, maxRetries=3)
        name = await started(lab, "run")
        await left_lease(lab, "gpu-vm", execution=name)
        cancelled = await cancel(config_of(lab), None, print)
        assert (cancelled.key, cancelled.how, states(lab)) == ("monday", "execution", {name: "CANCELLED"})
        assert cancelled.said.endswith("gpu-vm is off, and whoever cleans up next gives its lease back.")
        await lab.all_is_well()


async def test_who_may_not_list_executions_is_told_so_and_the_run_is_cancelled_all_the_same(lab: Lab):
    refused = {"status": 403, "message": "Permission 'run.executions.list' denied."}
    await lab.inject(on="run.executions.list", times=2, reply=refused)
    nothing = await cancel(config_of(lab), None, print)
    assert "could not be seen: Cannot list the executions of mayfly" in nothing.said
    running = asyncio.create_task(lab.run("main:for_ever", key="k"))
    await lab.until(lambda: len(lab.requests("instances.start")) == 1)
    told: list[str] = []
    assert (await cancel(config_of(lab), "k", told.append)).how == "agent"
    assert told[0].startswith("Which executions wait for the run could not be seen: ")
    assert (await running).outcome is Outcome.CANCELLED


async def test_a_run_in_line_is_cancelled_and_the_one_that_holds_the_vm_goes_on(tmp_path: Path):
    released = tmp_path / "released"
    async with a_lab(tmp_path / "disks", readable=[tmp_path]) as lab:
        await deployed(lab, {"WAIT_FOR_LEASE": "10m"})
        running = asyncio.create_task(lab.run("main:outlast", key="monday", params={"until": str(released)}))
        await lab.until(lambda: "at work" in lab.output)
        waiting = await started(lab, "run", "--key", "tuesday")
        cancelled = await cancel(config_of(lab), "tuesday", print)
        assert (cancelled.key, cancelled.how, states(lab)) == ("tuesday", "execution", {waiting: "CANCELLED"})
        released.touch()
        assert (await running).outcome is Outcome.SUCCEEDED
        assert len(lab.requests("instances.start")) == 1
        await lab.all_is_well()


@pytest.mark.parametrize("whose", [("--key", "k"), ("--once-per", "1d")], ids=["of a key", "of a window"])
async def test_whoever_waits_for_a_run_that_is_cancelled_does_not_begin_it_again(lab: Lab, whose: tuple[str, str]):
    await deployed(lab, maxRetries=3)
    order = ("run", "main:for_ever", *whose)
    first = await started(lab, *order)
    key = await at_work(lab)
    second = await started(lab, *order)
    await lab.until(lambda: states(lab)[second] == "RUNNING")
    told: list[str] = []
    cancelled = await cancel(config_of(lab), key, told.append)
    assert (cancelled.key, cancelled.how) == (key, "execution")
    assert states(lab) == {first: "CANCELLED", second: "CANCELLED"}
    assert [line.split()[4] for line in told] == [second, first], "who waits, before who holds"
    assert len(lab.requests("instances.start")) == 1
    assert (await lab.vm())["status"] == "TERMINATED"


async def test_a_run_that_its_dead_holder_left_at_work_is_ended_and_a_sweep_may_stop_the_vm_then(
    lab: Lab, tmp_path: Path
):
    await abandoned_at(lab, "job", job="main:for_ever", key="k")
    found = await sweep(lab)
    assert [one.standing for one in found.findings] == ["live"], "a sweep leaves it alone, hours if need be"
    cancelling = await begin(lab, tmp_path / "cwd", "cancel", "k")
    _, said = await asyncio.wait_for(cancelling.communicate(), 120)
    assert (cancelling.returncode, b"Run k was cancelled at its agent." in said) == (7, True), said
    greeting = (await standing_of(config_of(lab))).greeting
    assert greeting is not None
    assert greeting.run is None or greeting.run.state.finished
    assert lab.requests("instances.stop") == []
    receipt = await sweep(lab)
    assert (receipt.exit_code, [one.standing for one in receipt.findings]) == (0, ["abandoned"])


async def test_a_run_whose_agent_is_silent_cannot_be_cancelled_and_is_not_said_to_be_over(lab: Lab):
    await abandoned_at(lab, "job", job="main:for_ever")
    with pytest.raises(CleanupOwed, match=r"run may be live until .* It could not be cancelled"):
        await cancel(config_of(lab, agent_port=8001), None, print)
    await lab.switch_off()


async def test_a_holder_that_cloud_run_does_not_know_is_reached_by_its_agent(lab: Lab):
    running = asyncio.create_task(lab.run("main:for_ever", key="k", cloud_run_execution="mayfly-gone1"))
    await lab.until(lambda: len(lab.requests("instances.start")) == 1)
    told: list[str] = []
    cancelled = await cancel(config_of(lab), "k", told.append)
    assert told[0].startswith("The Cloud Run execution mayfly-gone1 cannot be cancelled (any more): There is no ")
    assert (cancelled.how, (await running).outcome) == ("agent", Outcome.CANCELLED)


async def test_an_execution_that_somebody_else_writes_to_meanwhile_is_told_again(lab: Lab):
    await deployed(lab)
    name = await started(lab, "run", "main:for_ever", "--key", "k")
    await at_work(lab)
    await lab.inject(on="run.executions.cancel", reply={"status": 409, "reason": "ABORTED"})
    cancelled = await cancel(config_of(lab), "k", print)
    assert (cancelled.how, states(lab)) == ("execution", {name: "CANCELLED"})
    assert len(lab.requests("run.executions.cancel")) == 2
