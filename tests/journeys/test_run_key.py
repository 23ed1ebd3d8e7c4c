"""One key is one run: across retries, doubled ticks, twins, and processes that died over it."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import BadUsage
from orchestrator.lease import Phase
from orchestrator.policy import Policy, seconds
from orchestrator.run import Outcome, Receipt
from tests.journeys.lab import IMPATIENT, Lab, in_phase
from vm_agent.protocol import Mode

# L, the longest life of a request, and with it every takeover, in moments.
HASTY = replace(IMPATIENT, request=seconds(2), lease_ttl=seconds(4), lease_renewal=seconds(1), lease_poll=seconds(0.1))


def tries(execution: str, attempt: int, task: int = 0) -> dict[str, Any]:
    """What Cloud Run tells a task of itself."""
    return {
        "cloud_run_execution": execution,
        "cloud_run_task_index": task,
        "cloud_run_task_attempt": attempt,
    }


async def killed(lab: Lab, when: str, job: str = "main:outlast", **order: Any) -> None:
    """An orchestrator that dies in that phase, without a word: nothing it had in hand is given back."""
    running = asyncio.create_task(lab.run(job, policy=DEAD_HAND, **order))
    await lab.until(in_phase(lab, when))
    if when == "job":
        await lab.until(lambda: "at work" in lab.output)
    await kill(running)
    lab.told.clear()


# It renews nothing, and is not let come down: what a SIGKILL leaves.
DEAD_HAND = replace(HASTY, lease_renewal=seconds(3600), settle_after_sigterm=seconds(0))


async def kill(running: "asyncio.Task[Receipt]") -> None:
    """A cancelled `drive` undoes nothing: coming down is what it does after the way up, not in a `finally`."""
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def accepted(lab: Lab) -> int:
    """How many runs the agent has accepted, by its own log on the serial console."""
    said = [entry["text"] for entry in lab.emulator.history() if entry.get("event") == "SerialOutput"]
    return "".join(said).count(" accepted: key=")


@pytest.mark.parametrize(("job", "code"), [("main:run", 0), ("main:fail", 1)])
async def test_a_retry_is_answered_from_memory_and_starts_no_vm(lab: Lab, job: str, code: int):
    first = await lab.run(job, key="monday")
    assert (first.exit_code, first.answered_from_memory) == (code, False)
    starts = len(lab.requests("instances.start"))
    lab.emulator.cloud.history.entries.clear()
    again = await lab.run(job, key="monday")
    assert starts == 1
    assert (again.exit_code, again.answered_from_memory, again.result) == (code, True, first.result)
    assert again.cleanup == "confirmed"
    assert lab.requests(*CHANGES) == []


CHANGES = ("instances.start", "instances.stop", "instances.setMetadata", "instances.addAccessConfig")


async def test_a_rehearsal_is_another_run_than_the_real_one_under_the_same_key(lab: Lab):
    await lab.run("main:run", key="monday")
    receipt = await lab.run("main:test", mode=Mode.TEST, key="monday")
    assert (receipt.result, receipt.answered_from_memory) == ({"order": "rehearsed"}, False)


async def test_a_key_that_stands_for_another_job_is_refused_and_nothing_touched(lab: Lab):
    await lab.run("main:run", key="monday")
    before = len(lab.requests("instances.setMetadata"))
    with pytest.raises(BadUsage, match="monday already stands for another job"):
        await lab.run("main:fail", key="monday")
    assert len(lab.requests("instances.setMetadata")) == before


async def test_the_ticks_of_one_window_are_one_run(lab: Lab):
    first = await lab.run("main:run", once_per="1d", tz="Asia/Seoul")
    second = await lab.run("main:run", once_per="1d", tz="Asia/Seoul")
    assert first.run_key == second.run_key
    assert (second.exit_code, second.answered_from_memory) == (0, True)
    assert len(lab.requests("instances.start")) == 1


async def test_a_window_boundary_between_two_attempts_makes_no_second_run(lab: Lab):
    """23:50 and 00:10: the second attempt goes by the key that the first has written down."""
    late = datetime(2026, 11, 21, 23, 50, tzinfo=UTC)
    early = datetime(2026, 11, 22, 0, 10, tzinfo=UTC)
    order = {"once_per": "1d", **tries("mayfly-x7k2p", 0)}
    running = asyncio.create_task(lab.run("main:outlast", params=until(lab), now=late, policy=DEAD_HAND, **order))
    await lab.until(lambda: "at work" in lab.output)
    await kill(running)
    let_go(lab)
    order |= tries("mayfly-x7k2p", 1)
    second = await lab.run("main:outlast", params=until(lab), now=early, policy=HASTY, **order)
    assert second.run_key.startswith("2026-11-21/")
    assert (second.exit_code, accepted(lab)) == (0, 1)
    tomorrow = await lab.run("main:outlast", params=until(lab), now=early, once_per="1d", **tries("mayfly-9zzzz", 0))
    assert tomorrow.run_key.startswith("2026-11-22/")
    assert accepted(lab) == 2


def let_go(lab: Lab) -> None:
    """The job may end now."""
    lab.disk.mkdir(parents=True, exist_ok=True)
    (lab.disk / "go-on").touch()


def until(lab: Lab) -> dict[str, str]:
    return {"until": str(lab.disk / "go-on")}


@pytest.mark.parametrize("when", ["lease", "start", "boot", "job"])
async def test_incident_03_a_retried_attempt_goes_on_where_the_one_before_it_died(lab: Lab, when: str):
    """Each rung: what the dead attempt left is neither started twice nor left on."""
    await killed(lab, when, params=until(lab), **tries("mayfly-x7k2p", 0))
    let_go(lab)
    receipt = await lab.run("main:outlast", params=until(lab), policy=HASTY, **tries("mayfly-x7k2p", 1))
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.SUCCEEDED, 0, "confirmed")
    assert accepted(lab) == 1


async def test_a_twin_changes_nothing_and_answers_with_the_outcome_of_the_other(lab: Lab):
    running = asyncio.create_task(lab.run("main:outlast", params=until(lab), key="monday", policy=HASTY))
    await lab.until(lambda: "at work" in lab.output)
    twin = asyncio.create_task(lab.run("main:outlast", params=until(lab), key="monday", policy=HASTY))
    await lab.until(lambda: any("Waiting for it" in str(event) for event in lab.told))
    let_go(lab)
    first, second = await asyncio.gather(running, twin)
    assert (first.exit_code, first.answered_from_memory) == (0, False)
    assert (second.exit_code, second.answered_from_memory) == (0, True)
    assert (accepted(lab), len(lab.requests("instances.start")), len(lab.requests("instances.stop"))) == (1, 1, 1)


async def test_a_twin_takes_over_from_one_that_died(lab: Lab):
    await killed(lab, "job", params=until(lab), key="monday")
    let_go(lab)
    receipt = await lab.run("main:outlast", params=until(lab), key="monday", policy=HASTY)
    assert (receipt.exit_code, accepted(lab)) == (0, 1)


async def test_a_run_that_was_cut_off_while_nobody_looked_is_read_from_its_ledger_and_not_begun_again(lab: Lab):
    await killed(lab, "job", params=until(lab), **tries("mayfly-x7k2p", 0))
    await lab.switch_off()
    receipt = await lab.run("main:outlast", params=until(lab), policy=HASTY, **tries("mayfly-x7k2p", 1))
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.INTERRUPTED, 5, "confirmed")
    assert (accepted(lab), len(lab.requests("instances.start"))) == (1, 2)
    again = await lab.run("main:outlast", params=until(lab), policy=HASTY, **tries("mayfly-x7k2p", 2))
    assert (again.exit_code, again.answered_from_memory) == (5, True)


async def test_a_run_that_may_be_done_twice_is_begun_again_once_it_was_cut_off(lab: Lab):
    await killed(lab, "job", params=until(lab), on_interrupt="rerun", **tries("mayfly-x7k2p", 0))
    await lab.switch_off()
    let_go(lab)
    order = {"params": until(lab), "on_interrupt": "rerun", **tries("mayfly-x7k2p", 1)}
    receipt = await lab.run("main:outlast", policy=HASTY, **order)
    assert (receipt.outcome, receipt.attempts, receipt.cleanup) == (Outcome.SUCCEEDED, 2, "confirmed")
    assert accepted(lab) == 2


async def test_incident_12_no_attempt_writes_over_the_log_of_the_one_before(lab: Lab, tmp_path: Path):
    """Neither on the VM, nor where the orchestrator copies it to."""
    order = {"params": until(lab), "on_interrupt": "rerun", "out": tmp_path / "out"}
    await killed(lab, "job", **order, **tries("mayfly-x7k2p", 0))
    await lab.switch_off()
    let_go(lab)
    receipt = await lab.run("main:outlast", policy=HASTY, **order, **tries("mayfly-x7k2p", 1))
    assert (receipt.exit_code, receipt.attempts) == (0, 2)
    logs = [path.read_text() for path in lab.disk.rglob("runs/*/log")]
    assert [log.count("at work") for log in logs] == [1, 1]
    copied = [path.read_text() for path in (tmp_path / "out").rglob("log.txt")]
    assert [log.count("at work") for log in copied] == [1]


async def test_a_vm_that_goes_off_under_a_run_that_may_be_done_twice_is_started_again(lab: Lab):
    running = asyncio.create_task(lab.run("main:outlast", params=until(lab), policy=HASTY, on_interrupt="rerun"))
    await lab.until(lambda: "at work" in lab.output)
    await lab.switch_off()
    let_go(lab)
    receipt = await running
    assert (receipt.outcome, receipt.attempts, receipt.cleanup) == (Outcome.SUCCEEDED, 2, "confirmed")


async def test_a_stop_that_was_left_half_done_is_finished_before_anything_is_started(lab: Lab):
    await killed(lab, "job", params=until(lab), key="sunday")
    lease = await lab.lease()
    assert lease is not None
    await lab.write_lease(replace(lease, phase=Phase.STOPPING, run_deadline=None).to_json())
    receipt = await lab.run("main:run", key="monday", policy=HASTY, wait_for_lease="60s")
    assert (receipt.exit_code, receipt.cleanup) == (0, "confirmed")
    verbs = [entry["verb"] for entry in lab.requests("instances.start", "instances.stop")]
    assert verbs == ["instances.start", "instances.stop", "instances.start", "instances.stop"]


async def test_who_waits_for_the_lease_runs_once_it_is_free(lab: Lab):
    running = asyncio.create_task(lab.run("main:outlast", params=until(lab), key="monday", policy=HASTY))
    await lab.until(lambda: "at work" in lab.output)
    waiting = asyncio.create_task(lab.run("main:run", key="tuesday", policy=HASTY, wait_for_lease="60s"))
    await lab.until(lambda: any("Waiting for it" in str(event) for event in lab.told))
    let_go(lab)
    first, second = await asyncio.gather(running, waiting)
    assert (first.exit_code, second.exit_code, second.answered_from_memory) == (0, 0, False)
    assert accepted(lab) == 2


async def test_who_waits_too_long_is_busy_and_has_touched_nothing(lab: Lab):
    running = asyncio.create_task(lab.run("main:outlast", params=until(lab), key="monday", policy=HASTY))
    await lab.until(lambda: "at work" in lab.output)
    second = await lab.run("main:run", key="tuesday", policy=HASTY, wait_for_lease="1s")
    assert (second.outcome, second.exit_code) == (Outcome.BUSY, 6)
    let_go(lab)
    assert (await running).exit_code == 0
    assert accepted(lab) == 1


async def test_who_is_called_off_in_line_has_touched_nothing(lab: Lab):
    running = asyncio.create_task(lab.run("main:outlast", params=until(lab), key="monday", policy=HASTY))
    await lab.until(lambda: "at work" in lab.output)
    signal = asyncio.Event()
    waiting = asyncio.create_task(
        lab.run("main:run", key="tuesday", policy=HASTY, wait_for_lease="60s", called_off=signal)
    )
    await lab.until(lambda: any("Waiting for it" in str(event) for event in lab.told))
    signal.set()
    receipt = await waiting
    assert (receipt.exit_code, receipt.cleanup, receipt.vm) == (143, "confirmed", None)
    let_go(lab)
    assert (await running).exit_code == 0


async def test_twenty_at_once_with_one_key_are_one_run(lab: Lab):
    patient = replace(HASTY, lease_conflicts=40)
    receipts = await asyncio.gather(*(lab.run("main:run", key="monday", policy=patient) for _ in range(20)))
    assert {receipt.exit_code for receipt in receipts} == {0}
    assert sum(not receipt.answered_from_memory for receipt in receipts) == 1
    assert (accepted(lab), len(lab.requests("instances.start"))) == (1, 1)


async def test_of_twenty_at_once_with_different_keys_each_runs_alone_or_is_told_busy(lab: Lab):
    runs = (lab.run("main:run", key=f"key-{number}", policy=HASTY, wait_for_lease="6s") for number in range(20))
    receipts = await asyncio.gather(*runs)
    ran = [receipt for receipt in receipts if receipt.exit_code == 0]
    assert ran
    assert {receipt.exit_code for receipt in receipts} <= {0, 6}
    assert len({receipt.run_key for receipt in ran}) == len(ran) == accepted(lab)
    assert len(lab.requests("instances.start")) == len(ran)


async def test_an_attempt_that_was_called_off_is_followed_by_one_that_cleans_up_and_says_how_it_ended(lab: Lab):
    signal = asyncio.Event()
    cut = replace(HASTY, after_sigterm=seconds(0.3))
    await lab.inject(on="instances.stop", times=None, reply={"status": 503})
    order = {"params": until(lab)}
    running = asyncio.create_task(
        lab.run("main:outlast", policy=cut, called_off=signal, **order, **tries("mayfly-x7k2p", 0))
    )
    await lab.until(lambda: "at work" in lab.output)
    signal.set()
    first = await running
    assert (first.exit_code, first.cleanup) == (143, "owed")
    lease = await lab.lease()
    assert lease is not None
    assert lease.phase is Phase.STOPPING
    await lab.clear_faults()
    second = await lab.run("main:outlast", policy=HASTY, **order, **tries("mayfly-x7k2p", 1))
    assert (second.outcome, second.exit_code, second.cleanup) == (Outcome.INTERRUPTED, 5, "confirmed")
    assert accepted(lab) == 1


def test_the_numbers_of_production_keep_a_dead_holders_requests_apart_from_ours():
    """What HASTY shortens: L is the time-out of every request, so that takeover waits for all of them."""
    policy = Policy()
    assert policy.request == seconds(30)
    assert policy.lease_ttl == 3 * policy.lease_renewal
