"""Whose the lease is: who waits, who takes over, who is refused."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.claims import as_found, left_by_a_run, misused_key, refusal
from orchestrator.errors import BadResource, Taken
from orchestrator.goal import Down, Up, goal_of
from orchestrator.ladder import Move, next_move
from orchestrator.lease import Found, Lease, Phase, Remembered
from orchestrator.policy import Policy
from orchestrator.run import OnRunning, Outcome, Run
from orchestrator.seen import AccessConfig, Seen
from tests.unit.orchestrator.sightings import ADDRESS, NOON, a_lease, a_machine, a_run, a_view, armed, attached, running
from vm_agent.protocol import Mode, State

POLICY = Policy()
L = POLICY.request
TASK = {"execution": "mayfly-x7k2p", "task": 0}
ENDED = Remembered("monday", "succeeded", 0, NOON, {"order": "placed"})


def theirs(**changes: Any) -> Lease:
    return a_lease(**{"nonce": "theirs", "key": "tuesday", **changes})


def seen(lease: Lease | None, now: datetime = NOON, **changes: Any) -> Seen:
    return Seen(a_machine(lease=lease, seen_at=now, **changes), ADDRESS, since=NOON)


def test_another_runs_lease_is_taken_only_once_its_last_request_has_died_too():
    lease = theirs(expires_at=NOON)
    assert isinstance(refusal(seen(lease, NOON + L - timedelta(seconds=1)), a_run(), POLICY), Taken)
    assert refusal(seen(lease, NOON + L), a_run(), POLICY) is None


@pytest.mark.parametrize(("attempt", "waits"), [(0, False), (1, True), (2, True)])
def test_an_earlier_attempt_of_the_same_task_is_dead_because_we_are_here(attempt: int, *, waits: bool):
    """It is waited for L after our first look, and no longer; a later attempt than ours is no predecessor."""
    lease = theirs(key="monday", **TASK, task_attempt=attempt, expires_at=NOON + timedelta(minutes=3))
    run = a_run(**TASK, task_attempt=1)
    early = refusal(seen(lease, NOON + L - timedelta(seconds=1)), run, POLICY)
    assert isinstance(early, Taken)
    assert early.same_run
    assert (refusal(seen(lease, NOON + L), run, POLICY) is not None) is waits


@given(st.sampled_from(["mayfly-x7k2p", "mayfly-other", ""]), st.integers(0, 2), st.integers(0, 2))
def test_nobody_elses_live_lease_is_taken_early(execution: str, task: int, attempt: int):
    lease = theirs(execution=execution, task=task, task_attempt=attempt, expires_at=NOON + timedelta(minutes=3))
    predecessor = execution == "mayfly-x7k2p" and task == 0 and attempt == 0
    taken = refusal(seen(lease, NOON + L), a_run(**TASK, task_attempt=1), POLICY)
    assert (taken is None) is predecessor


def test_without_an_execution_there_are_no_predecessors():
    lease = theirs(expires_at=NOON + timedelta(minutes=3), task_attempt=0)
    assert refusal(seen(lease, NOON + L), a_run(task_attempt=1), POLICY) is not None


def test_the_same_run_in_other_hands_is_waited_for_and_another_is_not():
    def held(**changes: Any) -> Taken:
        reason = refusal(seen(theirs(expires_at=NOON + timedelta(minutes=3), **changes)), a_run(), POLICY)
        assert isinstance(reason, Taken)
        return reason

    assert held(key="monday").same_run
    assert not held(key="tuesday").same_run
    assert not held(key="monday", mode="test").same_run


def test_a_dead_holder_of_the_same_run_is_followed_though_the_run_may_be_live():
    lease = theirs(key="monday", phase=Phase.INVOKING, run_deadline=NOON + timedelta(hours=2), expires_at=NOON - L)
    assert refusal(Seen(running(a_machine(lease=lease)), ADDRESS), a_run(), POLICY) is None
    another = replace(lease, key="tuesday")
    assert isinstance(refusal(Seen(running(a_machine(lease=another)), ADDRESS), a_run(), POLICY), Taken)


@pytest.mark.parametrize("mode", list(Mode))
def test_a_key_answers_for_no_other_job(mode: Mode):
    run = a_run(meaning="this", mode=mode)
    assert misused_key(None, run) is None
    assert misused_key(a_lease(meaning="this", mode=mode), run) is None
    assert misused_key(a_lease(meaning="that", mode=mode), run) is not None
    assert misused_key(a_lease(meaning="that", mode=mode, key="tuesday"), run) is None
    assert misused_key(a_lease(phase=Phase.FREE, meaning="that", mode=mode), run) is None
    known = Remembered("monday", "failed", 1, NOON, mode=mode, meaning="that")
    assert misused_key(Lease(epoch=1, outcomes=(known,)), run) is not None


def recalled(run: Run, lease: Lease, **vm: Any) -> bool:
    goal = goal_of(Seen(a_machine(lease=lease, **vm), ADDRESS), run)
    return isinstance(goal, Down) and goal.verdict.attempts is not None


def test_memory_answers_once_the_vm_is_off_and_the_lease_free_or_ours_to_clean_up_after():
    free = Lease(epoch=7, outcomes=(ENDED,))
    assert recalled(a_run(), free)
    assert recalled(a_run(), a_lease(outcomes=(ENDED,)))
    assert not recalled(a_run(), a_lease(outcomes=(ENDED,), nonce="theirs"))
    assert not recalled(a_run(), free, status="RUNNING")
    assert not recalled(a_run(mode=Mode.TEST), free)
    assert not recalled(a_run(key="tuesday"), free)


def test_a_run_that_was_cut_off_is_remembered_unless_it_may_be_begun_again():
    cut = replace(ENDED, outcome="interrupted", exit_code=5, attempts=2)
    lease = Lease(epoch=7, outcomes=(cut,))
    assert recalled(a_run(), lease)
    assert recalled(a_run(attempts_most=2), lease)
    assert not recalled(a_run(attempts_most=3), lease)


@pytest.mark.parametrize(("most", "goal"), [(1, Down), (2, Up)])
def test_an_interrupted_attempt_is_followed_by_another_only_if_there_may_be_one(most: int, goal: type):
    machine = running(attached(armed(a_machine(lease=a_lease(phase=Phase.INVOKING)))))
    sight = Seen(machine, ADDRESS, None, a_view(State.INTERRUPTED))
    assert isinstance(goal_of(sight, a_run(attempts_most=most)), goal)


def test_a_stop_that_somebody_left_half_done_is_finished_before_the_vm_is_taken_anew():
    lease = a_lease(phase=Phase.STOPPING)
    up = Up(a_run())
    assert next_move(Seen(running(a_machine(lease=lease)), ADDRESS), up) is Move.STOP_MACHINE
    assert next_move(Seen(a_machine(lease=lease, status="STOPPING"), ADDRESS), up) is Move.AWAIT_MACHINE
    assert next_move(Seen(a_machine(lease=lease), ADDRESS), up) is Move.CLAIM_LEASE


def test_a_run_at_work_is_not_stopped_because_its_limit_is_not_todays():
    lease = a_lease(phase=Phase.CLAIMED, asked=True)
    limited = replace(running(attached(armed(a_machine(lease=lease)))), max_run=timedelta(minutes=20))
    assert next_move(Seen(limited, ADDRESS), Up(a_run())) is Move.GREET_AGENT
    unasked = replace(limited, lease=replace(lease, asked=False))
    assert next_move(Seen(unasked, ADDRESS), Up(a_run())) is Move.STOP_MACHINE


def test_whoever_takes_over_knows_how_the_vm_was_before_any_of_us():
    adopted = theirs(expires_at=NOON - L, found=Found(running=True, ip="35.9.9.9"))
    assert as_found(running(a_machine(lease=adopted)), a_run(), POLICY) == Found(running=True, ip="35.9.9.9")
    assert as_found(a_machine(lease=adopted), a_run(), POLICY) == Found(running=False, ip="35.9.9.9")
    assert as_found(running(attached(a_machine())), a_run(), POLICY) == Found(running=True, ip=ADDRESS.ip)


def test_what_is_remembered_is_told_with_its_result():
    goal = goal_of(Seen(a_machine(lease=Lease(epoch=7, outcomes=(ENDED,))), ADDRESS), a_run())
    assert isinstance(goal, Down)
    assert (goal.verdict.outcome, goal.verdict.result, goal.verdict.attempts) == (Outcome.SUCCEEDED, ENDED.result, 1)


def test_whoever_reads_a_remembered_outcome_is_told_when_that_was():
    goal = goal_of(Seen(a_machine(lease=Lease(epoch=7, outcomes=(ENDED,))), ADDRESS), a_run())
    assert isinstance(goal, Down)
    assert "2026-11-21 12:00:00 UTC" in goal.verdict.detail


def test_what_we_wrote_down_about_the_vm_counts_however_late_somebody_started_it():
    ours = a_lease(found=Found(running=True, ip="35.9.9.9"))
    late = replace(running(a_machine(lease=ours)), last_start=NOON + timedelta(hours=1))
    assert as_found(late, a_run(), POLICY) == Found(running=True, ip="35.9.9.9")
    another = replace(late, lease=replace(ours, nonce="theirs"))
    assert as_found(another, a_run(), POLICY) == Found(running=True, ip=None)


def test_a_vm_is_left_by_a_run_if_it_was_started_before_that_runs_last_start_could_have_landed():
    lease = theirs(expires_at=NOON)
    last = NOON + POLICY.request + POLICY.start
    assert left_by_a_run(running(a_machine(lease=lease)), POLICY)
    assert left_by_a_run(a_machine(lease=lease, last_start=last), POLICY)
    assert not left_by_a_run(a_machine(lease=lease, last_start=last + timedelta(seconds=1)), POLICY)


@pytest.mark.parametrize("status", ["SUSPENDED", "SUSPENDING"])
def test_a_vm_that_sleeps_is_refused_without_a_lease_too(status: str):
    assert isinstance(refusal(seen(None, status=status), a_run(), POLICY), BadResource)


def test_a_lease_without_an_end_holds_nobody_off():
    assert refusal(seen(theirs(expires_at=None)), a_run(), POLICY) is None


def test_who_is_refused_is_told_by_whom_and_until_when_no_request_can_land_any_more():
    reason = refusal(seen(theirs(expires_at=NOON + timedelta(minutes=3))), a_run(), POLICY)
    assert "a laptop for run tuesday until 12:03:30 UTC" in str(reason)


def test_a_run_that_may_be_live_is_another_one_and_no_longer_than_its_deadline():
    lease = theirs(phase=Phase.INVOKING, expires_at=NOON - L, run_deadline=NOON + timedelta(seconds=1))
    reason = refusal(Seen(running(a_machine(lease=lease)), ADDRESS), a_run(), POLICY)
    assert isinstance(reason, Taken)
    assert reason.same_run is False
    over = replace(lease, run_deadline=NOON)
    assert refusal(Seen(running(a_machine(lease=over)), ADDRESS), a_run(), POLICY) is None


EPHEMERAL = AccessConfig("External NAT", "35.9.9.9")


def test_an_address_on_a_vm_that_is_off_is_no_obstacle_nor_one_that_nobody_asked_to_replace():
    assert refusal(seen(None, access_config=EPHEMERAL), a_run(), POLICY) is None
    adopting = a_run(address=None, on_running=OnRunning.ADOPT)
    on = replace(running(a_machine()), access_config=EPHEMERAL)
    assert refusal(Seen(on, None), adopting, POLICY) is None
