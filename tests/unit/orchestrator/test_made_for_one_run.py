"""VMs that are made for one run: the ladder with another machine rung, and what is known once such a VM is gone."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orchestrator.abandoned import errand
from orchestrator.claiming import _one_more_lost, _stop_is_owed
from orchestrator.claims import refusal
from orchestrator.errors import BadResource
from orchestrator.goal import Down, Up, attempts_lost, goal_of, lost_with_its_vm
from orchestrator.ladder import Move, next_move
from orchestrator.lease import AddressPolicy, Lease, Phase, Remembered
from orchestrator.policy import Policy
from orchestrator.run import Outcome, Verdict
from orchestrator.seen import RESERVED_FOR_A_RUN, AccessConfig, Address, Machine, Seen, run_label
from orchestrator.swept import SweepOrder
from orchestrator.trip import Trip
from tests.unit.orchestrator.sightings import (
    ADDRESS,
    NOON,
    a_lease,
    a_run,
    a_view,
    armed,
    at_the_top,
    attached,
    running,
)
from tests.unit.orchestrator.stage import Stage, staged
from vm_agent.protocol import Greeting, State

RUN = a_run(ephemeral=True)
UP = Up(RUN)
DOWN = Down(RUN, Verdict(Outcome.SUCCEEDED))
OURS = {"mayfly": "managed", "mayfly-run": run_label("monday")}
CLAIMED = a_lease()
ASKED = a_lease(phase=Phase.INVOKING, asked=True)


def gone(**changes: Any) -> Machine:
    return replace(Machine.absent("gpu-vm", NOON), **{"lease": CLAIMED, **changes})


def made(**changes: Any) -> Machine:
    """As it is made: running, with its limit and its address."""
    machine = replace(at_the_top().machine, lease=CLAIMED, labels=OURS, termination_action="DELETE")
    return replace(machine, **changes)


def test_what_is_not_there_comes_with_its_limit_and_its_address():
    assert next_move(Seen(gone(), ADDRESS), UP) is Move.CREATE_MACHINE
    assert next_move(Seen(gone(lease=None), ADDRESS), UP) is Move.CLAIM_LEASE


def test_an_address_that_nobody_reserved_is_reserved_first():
    assert next_move(Seen(gone(), Address.absent("gpu-ip")), UP) is Move.RESERVE_ADDRESS


def test_what_was_made_is_greeted_asked_and_followed():
    assert next_move(Seen(made(), ADDRESS), UP) is Move.GREET_AGENT
    ready = Seen(made(lease=ASKED), ADDRESS, Greeting(status="ok", instance_id="4711"))
    assert next_move(ready, UP) is Move.INVOKE
    assert next_move(replace(ready, run=a_view()), UP) is Move.FOLLOW


@pytest.mark.parametrize("status", ["PROVISIONING", "STAGING", "LEVITATING"])
def test_one_on_its_way_up_is_waited_for(status: str):
    assert next_move(Seen(made(status=status), ADDRESS), UP) is Move.AWAIT_MACHINE


@pytest.mark.parametrize("access_config", [None, AccessConfig("External NAT", "35.9.9.9")])
def test_one_that_came_without_its_address_gets_it(access_config: AccessConfig | None):
    assert next_move(Seen(made(access_config=access_config), ADDRESS), UP) is Move.ATTACH_ADDRESS
    assert next_move(Seen(made(access_config=access_config), None), UP) is Move.GREET_AGENT


def test_a_deletion_that_somebody_left_half_done_is_owed_until_the_vm_is_gone_and_not_just_off():
    stopping = a_lease(phase=Phase.STOPPING)
    assert _stop_is_owed(made(lease=stopping, status="TERMINATED", last_stop=NOON), RUN)
    assert not _stop_is_owed(gone(lease=stopping), RUN)


WRONG: dict[str, dict[str, Any]] = {
    "stopped": {"status": "TERMINATED"},
    "made for another run": {"labels": {**OURS, "mayfly-run": run_label("tuesday")}},
    "without a limit": {"max_run": None},
    "with too short a limit": {"max_run": timedelta(minutes=74)},
    "stopped by its limit, not deleted": {"termination_action": "STOP"},
    "restarting by itself": {"automatic_restart": True},
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_what_we_would_make_is_deleted_first(what: str):
    assert next_move(Seen(made(**WRONG[what]), ADDRESS), UP) is Move.DELETE_MACHINE
    assert next_move(Seen(made(**WRONG[what] | {"status": "STOPPING"}), ADDRESS), UP) is Move.AWAIT_MACHINE


def test_one_that_is_being_deleted_is_waited_for():
    assert next_move(Seen(made(status="STOPPING"), ADDRESS), UP) is Move.AWAIT_MACHINE


def test_a_deletion_that_somebody_left_half_done_is_finished_before_it_is_taken_anew():
    stopping = a_lease(phase=Phase.STOPPING)
    assert next_move(Seen(made(lease=stopping), ADDRESS), UP) is Move.DELETE_MACHINE
    assert next_move(Seen(made(lease=stopping, status="STOPPING"), ADDRESS), UP) is Move.AWAIT_MACHINE
    off = made(lease=stopping, status="TERMINATED", last_stop=NOON)
    assert next_move(Seen(off, ADDRESS), UP) is Move.DELETE_MACHINE, "its disk costs as well"
    assert next_move(Seen(gone(lease=stopping), ADDRESS), UP) is Move.CLAIM_LEASE


def test_coming_down_it_is_deleted_though_it_is_off_and_then_the_lease_is_given_back():
    for machine in (made(), made(status="TERMINATED", last_stop=NOON)):
        assert next_move(Seen(machine, ADDRESS), DOWN) is Move.DELETE_MACHINE
    assert next_move(Seen(gone(), ADDRESS), DOWN) is Move.RELEASE_LEASE
    assert next_move(Seen(gone(), ADDRESS, start_unsettled=True), DOWN) is Move.DELETE_MACHINE
    assert next_move(Seen(gone(lease=None), ADDRESS), DOWN) is None


@pytest.mark.parametrize(
    ("policy", "description", "move"),
    [
        (AddressPolicy.RELEASE, RESERVED_FOR_A_RUN, Move.RELEASE_ADDRESS),
        (AddressPolicy.RELEASE, "somebody's", Move.RELEASE_LEASE),
        (AddressPolicy.DETACH, RESERVED_FOR_A_RUN, Move.RELEASE_LEASE),
        (AddressPolicy.KEEP, RESERVED_FOR_A_RUN, Move.RELEASE_LEASE),
    ],
)
def test_only_an_address_that_we_reserved_is_released_and_only_if_asked_for(
    policy: AddressPolicy, description: str, move: Move
):
    address = replace(ADDRESS, description=description)
    down = replace(DOWN, run=replace(RUN, address_policy=policy))
    assert next_move(Seen(gone(), address), down) is move
    assert next_move(Seen(gone(lease=a_lease(nonce="theirs")), address), down) is None
    assert next_move(Seen(gone(), None), down) is Move.RELEASE_LEASE


# --- what went with the VM ---------------------------------------------------------------------------------------


def once_lost(attempts: int) -> Lease:
    return replace(ASKED, outcomes=(Remembered("monday", "interrupted", 5, NOON, attempts=attempts),))


def test_a_run_is_lost_with_the_vm_that_was_made_for_it():
    assert lost_with_its_vm(Seen(gone(lease=ASKED)), RUN)
    assert lost_with_its_vm(Seen(made(lease=ASKED, status="TERMINATED")), RUN)
    assert lost_with_its_vm(Seen(made(lease=ASKED, labels={})), RUN)
    assert not lost_with_its_vm(Seen(made(lease=ASKED)), RUN), "it is there"
    assert not lost_with_its_vm(Seen(gone(lease=CLAIMED)), RUN), "nobody had asked for it"
    assert not lost_with_its_vm(Seen(gone(lease=None)), RUN)
    assert not lost_with_its_vm(Seen(gone(lease=ASKED)), a_run()), "its disk, with its ledger, stays"
    assert not lost_with_its_vm(Seen(gone(lease=replace(ASKED, key="tuesday"))), RUN)


@pytest.mark.parametrize(("lease", "attempts"), [(ASKED, 1), (once_lost(1), 2), (once_lost(2), 3)])
def test_an_attempt_that_was_lost_is_one_more_than_is_remembered(lease: Lease, attempts: int):
    assert attempts_lost(lease, RUN) == attempts
    assert attempts_lost(lease, replace(RUN, key="tuesday")) == 1


@pytest.mark.parametrize(
    ("lease", "most", "up"), [(ASKED, 1, False), (ASKED, 2, True), (once_lost(1), 2, False), (once_lost(1), 3, True)]
)
def test_a_lost_run_is_begun_again_as_often_as_it_may(lease: Lease, most: int, up: bool):
    run = replace(RUN, attempts_most=most)
    goal = goal_of(Seen(gone(lease=lease), ADDRESS), run)
    assert isinstance(goal, Up) is up
    if isinstance(goal, Down):
        assert goal.verdict.outcome is Outcome.INTERRUPTED
        assert "how the job ended is not known" in goal.verdict.detail
    else:
        assert next_move(Seen(gone(lease=lease), ADDRESS), goal) is Move.CLAIM_LEASE, "for the next attempt"


def test_a_vm_that_is_not_there_yet_is_no_cut_off_run():
    assert isinstance(goal_of(Seen(gone(), ADDRESS), RUN), Up)
    assert isinstance(goal_of(Seen(gone(lease=replace(ASKED, nonce="theirs")), ADDRESS), RUN), Up)


def test_memory_answers_only_once_the_vm_is_gone():
    free = Lease(epoch=7, outcomes=(Remembered("monday", "succeeded", 0, NOON),))
    assert isinstance(goal_of(Seen(gone(lease=free), ADDRESS), RUN), Down)
    assert isinstance(goal_of(Seen(made(lease=free, status="TERMINATED", last_stop=NOON), ADDRESS), RUN), Up)


# --- who is let in -----------------------------------------------------------------------------------------------


def test_a_vm_that_only_has_the_name_is_left_alone():
    stranger = running(attached(armed(made(lease=None, labels={}))))
    error = refusal(Seen(stranger, ADDRESS), RUN, Policy())
    assert isinstance(error, BadResource)
    assert "not made for a run of ours" in str(error)
    assert refusal(Seen(gone(lease=None), ADDRESS), RUN, Policy()) is None


def test_an_address_of_the_users_is_never_released():
    release = replace(RUN, address_policy=AddressPolicy.RELEASE)
    assert isinstance(refusal(Seen(gone(lease=None), ADDRESS), release, Policy()), BadResource)
    for address in (Address.absent("gpu-ip"), replace(ADDRESS, description=RESERVED_FOR_A_RUN)):
        assert refusal(Seen(gone(lease=None), address), release, Policy()) is None
    assert refusal(Seen(gone(lease=None), None), release, Policy()) is None


def test_a_lost_run_that_ended_is_no_more_lost():
    assert goal_of(Seen(made(lease=ASKED), ADDRESS, run=a_view(State.SUCCEEDED)), RUN) == Down(
        RUN, Verdict(Outcome.SUCCEEDED)
    )


def test_a_sweep_comes_down_for_it_as_for_what_was_made():
    order = SweepOrder("demo", None, "a sweep", "sweeper")
    assert errand(order, "us-central1-a", made()).ephemeral
    assert not errand(order, "us-central1-a", made(labels={})).ephemeral


@pytest.mark.parametrize(("lease", "attempts"), [(ASKED, 1), (once_lost(1), 2)])
@staged
async def test_an_attempt_that_was_lost_is_remembered_as_interrupted(stage: Stage, lease: Lease, attempts: int) -> None:
    """The next one begins from nothing: no view, nothing asked."""
    trip = Trip(replace(RUN, meaning="0123456789abcdef"), stage.orchestrator().world, asyncio.Event())
    trip.view, trip.invoked = a_view(), True
    known = tuple(Remembered(f"day {number}", "succeeded", 0, NOON) for number in range(50))
    full = replace(lease, outcomes=(*known, *lease.outcomes))
    after = _one_more_lost(full, Seen(gone(lease=full)), trip)
    lost = Remembered("monday", "interrupted", 5, NOON, None, "run", "0123456789abcdef", attempts)
    assert after == replace(full, outcomes=(*known[1:], lost))
    assert (trip.view, trip.invoked) == (None, False)
