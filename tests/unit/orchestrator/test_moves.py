"""What each move asks of the cloud and of the agent, by the cloud's own history."""

import asyncio
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from gcp_emulator.seed import DEMO_INSTANCE
from orchestrator.events import PhaseStarted
from orchestrator.lease import AddressPolicy, Found, Lease, Phase, Remembered, Window
from orchestrator.policy import seconds
from orchestrator.run import OnRunning, Outcome
from tests.simulation import guest
from tests.simulation.guest import Job
from tests.simulation.inside import BEGINNING
from tests.unit.orchestrator.stage import Orchestrator, Stage, a_run, staged
from vm_agent.ending import Verdict
from vm_agent.ledger import Ledger
from vm_agent.protocol import Failure, FunctionJob, Mode, RunView, StartRequest, State
from vm_agent.runs import _fingerprint

ALL = ["setScheduling", "addAccessConfig", "start", "stop", "deleteAccessConfig"]
SUCCEEDED = Verdict(State.SUCCEEDED, result="done")
L = timedelta(seconds=30)
BOOT = seconds(600)
GRACE = seconds(20)
UNAVAILABLE = {"status": 503, "reason": "backendError", "message": "Later."}


def ends(monkeypatch: pytest.MonkeyPatch, verdict: Verdict, after: float = 20) -> None:
    """The job ends like this."""

    def go(job: Job) -> None:
        job.guest.job_began(job.order)
        job._later(after, verdict)

    monkeypatch.setattr(guest.Job, "go", go)


def takes(monkeypatch: pytest.MonkeyPatch, count: float) -> None:
    """The job takes that many seconds."""
    ends(monkeypatch, SUCCEEDED, count)


def theirs(stage: Stage, **changes: Any) -> Lease:
    """Somebody else's lease, which ran out so long ago that nothing of his can land any more."""
    before = Lease(
        epoch=5_000_000_000,
        nonce="theirs",
        key="sunday",
        holder="somebody",
        phase=Phase.CLAIMED,
        expires_at=stage.now - L,
    )
    return replace(before, **changes)


async def left_on(stage: Stage, **changes: Any) -> Lease:
    """The VM is on, and whoever held its lease is dead."""
    lease = theirs(stage, **changes)
    stage.write_lease(lease)
    stage.by_hand("start")
    await stage.until(lambda: stage.universe.guest().app is not None)
    lease = replace(lease, expires_at=stage.now - L)
    stage.write_lease(lease)
    return lease


async def switched_on(stage: Stage) -> None:
    """Somebody has the VM on, with the address on it, before any run of ours."""
    address = next(iter(stage.universe.cloud.world.addresses.values()))
    config = {"name": "External NAT", "type": "ONE_TO_ONE_NAT", "natIP": address.ip}
    stage.by_hand("addAccessConfig", config, networkInterface="nic0")
    stage.by_hand("start")
    await stage.until(lambda: stage.universe.guest().app is not None)


# --- the whole way -----------------------------------------------------------------------------------------------


@staged
async def test_a_run_asks_for_each_change_once_and_leaves_nothing(stage: Stage) -> None:
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.result, receipt.cleanup) == (0, {"worked": "run-1"}, "confirmed")
    assert stage.changes() == ALL
    assert stage.status == "TERMINATED"
    assert stage.universe.machine().external_ip is None
    assert not stage.notes()


@staged
async def test_every_lease_that_is_written_says_what_its_finder_must_expect(stage: Stage) -> None:
    run = a_run(execution="mayfly-x7k2p", task=2, task_attempt=1, address_policy=AddressPolicy.KEEP, mode=Mode.TEST)
    await stage.drive(run)
    claimed, invoking, stopping, free = stage.leases()
    assert claimed == Lease(
        epoch=int(BEGINNING.timestamp()),
        nonce="ours",
        key="monday",
        mode="test",
        meaning="0123456789abcdef",
        holder="a laptop",
        phase=Phase.CLAIMED,
        execution="mayfly-x7k2p",
        task=2,
        task_attempt=1,
        address="gpu-ip",
        address_policy=AddressPolicy.KEEP,
        expires_at=BEGINNING + seconds(180),
    )
    up = invoking.expires_at - seconds(180)  # Google's time, as of the look before the write
    deadline = up + BOOT + run.timeout + GRACE
    assert invoking == replace(
        claimed, phase=Phase.INVOKING, asked=True, expires_at=invoking.expires_at, run_deadline=deadline
    )
    assert stopping.expires_at >= up + seconds(180 + 20), "by Google's time after the job"
    ended = Remembered(
        "monday", "succeeded", 0, stopping.outcomes[0].ended_at, {"worked": "run-1"}, "test", run.meaning
    )
    outcomes = (replace(ended, attempts=1),)
    assert stopping == replace(
        invoking, phase=Phase.STOPPING, asked=False, expires_at=stopping.expires_at, outcomes=outcomes
    ), "what became of the run is known: nobody has to ask for it any more"
    assert stopping.outcomes[0].ended_at == stopping.expires_at - seconds(180)
    assert (free.phase, free.epoch, free.nonce) == (Phase.FREE, claimed.epoch, "")
    assert [known.outcome for known in free.outcomes] == ["succeeded"]
    assert stage.universe.machine().external_ip is not None, "kept"


@staged
async def test_each_move_is_told_in_a_sentence_with_its_names(stage: Stage) -> None:
    await stage.drive()
    said = [(event.name, event.sentence) for event in stage.told if isinstance(event, PhaseStarted)]
    [ip] = [one.ip for one in stage.universe.cloud.world.addresses.values() if one.name == "gpu-ip"]
    assert said == [
        ("lease", "Taking the lease on gpu-vm"),
        ("deadline", "Arming Google's own limit: off after 20m at most"),
        ("attach", f"Attaching gpu-ip ({ip})"),
        ("start", "Starting gpu-vm in us-central1-a"),
        ("boot", "Waiting for the agent on gpu-vm"),
        ("invoke", "Asking for the run"),
        ("job", "Running the job"),
        ("stop", "Stopping gpu-vm"),
        ("detach", "Taking gpu-ip off gpu-vm"),
        ("release", "Giving the lease back"),
    ]


@staged
async def test_the_vm_is_armed_for_as_long_as_the_run_needs(stage: Stage) -> None:
    await stage.drive()
    [armed] = stage.requests("setScheduling")
    assert armed["body"]["maxRunDuration"] == {"seconds": "1200"}
    assert (armed["body"]["instanceTerminationAction"], armed["body"]["automaticRestart"]) == ("STOP", False)


@staged
async def test_the_agent_is_asked_for_what_was_ordered_as_a_first_attempt(stage: Stage) -> None:
    await stage.drive(a_run(mode=Mode.TEST))
    [order] = stage.jobs
    assert (order.job, order.mode, order.params) == (FunctionJob(function="main:run"), Mode.TEST, {"coin": "BTC"})
    assert order.timeout_seconds == 300
    with ledger_of(stage) as ledger:
        assert [(run.key, run.attempt) for run in ledger.newest(9)] == [("monday", 1)]
        assert ledger.epoch == stage.lease.epoch, "the fence went up before the command"


@staged
async def test_the_stop_and_its_mark_go_out_together(stage: Stage) -> None:
    await stage.drive()
    [stop] = stage.requests("stop")
    mark = stage.requests("setMetadata")[2]
    assert 0 <= seconds_between(stop, mark) < 0.1, (
        "the mark needs a look first; neither waits for the other's operation"
    )
    assert stage.leases()[2].phase is Phase.STOPPING


# --- what is remembered ------------------------------------------------------------------------------------------


@staged
async def test_a_key_that_ended_is_answered_from_memory_and_nothing_is_asked_of_the_cloud(stage: Stage) -> None:
    await stage.drive()
    before, leases = stage.changes(), len(stage.leases())
    again = await stage.drive(a_run(nonce="another"))
    assert (again.exit_code, again.result, again.answered_from_memory) == (0, {"worked": "run-1"}, True)
    assert (stage.changes(), len(stage.leases()), len(stage.jobs)) == (before, leases, 1)


@pytest.mark.parametrize(
    ("verdict", "outcome", "exit_code"),
    [
        (Verdict(State.FAILED, failure=Failure(detail="no such coin")), "failed", 1),
        (Verdict(State.CANCELLED), "cancelled", 1),
        (Verdict(State.TIMED_OUT), "timed-out", 8),
        (Verdict(State.INTERRUPTED), "interrupted", 5),
    ],
)
@staged
async def test_every_end_that_a_retry_would_only_repeat_is_remembered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, verdict: Verdict, outcome: str, exit_code: int
) -> None:
    ends(monkeypatch, verdict)
    assert (await stage.drive()).exit_code == exit_code
    [known] = stage.lease.outcomes
    assert (known.key, known.outcome, known.exit_code, known.attempts) == ("monday", outcome, exit_code, 1)
    again = await stage.drive(a_run(nonce="another"))
    assert (again.exit_code, again.answered_from_memory, len(stage.jobs)) == (exit_code, True, 1)


@staged
async def test_a_run_that_was_called_off_is_not_remembered_and_may_be_asked_for_again(stage: Stage) -> None:
    stage.on_phase["job"] = Orchestrator.sigterm
    assert (await stage.drive()).exit_code == 143
    assert stage.lease.outcomes == ()


@pytest.mark.parametrize(("length", "kept"), [(2046, True), (2047, False)])
@staged
async def test_a_result_is_remembered_up_to_two_kilobytes(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, length: int, kept: bool
) -> None:
    """As JSON: two quotes more."""
    ends(monkeypatch, Verdict(State.SUCCEEDED, result="x" * length))
    receipt = await stage.drive()
    assert receipt.result == "x" * length, "the receipt has it all"
    [known] = stage.lease.outcomes
    assert known.result == ("x" * length if kept else None)


@staged
async def test_bytes_are_counted_not_characters(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    ends(monkeypatch, Verdict(State.SUCCEEDED, result="\N{SNOWMAN}" * 400))
    await stage.drive()
    assert stage.lease.outcomes[0].result is None, "six bytes each, as they are written"


@staged
async def test_the_last_fifty_are_remembered(stage: Stage) -> None:
    known = tuple(Remembered(f"day {number}", "succeeded", 0, BEGINNING) for number in range(50))
    stage.write_lease(Lease(epoch=7, outcomes=known))
    await stage.drive()
    assert [one.key for one in stage.lease.outcomes] == [*(f"day {number}" for number in range(1, 50)), "monday"]


@staged
async def test_a_window_is_kept_for_the_later_attempts_of_the_task_that_worked_it_out(stage: Stage) -> None:
    known = tuple(Window("older", number, "x") for number in range(50))
    stage.write_lease(Lease(epoch=7, windows=known))
    await stage.drive(a_run(windowed=True, execution="mayfly-x7k2p", task=2))
    assert stage.leases()[0].windows == (*known[1:], Window("mayfly-x7k2p", 2, "monday"))
    assert stage.lease.windows[-1] == Window("mayfly-x7k2p", 2, "monday")


@pytest.mark.parametrize(("windowed", "execution"), [(True, ""), (False, "mayfly-x7k2p")])
@staged
async def test_only_windows_of_executions_are_kept(stage: Stage, windowed: bool, execution: str) -> None:
    await stage.drive(a_run(windowed=windowed, execution=execution))
    assert all(lease.windows == () for lease in stage.leases())


@staged
async def test_what_is_told_from_memory_is_not_remembered_anew(stage: Stage) -> None:
    """The predecessor died after its mark: we clean up after it, and its outcome stays as it wrote it."""
    ended = Remembered("monday", "failed", 1, BEGINNING, {"coin": "BTC"}, attempts=3)
    stage.write_lease(theirs(stage, key="monday", phase=Phase.STOPPING, outcomes=(ended,)))
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.answered_from_memory, receipt.attempts) == (1, True, 3)
    assert stage.lease.outcomes == (ended,)
    assert "start" not in stage.changes()


# --- the claim ---------------------------------------------------------------------------------------------------


@staged
async def test_a_claim_outdoes_every_epoch_and_keeps_what_is_remembered(stage: Stage) -> None:
    ended, window = Remembered("sunday", "succeeded", 0, BEGINNING), Window("older", 0, "sunday")
    stage.write_lease(Lease(epoch=5_000_000_000, outcomes=(ended,), windows=(window,)))
    await stage.drive()
    claim = stage.leases()[0]
    assert claim.epoch == 5_000_000_001
    assert (claim.outcomes, claim.windows) == ((ended,), (window,))


@staged
async def test_whoever_takes_over_another_run_was_not_asked_for_it(stage: Stage) -> None:
    await left_on(stage, phase=Phase.INVOKING, asked=True)
    receipt = await stage.drive()
    assert receipt.exit_code == 0
    assert [lease.asked for lease in stage.leases()][:2] == [False, True]
    assert stage.leases()[0].phase is Phase.CLAIMED, "nobody had sent a stop"


@pytest.mark.parametrize("before", [{"phase": Phase.INVOKING}, {"phase": Phase.CLAIMED, "asked": True}])
@staged
async def test_whoever_takes_over_the_same_run_knows_that_it_may_have_been_asked_for(
    stage: Stage, before: dict[str, Any]
) -> None:
    await left_on(stage, key="monday", **before)
    assert (await stage.drive()).exit_code == 0
    assert stage.leases()[0].asked
    assert len(stage.jobs) == 1


@staged
async def test_what_a_predecessor_may_have_been_told_is_unknown_until_its_ledger_was_read(stage: Stage) -> None:
    """It had asked, and the VM cannot be started to read what came of it: unknown, and not for ever."""
    stage.write_lease(theirs(stage, key="monday", phase=Phase.CLAIMED, asked=True))
    stage.fault(stockout={}, times=None)
    receipt = await stage.drive()
    assert (receipt.outcome, receipt.exit_code) == (Outcome.INTERRUPTED, 5)
    assert stage.lease.outcomes == (), "another try may learn more"


@staged
async def test_a_stop_that_somebody_left_half_done_is_in_the_claim_and_is_finished_first(stage: Stage) -> None:
    await left_on(stage, phase=Phase.STOPPING)
    assert (await stage.drive()).exit_code == 0
    assert [lease.phase for lease in stage.leases()][:2] == [Phase.STOPPING, Phase.CLAIMED]
    assert stage.changes() == ["start", "stop", *ALL]
    assert stage.phases()[:3] == ["lease", "restop", "lease"]


@staged
async def test_nothing_is_owed_where_the_stop_was_seen_done(stage: Stage) -> None:
    stage.write_lease(theirs(stage, phase=Phase.STOPPING))
    assert (await stage.drive()).exit_code == 0
    assert stage.leases()[0].phase is Phase.CLAIMED
    assert stage.changes() == ALL


@staged
async def test_nothing_is_owed_to_a_vm_that_was_on_before_all_runs(stage: Stage) -> None:
    await switched_on(stage)
    ip = stage.universe.machine().external_ip
    stage.write_lease(theirs(stage, phase=Phase.STOPPING, found=Found(running=True, ip=ip)))
    assert (await stage.drive()).exit_code == 0
    assert stage.leases()[0].phase is Phase.CLAIMED
    assert stage.changes() == ["addAccessConfig", "start"], "by hand: it was on and stays on"
    assert stage.status == "RUNNING"


# --- in line -----------------------------------------------------------------------------------------------------


@staged
async def test_who_may_not_wait_is_refused_at_once_and_changes_nothing(stage: Stage) -> None:
    stage.write_lease(theirs(stage, expires_at=stage.now + seconds(60)))
    receipt = await stage.drive()
    assert (receipt.exit_code, stage.changes(), stage.leases()) == (6, [], [])
    assert stage.universe.loop.time() < 1


@pytest.mark.parametrize(("patience", "exit_code"), [(95, 0), (85, 6)])
@staged
async def test_a_lease_is_waited_for_as_long_as_the_user_said_and_taken_l_after_its_end(
    stage: Stage, patience: int, exit_code: int
) -> None:
    await stage.pass_seconds(50)
    stage.write_lease(theirs(stage, expires_at=stage.now + seconds(60)))
    receipt = await stage.drive(a_run(wait_for_lease=seconds(patience)))
    assert receipt.exit_code == exit_code
    assert stage.notes().count("Waiting for it.") == 1
    assert "INFO gpu-vm is leased to somebody for run sunday" in stage.notes()
    if exit_code == 0:
        assert 140 <= (stage.leases()[0].expires_at - seconds(180) - BEGINNING).total_seconds() < 143
    else:
        assert patience <= stage.universe.loop.time() - 50 < patience + 0.1, "and not a poll longer"


@staged
async def test_the_same_run_in_other_hands_is_waited_for_without_being_asked(stage: Stage) -> None:
    stage.write_lease(theirs(stage, key="monday", expires_at=stage.now + seconds(60)))
    assert (await stage.drive()).exit_code == 0
    looks = [entry for entry in stage.requests("get") if entry["at"] < stage.requests("setMetadata")[0]["at"]]
    assert 40 <= len(looks) <= 46, "one every two seconds, for ninety"


@pytest.mark.parametrize("on_running", list(OnRunning))
@staged
async def test_only_a_lease_is_waited_for_nobody_knows_when_a_person_is_done(
    stage: Stage, on_running: OnRunning
) -> None:
    stage.by_hand("start")
    receipt = await stage.drive(a_run(wait_for_lease=seconds(600), on_running=on_running))
    assert (receipt.exit_code, stage.leases()) == (6, [])
    assert stage.universe.loop.time() < 1


@staged
async def test_who_had_the_lease_and_lost_it_does_not_stand_in_line_for_it(stage: Stage) -> None:
    taken = theirs(stage, expires_at=stage.now + seconds(600))
    stage.on_phase["deadline"] = lambda _: stage.write_lease(taken)
    receipt = await stage.drive(a_run(wait_for_lease=seconds(3600)))
    assert receipt.exit_code == 6
    assert stage.universe.loop.time() < 2
    assert stage.lease.nonce == "theirs"


@staged
async def test_who_waits_in_line_hears_of_each_holder_once(stage: Stage) -> None:
    stage.write_lease(theirs(stage, expires_at=stage.now + seconds(60)))
    later = replace(theirs(stage, expires_at=stage.now + seconds(100)), holder="a third")
    stage.universe.loop.outside(30, stage.write_lease, later)
    assert (await stage.drive(a_run(wait_for_lease=seconds(600)))).exit_code == 0
    assert stage.notes().count("Waiting for it.") == 2


@staged
async def test_twenty_that_wait_for_one_lease_all_get_their_turn(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """To lose a claim against the others in line is no sign that something is wrong."""
    takes(monkeypatch, 1)
    runs = [a_run(key=f"key {n}", nonce=f"nonce {n}", wait_for_lease=seconds(3000)) for n in range(12)]
    receipts = await asyncio.gather(*(stage.drive(run) for run in runs))
    assert [receipt.exit_code for receipt in receipts] == [0] * 12
    assert len(stage.jobs) == 12


# --- going up ----------------------------------------------------------------------------------------------------


@staged
async def test_a_stockout_is_a_clear_no_and_needs_no_stop(stage: Stage) -> None:
    stage.fault(stockout={}, times=None)
    receipt = await stage.drive()
    assert (receipt.outcome, receipt.cleanup) == (Outcome.NO_MACHINE, "confirmed")
    assert "stop" not in stage.changes()
    assert stage.lease.phase is Phase.FREE


@staged
async def test_a_start_of_which_nobody_heard_is_stopped_though_the_vm_looks_off(stage: Stage) -> None:
    stage.fault(on="instances.start", times=None, reply=UNAVAILABLE)
    receipt = await stage.drive()
    assert receipt.outcome is Outcome.NO_MACHINE
    assert "stop" in stage.changes(), "it may land yet"
    assert receipt.cleanup == "confirmed"


@pytest.mark.parametrize("verb", ["start", "stop"])
@staged
async def test_a_start_or_stop_is_tried_again_while_the_lease_and_the_vm_are_ours(stage: Stage, verb: str) -> None:
    stage.fault(on=f"instances.{verb}", reply=UNAVAILABLE)
    receipt = await stage.drive()
    assert (receipt.exit_code, stage.changes().count(verb), len(stage.requests(verb))) == (0, 2, 1)
    assert not stage.notes(), "it is no news"


@pytest.mark.parametrize("verb", ["start", "stop"])
@pytest.mark.parametrize("change", ["another's lease", "another VM"])
@staged
async def test_no_further_try_goes_out_once_the_lease_or_the_vm_is_anothers(
    stage: Stage, verb: str, change: str
) -> None:
    stage.fault(on=f"instances.{verb}", reply=UNAVAILABLE)

    def taken() -> None:
        if change == "another VM":
            stage.change_vm(id="4711")
        else:
            stage.write_lease(theirs(stage, expires_at=stage.now + seconds(600)))

    stage.on_phase[verb] = lambda _: stage.universe.loop.outside(stage.universe.loop.time() + 0.1, taken)
    tried = stage.orchestrator()
    tried.begin(a_run())
    await stage.until(lambda: verb in stage.changes())
    await stage.pass_seconds(20 if change == "another's lease" else 1)
    assert stage.requests(verb) == [], stage.notes()
    tried.killed()


@pytest.mark.parametrize("taken", [False, True])
@staged
async def test_a_stop_before_the_start_is_tried_again_only_under_our_lease(stage: Stage, taken: bool) -> None:
    stage.fault(on="instances.stop", reply=UNAVAILABLE)
    stage.on_phase["deadline"] = lambda _: stage.by_hand("start")
    if taken:
        lease = theirs(stage, expires_at=stage.now + seconds(600))
        later = stage.universe.loop.outside
        stage.on_phase["restop"] = lambda _: later(stage.universe.loop.time() + 0.1, stage.write_lease, lease)
    receipt = await stage.drive()
    assert [phase.name for phase in receipt.phases].count("restop") == 1
    assert len(stage.requests("stop")) == (0 if taken else 2)
    assert receipt.exit_code == (7 if taken else 0)


@staged
async def test_an_agent_that_never_speaks_is_given_up_after_the_time_for_a_boot(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest, "STARTUP_SECONDS", 3000)
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.outcome) == (4, Outcome.AGENT_FAULT)
    [boot] = [phase for phase in receipt.phases if phase.name == "boot"]
    assert 600 <= boot.seconds < 602
    assert stage.leases()[1].phase is Phase.INVOKING, "the mark was written while it booted"
    assert stage.status == "TERMINATED"


@pytest.mark.parametrize("verb", ["start", "stop"])
@staged
async def test_a_wiped_lease_is_still_ours_for_a_further_try(stage: Stage, verb: str) -> None:
    stage.fault(on=f"instances.{verb}", reply=UNAVAILABLE)
    stage.on_phase[verb] = lambda _: stage.universe.loop.outside(
        stage.universe.loop.time() + 0.1, stage.write_lease, None
    )
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.cleanup, len(stage.requests(verb))) == (0, "confirmed", 1)
    assert not stage.notes(), "it is no news"


@staged
async def test_a_vm_of_ours_that_somebody_starts_too_early_is_stopped_before_it_is_armed(stage: Stage) -> None:
    stage.on_phase["deadline"] = lambda _: stage.by_hand("start")
    assert (await stage.drive()).exit_code == 0
    assert stage.changes() == ["start", "setScheduling", "stop", *ALL], "Compute Engine had refused to arm it"
    assert "Stopping gpu-vm: it runs without a limit" in [
        event.sentence for event in stage.told if isinstance(event, PhaseStarted)
    ]


@staged
async def test_a_vm_that_is_on_its_way_off_is_waited_for_second_by_second(stage: Stage) -> None:
    stage.by_hand("start")
    await stage.until(lambda: stage.universe.guest().app is not None)
    stage.by_hand("stop")
    began = stage.universe.loop.time()
    assert (await stage.drive()).exit_code == 0
    assert stage.changes() == ["start", "stop", *ALL]
    [wait] = [event for event in stage.told if isinstance(event, PhaseStarted) and event.name == "wait"]
    assert wait.sentence == "Waiting for what gpu-vm is doing to end"
    looks = [entry for entry in stage.requests("get") if entry["at"] < stage.requests("setScheduling")[0]["at"]]
    assert 3 <= len(looks) <= 8, f"{len(looks)} looks in {began} s"


@staged
async def test_a_run_whose_agent_is_busy_with_another_was_never_begun(stage: Stage) -> None:
    await switched_on(stage)
    await begin_by_hand(stage, "sunday")
    receipt = await stage.drive(a_run(on_running=OnRunning.ADOPT))
    assert (receipt.exit_code, receipt.outcome) == (6, Outcome.BUSY)
    assert stage.status == "RUNNING"
    assert stage.lease.phase is Phase.FREE
    assert stage.lease.outcomes == ()


@staged
async def test_a_run_that_the_agent_refuses_was_never_begun(stage: Stage) -> None:
    """Its ledger knows the key for another job."""
    an_attempt(stage, 1, State.INTERRUPTED, meaning="another job")
    receipt = await stage.drive(a_run(attempts_most=2))
    assert (receipt.exit_code, receipt.outcome) == (4, Outcome.AGENT_FAULT)
    assert stage.status == "TERMINATED"
    assert stage.lease.outcomes == ()


@staged
async def test_a_run_of_which_the_yes_was_not_heard_may_be_at_work(stage: Stage) -> None:
    """The agent is cut off as it is asked: what it made of the request, nobody knows."""
    stage.on_phase["invoke"] = lambda _: stage.fault(after=0, vm=DEMO_INSTANCE, partition={"seconds": 1200})
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.outcome) == (5, Outcome.INTERRUPTED)
    assert [(known.outcome, known.attempts) for known in stage.lease.outcomes] == [("interrupted", 1)]


@staged
async def test_an_agent_and_a_cloud_that_are_silent_for_a_minute_cost_a_healthy_run_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that failed decides nothing."""
    takes(monkeypatch, 100)

    def silence(_: Orchestrator) -> None:
        stage.fault(after=10, vm=DEMO_INSTANCE, partition={"seconds": 60})
        stage.fault(on="instances.get", for_seconds=60, reply={"status": 403, "reason": "forbidden", "message": "No."})

    stage.on_phase["job"] = lambda actor: stage.universe.loop.outside(stage.universe.loop.time() + 10, silence, actor)
    receipt = await stage.drive()
    assert (receipt.exit_code, receipt.result, len(stage.jobs)) == (0, "done", 1)


# --- attempts ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("remembered", [0, 2])
@staged
async def test_an_attempt_is_one_more_than_the_ledger_or_the_memory_knows(stage: Stage, remembered: int) -> None:
    """The disk with the ledger may be a new one; the memory may be behind the ledger."""
    if not remembered:
        an_attempt(stage, 1, State.INTERRUPTED)
    else:
        ended = Remembered("monday", "interrupted", 5, BEGINNING, meaning="0123456789abcdef", attempts=remembered)
        stage.write_lease(Lease(epoch=7, outcomes=(ended,)))
    receipt = await stage.drive(a_run(attempts_most=3))
    assert (receipt.exit_code, receipt.attempts) == (0, max(1, remembered) + 1)
    assert stage.lease.outcomes[-1].attempts == max(1, remembered) + 1


# --- what the tests are made of ----------------------------------------------------------------------------------


@contextmanager
def ledger_of(stage: Stage) -> Iterator[Ledger]:
    """The VM's ledger, on its disk."""
    disk = stage.universe.guest().disk
    with closing(Ledger(disk.path)) as ledger:
        yield ledger
        disk.synced = ledger._db.serialize()


def an_attempt(stage: Stage, number: int, state: State, meaning: str | None = None) -> None:
    """What an earlier agent left in the ledger: a run of our key that ended like this."""
    order = StartRequest(job=a_run().job, params=a_run().params, timeout_seconds=300)
    with ledger_of(stage) as ledger:
        view = RunView(
            id=f"before-{number}",
            key="monday",
            mode=Mode.RUN,
            attempt=number,
            job=FunctionJob(function="main:run"),
            state=State.ACCEPTED,
            version=1,
            accepted_at=BEGINNING,
        )
        ledger.accept(view, meaning or _fingerprint(FunctionJob(function="main:run"), order))
        ledger.advance(ledger.advance(view, State.RUNNING), state)


async def begin_by_hand(stage: Stage, key: str, epoch: int = 0) -> None:
    """Somebody with our key asks the agent for a run."""
    [vm] = [vm for vm in stage.universe.cloud.world.instances.values() if vm.name == DEMO_INSTANCE]
    person = stage.orchestrator("a person").world
    agent = person.agent(await person.machines.look(vm.name), vm.internal_ip)
    await agent.start(key, epoch, Mode.RUN, StartRequest(job=None, params={}, timeout_seconds=300))


def seconds_between(one: dict[str, Any], other: dict[str, Any]) -> float:
    """From one request to the other."""
    return (datetime.fromisoformat(other["at"]) - datetime.fromisoformat(one["at"])).total_seconds()
