"""A signal turns the trip round, wherever it is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.policy import seconds
from orchestrator.run import Outcome
from tests.contract.wires import Asked, passed_on, serving
from tests.journeys.lab import IMPATIENT, Lab, a_lab, in_phase

PHASES = ["lease", "deadline", "attach", "start", "boot", "invoke", "job"]


@asynccontextmanager
async def a_wire_that_holds(lab: Lab, verb: str, until: asyncio.Event) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """The way to the emulator, on which requests for `verb` are kept, and then delivered, once `until` is set.

    Gives where to call, and the event that the first such request is on its way.
    """
    on_its_way = asyncio.Event()

    async def say(asked: Asked) -> bytes:
        if asked.path.endswith(verb):
            on_its_way.set()
            await until.wait()
        return await passed_on(asked, lab.emulator.port)

    async with serving(say) as url:
        yield urlsplit(url).netloc, on_its_way


async def is_free_and_down(lab: Lab) -> bool:
    lease = await lab.lease()
    free = lease is None or lease.phase == "free"
    return free and (await lab.vm())["status"] == "TERMINATED" and (await lab.address())["status"] == "RESERVED"


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


async def test_a_start_that_hangs_is_stopped_at_once_and_again_when_it_lands(lab: Lab):
    called_off, may_land = asyncio.Event(), asyncio.Event()
    async with a_wire_that_holds(lab, "/start", may_land) as (host, on_its_way):
        running = asyncio.create_task(lab.run("main:run", called_off=called_off, compute_emulator_host=host))
        await on_its_way.wait()
        called_off.set()
        await lab.until(lambda: bool(lab.requests("instances.stop")))
        lease = await lab.lease()
        assert lease is not None
        assert lease.phase == "claimed", "the lease is kept while a start may land"
        may_land.set()
        receipt = await running
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.TERMINATED, 143, "confirmed")
    verbs = [entry["verb"] for entry in lab.requests("instances.start", "instances.stop")]
    assert verbs.count("instances.start") == 1
    assert verbs[0] == verbs[-1] == "instances.stop"
    assert await is_free_and_down(lab)


@pytest.mark.parametrize("verb", ["/setMetadata", "/setScheduling", "/addAccessConfig"])
async def test_what_hangs_before_the_start_is_settled_before_the_lease_is_given_back(lab: Lab, verb: str):
    called_off, may_land = asyncio.Event(), asyncio.Event()
    async with a_wire_that_holds(lab, verb, may_land) as (host, on_its_way):
        running = asyncio.create_task(lab.run("main:run", called_off=called_off, compute_emulator_host=host))
        await on_its_way.wait()
        called_off.set()
        await lab.until(in_phase(lab, "settle"))
        may_land.set()
        receipt = await running
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.TERMINATED, 143, "confirmed")
    assert lab.requests("instances.start", "instances.stop") == [], "nothing was on, or could come on"
    assert await is_free_and_down(lab)


async def test_an_operation_that_has_not_ended_is_not_settled(lab: Lab):
    """The claim was answered, but its operation may still be at work: the lease must not land after we have left."""
    called_off, may_end = asyncio.Event(), asyncio.Event()
    async with a_wire_that_holds(lab, "/wait", may_end) as (host, on_its_way):
        running = asyncio.create_task(lab.run("main:run", called_off=called_off, compute_emulator_host=host))
        await on_its_way.wait()
        called_off.set()
        await lab.until(in_phase(lab, "settle"))
        assert not running.done()
        may_end.set()
        receipt = await running
    assert receipt.cleanup == "confirmed"
    assert await is_free_and_down(lab)


async def test_a_start_that_never_settles_is_owed_within_the_time_that_a_signal_leaves(tmp_path: Path):
    async with a_lab(tmp_path) as lab:
        called_off, never = asyncio.Event(), asyncio.Event()
        async with a_wire_that_holds(lab, "/start", never) as (host, on_its_way):
            policy = replace(IMPATIENT, after_sigterm=seconds(2), request=seconds(60))
            running = asyncio.create_task(
                lab.run("main:run", called_off=called_off, compute_emulator_host=host, policy=policy)
            )
            await on_its_way.wait()
            called_off.set()
            receipt = await running
        assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.TERMINATED, 143, "owed")
        assert "may still be on" in receipt.detail
        assert lab.requests("instances.stop")
        lease = await lab.lease()
        assert lease is not None
        assert lease.phase == "claimed"


async def test_copying_ends_when_the_run_is_called_off_for_the_vm_must_stop(lab: Lab, tmp_path: Path):
    called_off = asyncio.Event()
    policy = replace(IMPATIENT, after_sigterm=seconds(5))
    running = asyncio.create_task(
        lab.run("main:with_a_large_file", called_off=called_off, out=tmp_path / "out", policy=policy)
    )
    await lab.until(lambda: any((tmp_path / "out").glob("*/.incoming")))
    called_off.set()
    receipt = await running
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.SUCCEEDED, 0, "confirmed")
    assert "Not everything was copied" in receipt.detail
    assert not any((tmp_path / "out").glob("*/.incoming"))
