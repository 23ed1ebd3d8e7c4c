"""Up or down, and who is let in."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.claims import refusal
from orchestrator.errors import BadResource, Busy
from orchestrator.goal import Down, Up, goal_of
from orchestrator.lease import Found, Phase
from orchestrator.policy import Policy
from orchestrator.run import OnRunning, Outcome, Verdict
from orchestrator.seen import AccessConfig, Address, Seen
from tests.unit.orchestrator.sightings import ADDRESS, NOON, a_lease, a_machine, a_run, a_view, at_the_top, running
from vm_agent.protocol import Failure, State

TOP = at_the_top()
POLICY = Policy()


@pytest.mark.parametrize(
    ("state", "outcome"),
    [
        (State.SUCCEEDED, Outcome.SUCCEEDED),
        (State.FAILED, Outcome.FAILED),
        (State.CANCELLED, Outcome.CANCELLED),
        (State.TIMED_OUT, Outcome.TIMED_OUT),
        (State.INTERRUPTED, Outcome.INTERRUPTED),
    ],
)
def test_a_finished_run_turns_the_trip_round(state, outcome):
    goal = goal_of(replace(TOP, run=a_view(state)), a_run())
    assert isinstance(goal, Down)
    assert goal.verdict.outcome is outcome


@pytest.mark.parametrize("state", [State.ACCEPTED, State.RUNNING])
def test_a_live_run_is_followed(state):
    assert goal_of(replace(TOP, run=a_view(state)), a_run()) == Up(a_run())


def test_the_verdict_carries_the_jobs_own_words_and_result():
    failed = a_view(State.FAILED, failure=Failure(detail="ValueError: no such coin"), result=None)
    goal = goal_of(replace(TOP, run=failed), a_run())
    assert isinstance(goal, Down)
    assert goal.verdict.detail == "ValueError: no such coin"


def test_a_vm_that_went_off_under_an_invoked_run_leaves_its_outcome_unknown():
    off = replace(TOP.machine, status="TERMINATED")
    goal = goal_of(Seen(off, ADDRESS), a_run())
    assert isinstance(goal, Down)
    assert goal.verdict.outcome is Outcome.INTERRUPTED


def test_a_vm_that_is_off_and_free_may_be_claimed():
    assert refusal(Seen(a_machine(), ADDRESS), a_run(), POLICY) is None


def test_a_vm_that_somebody_uses_is_refused_and_left_alone():
    error = refusal(Seen(running(a_machine()), ADDRESS), a_run(), POLICY)
    assert isinstance(error, Busy)
    assert "ON_RUNNING=adopt" in str(error)


def test_a_running_vm_may_be_adopted_if_the_user_says_so():
    assert refusal(Seen(running(a_machine()), ADDRESS), a_run(on_running=OnRunning.ADOPT), POLICY) is None


@pytest.mark.parametrize(
    ("expired_since", "refused"),
    [(timedelta(seconds=-1), True), (timedelta(seconds=29), True), (timedelta(seconds=31), False)],
)
def test_anothers_lease_holds_until_its_last_request_must_have_died(expired_since, refused):
    lease = a_lease(nonce="theirs", expires_at=NOON - expired_since)
    assert (refusal(Seen(a_machine(lease=lease), ADDRESS), a_run(), POLICY) is not None) is refused


def test_a_vm_left_on_is_not_taken_while_its_run_may_be_live():
    lease = a_lease(
        nonce="theirs",
        key="tuesday",
        phase=Phase.INVOKING,
        expires_at=NOON - timedelta(hours=1),
        run_deadline=NOON + timedelta(minutes=1),
    )
    left_on = replace(running(a_machine(lease=lease)), last_start=NOON - timedelta(hours=2))
    assert isinstance(refusal(Seen(left_on, ADDRESS), a_run(), POLICY), Busy)
    later = replace(lease, run_deadline=NOON - timedelta(seconds=1))
    assert refusal(Seen(replace(left_on, lease=later), ADDRESS), a_run(), POLICY) is None


def test_an_address_that_another_vm_uses_is_never_taken_from_it():
    used = Address("gpu-ip", "34.1.2.3", ("https://x/projects/demo/zones/us-central1-a/instances/other-vm",))
    error = refusal(Seen(a_machine(), used), a_run(), POLICY)
    assert isinstance(error, BadResource)
    assert "other-vm" in str(error)


def test_an_address_that_is_on_our_own_vm_is_no_obstacle():
    used = Address("gpu-ip", "34.1.2.3", ("https://x/projects/demo/zones/us-central1-a/instances/gpu-vm",))
    assert refusal(Seen(a_machine(), used), a_run(), POLICY) is None


@pytest.mark.parametrize("lease", [None, a_lease(nonce="theirs", expires_at=NOON - timedelta(hours=1))])
def test_a_suspended_vm_cannot_be_used(lease):
    suspended = a_machine(status="SUSPENDED", lease=lease)
    assert isinstance(refusal(Seen(suspended, ADDRESS), a_run(), POLICY), BadResource)


def test_a_vm_that_was_started_after_a_dead_runs_lease_is_somebody_elses():
    """That run did not leave it on, so it is not ours to stop."""
    lease = a_lease(nonce="theirs", expires_at=NOON - timedelta(hours=1))
    assert isinstance(refusal(Seen(running(a_machine(lease=lease)), ADDRESS), a_run(), POLICY), Busy)
    left_on = replace(running(a_machine(lease=lease)), last_start=NOON - timedelta(hours=2))
    assert refusal(Seen(left_on, ADDRESS), a_run(), POLICY) is None


@pytest.mark.parametrize("status", ["PROVISIONING", "STAGING", "REPAIRING", "LEVITATING"])
def test_only_a_vm_that_runs_is_adopted(status):
    """Nobody could tell later that it was somebody else who had switched it on."""
    error = refusal(Seen(a_machine(status=status), ADDRESS), a_run(on_running=OnRunning.ADOPT), POLICY)
    assert isinstance(error, Busy)


def test_an_address_on_a_vm_of_the_same_name_in_another_zone_is_in_use():
    used = Address("gpu-ip", "34.1.2.3", ("https://x/projects/demo/zones/us-central1-b/instances/gpu-vm",))
    assert isinstance(refusal(Seen(a_machine(), used), a_run(), POLICY), BadResource)


def test_an_adopted_vm_that_somebody_stopped_before_the_run_is_not_ours_to_start():
    stopped = a_machine(lease=a_lease(found=Found(running=True)))
    goal = goal_of(Seen(stopped, ADDRESS), a_run())
    assert isinstance(goal, Down)
    assert goal.verdict.outcome is Outcome.NO_MACHINE


def test_an_adopted_vm_keeps_the_address_it_has():
    used = replace(running(a_machine()), access_config=AccessConfig("External NAT", "35.9.9.9"))
    error = refusal(Seen(used, ADDRESS), a_run(on_running=OnRunning.ADOPT), POLICY)
    assert isinstance(error, BadResource)
    assert "35.9.9.9" in str(error)


def test_what_a_job_gave_is_in_the_verdict_with_no_words_of_ours():
    done = goal_of(replace(TOP, run=a_view(State.SUCCEEDED, result={"text": "hello"})), a_run())
    assert done == Down(a_run(), Verdict(Outcome.SUCCEEDED, "", {"text": "hello"}))


@pytest.mark.parametrize("out", [None, Path("out")])
def test_output_is_collected_where_somebody_wants_it(out: Path | None):
    run = a_run(out=out)
    goal = goal_of(replace(TOP, run=a_view(State.FAILED)), run)
    assert goal == Down(run, Verdict(Outcome.FAILED), collect=out is not None)
