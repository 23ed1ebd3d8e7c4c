"""The ladder, rung by rung: facts in, the next move out."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.goal import Down, Up
from orchestrator.ladder import RUNGS, RUNGS_OF_EPHEMERAL, Move, next_move
from orchestrator.lease import AddressPolicy, Found, Phase
from orchestrator.run import Outcome, Verdict
from orchestrator.seen import AccessConfig, Seen
from tests.unit.orchestrator.sightings import (
    ADDRESS,
    NOON,
    a_lease,
    a_machine,
    a_run,
    a_view,
    armed,
    at_the_top,
    attached,
    running,
)
from vm_agent.protocol import Greeting, State

UP = Up(a_run())
DOWN = Down(a_run(), Verdict(Outcome.SUCCEEDED))
OURS = a_machine(lease=a_lease())
TOP = at_the_top()


def test_the_rungs_stand_in_the_order_in_which_a_run_needs_them():
    names = ["lease", "deadline", "reservation", "address", "machine", "agent", "run"]
    assert [rung.name for rung in RUNGS] == names
    assert [rung.name for rung in RUNGS_OF_EPHEMERAL] == names


@pytest.mark.parametrize(
    ("seen", "move"),
    [
        (Seen(a_machine(), ADDRESS), Move.CLAIM_LEASE),
        (Seen(a_machine(lease=a_lease(nonce="theirs")), ADDRESS), Move.CLAIM_LEASE),
        (Seen(OURS, ADDRESS), Move.ARM_DEADLINE),
        (Seen(armed(OURS), ADDRESS), Move.ATTACH_ADDRESS),
        (Seen(attached(armed(OURS)), ADDRESS), Move.START_MACHINE),
        (Seen(running(attached(armed(OURS))), ADDRESS), Move.GREET_AGENT),
        (replace(TOP, run=None), Move.INVOKE),
        (TOP, Move.FOLLOW),
    ],
)
def test_going_up_the_first_rung_that_does_not_hold_is_next(seen, move):
    assert next_move(seen, UP) is move


def test_a_rung_that_holds_already_costs_nothing():
    """A warm VM needs the lease alone."""
    warm = replace(TOP, machine=replace(TOP.machine, lease=None))
    assert next_move(warm, UP) is Move.CLAIM_LEASE
    assert next_move(TOP, UP) is Move.FOLLOW


def test_no_vm_is_started_unarmed():
    for limit in (None, timedelta(minutes=5), timedelta(days=2)):
        unarmed = replace(attached(armed(OURS)), max_run=limit)
        assert next_move(Seen(unarmed, ADDRESS), UP) is Move.ARM_DEADLINE
    deleting = replace(attached(armed(OURS)), termination_action="DELETE")
    assert next_move(Seen(deleting, ADDRESS), UP) is Move.ARM_DEADLINE
    restarting = replace(attached(armed(OURS)), automatic_restart=True)
    assert next_move(Seen(restarting, ADDRESS), UP) is Move.ARM_DEADLINE


def test_a_vm_of_ours_that_runs_without_a_deadline_is_stopped_first():
    assert next_move(Seen(running(attached(OURS)), ADDRESS), UP) is Move.STOP_MACHINE


def test_an_adopted_vm_is_used_without_a_deadline_of_ours():
    adopted = attached(a_machine(lease=a_lease(found=Found(running=True)), status="RUNNING"))
    assert next_move(Seen(adopted, ADDRESS), UP) is Move.GREET_AGENT


@pytest.mark.parametrize("machine", [OURS, attached(armed(OURS))], ids=["bare", "ready"])
def test_a_stop_that_is_on_its_way_is_waited_for_before_anything_is_started(machine):
    assert next_move(Seen(replace(machine, status="STOPPING"), ADDRESS), UP) is Move.AWAIT_MACHINE


@pytest.mark.parametrize("status", ["PROVISIONING", "STAGING", "REPAIRING", "LEVITATING"])
def test_only_a_vm_that_is_off_is_started(status):
    assert next_move(Seen(replace(attached(armed(OURS)), status=status), ADDRESS), UP) is Move.AWAIT_MACHINE


def test_an_adopted_vm_that_went_off_is_not_started_unarmed():
    adopted = attached(a_machine(lease=a_lease(found=Found(running=True))))
    assert next_move(Seen(adopted, ADDRESS), UP) is Move.ARM_DEADLINE


def test_another_address_on_the_nic_is_replaced():
    ephemeral = replace(armed(OURS), access_config=AccessConfig("External NAT", "35.9.9.9"))
    assert next_move(Seen(ephemeral, ADDRESS), UP) is Move.ATTACH_ADDRESS


@pytest.mark.parametrize(
    "greeting",
    [None, Greeting(status="starting", instance_id="4711"), Greeting(status="ok", instance_id="other")],
)
def test_nothing_is_invoked_before_the_right_agent_is_ready(greeting):
    assert next_move(replace(TOP, greeting=greeting, run=None), UP) is Move.GREET_AGENT


def test_nothing_is_invoked_before_the_lease_says_so():
    unmarked = replace(TOP, machine=replace(TOP.machine, lease=a_lease(phase=Phase.CLAIMED)), run=None)
    assert next_move(unmarked, UP) is Move.GREET_AGENT


@pytest.mark.parametrize(
    ("seen", "move"),
    [
        (TOP, Move.STOP_MACHINE),
        (Seen(replace(TOP.machine, status="STOPPING"), ADDRESS), Move.STOP_MACHINE),
        (Seen(attached(OURS), ADDRESS), Move.DETACH_ADDRESS),
        (Seen(OURS, ADDRESS), Move.RELEASE_LEASE),
        (Seen(a_machine(), ADDRESS), None),
        (Seen(a_machine(lease=a_lease(nonce="theirs")), ADDRESS), None),
    ],
)
def test_coming_down_the_last_rung_that_still_holds_is_next(seen, move):
    assert next_move(seen, DOWN) is move


def test_off_is_something_we_saw_a_stop_older_than_the_start_is_not_one():
    stale = replace(attached(OURS), last_start=NOON, last_stop=NOON - timedelta(seconds=1))
    assert next_move(Seen(stale, ADDRESS), DOWN) is Move.STOP_MACHINE


def test_a_start_that_may_yet_land_is_followed_by_a_stop_though_the_vm_looks_off():
    assert next_move(Seen(OURS, ADDRESS, start_unsettled=True), DOWN) is Move.STOP_MACHINE


def test_a_status_that_nobody_knows_counts_as_on():
    assert next_move(Seen(replace(OURS, status="LEVITATING"), ADDRESS), DOWN) is Move.STOP_MACHINE


def test_nothing_is_undone_under_a_lease_that_is_not_ours():
    theirs = replace(TOP.machine, lease=a_lease(nonce="theirs"))
    assert next_move(Seen(theirs, ADDRESS), DOWN) is None


def test_artifacts_are_copied_out_before_the_stop():
    assert next_move(TOP, replace(DOWN, collect=True)) is Move.COLLECT_OUTPUT


def test_the_policy_keep_leaves_the_address_on_the_stopped_vm():
    keep = replace(DOWN, run=a_run(address_policy=AddressPolicy.KEEP))
    assert next_move(Seen(attached(OURS), ADDRESS), keep) is Move.RELEASE_LEASE


def test_an_adopted_vm_is_left_running_with_the_address_it_had():
    lease = a_lease(found=Found(running=True, ip=ADDRESS.ip))
    adopted = attached(a_machine(lease=lease, status="RUNNING"))
    assert next_move(Seen(adopted, ADDRESS), DOWN) is Move.RELEASE_LEASE


def test_a_request_on_its_way_is_settled_before_anything_is_believed():
    assert next_move(Seen(OURS, ADDRESS, in_flight=True), DOWN) is Move.SETTLE


@pytest.mark.parametrize(
    ("limit", "move"),
    [
        (-1, Move.ARM_DEADLINE),
        (0, Move.ATTACH_ADDRESS),
        (75 * 60, Move.ATTACH_ADDRESS),
        (75 * 60 + 1, Move.ARM_DEADLINE),
    ],
)
def test_a_limit_holds_from_what_the_run_needs_to_twice_that(limit: int, move: Move):
    """`limit`: seconds beyond what this run needs."""
    machine = replace(armed(OURS), max_run=UP.run.max_run + timedelta(seconds=limit))
    assert next_move(Seen(machine, ADDRESS), UP) is move


@pytest.mark.parametrize(("most", "move"), [(1, Move.FOLLOW), (2, Move.INVOKE)])
def test_a_run_that_was_cut_off_is_asked_for_again_only_if_it_may_be(most: int, move: Move):
    cut = replace(TOP, run=a_view(State.INTERRUPTED))
    assert next_move(cut, Up(a_run(attempts_most=most))) is move


@pytest.mark.parametrize("found", [Found(running=False, ip=ADDRESS.ip), Found(running=True, ip="35.9.9.9")])
def test_an_address_goes_off_unless_a_running_vm_had_it_before_us(found: Found):
    seen = Seen(attached(a_machine(lease=a_lease(found=found))), ADDRESS)
    assert next_move(seen, DOWN) is Move.DETACH_ADDRESS
