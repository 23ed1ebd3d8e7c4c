"""Whatever is seen: what the ladder never does."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.claims import refusal
from orchestrator.goal import Down, Up, goal_of
from orchestrator.ladder import Move, next_move
from orchestrator.lease import AddressPolicy, Found, Lease, Phase
from orchestrator.policy import Policy
from orchestrator.run import OnRunning, Outcome, Run, Verdict
from orchestrator.seen import RESERVED_FOR_A_RUN, AccessConfig, Address, Machine, Seen, run_label
from tests.unit.orchestrator.sightings import ADDRESS, NOON, a_lease, a_machine, a_run, a_view
from vm_agent.protocol import Greeting, State

UPWARDS = {Move.CLAIM_LEASE, Move.ARM_DEADLINE, Move.ATTACH_ADDRESS, Move.START_MACHINE, Move.GREET_AGENT, Move.INVOKE}
UPWARDS |= {Move.FOLLOW, Move.AWAIT_MACHINE, Move.RESERVE_ADDRESS, Move.CREATE_MACHINE}
UNDOING = {Move.STOP_MACHINE, Move.DELETE_MACHINE, Move.DETACH_ADDRESS, Move.RELEASE_ADDRESS, Move.RELEASE_LEASE}
KEY, LABEL = "monday", {"mayfly": "managed"}
STATUSES = ["TERMINATED", "STOPPED", "PROVISIONING", "STAGING", "RUNNING", "STOPPING", "PENDING_STOP", "REPAIRING"]
STATUSES += ["SUSPENDED", "LEVITATING"]


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Often what it is in a run that goes well: else no draw would ever get far up."""
    return st.sampled_from([usual] * len(others) * 2 + [*others])


times = st.none() | st.integers(-9000, 9000).map(lambda seconds: NOON + timedelta(seconds=seconds))
found = st.builds(Found, mostly(False, True), st.sampled_from([None, ADDRESS.ip, "35.9.9.9"]))
leases = st.none() | st.builds(
    a_lease, nonce=mostly("ours", "theirs", ""), phase=st.sampled_from(Phase), found=found, expires_at=times
)
configs = st.builds(AccessConfig, st.just("nat"), mostly(ADDRESS.ip, None, "35.9.9.9"))
machines = st.builds(
    a_machine,
    status=st.sampled_from(STATUSES),
    lease=leases,
    access_config=st.none() | configs,
    max_run=mostly(timedelta(minutes=75), None, timedelta(minutes=1), timedelta(days=9)),
    termination_action=st.sampled_from(["STOP", "STOP", "DELETE", "DELETE", None]),
    labels=st.sampled_from([LABEL, LABEL | {"mayfly-run": run_label(KEY)}, LABEL | {"mayfly-run": "another"}, {}]),
    automatic_restart=mostly(False, True),
    last_start=times,
    last_stop=times,
)
greetings = st.none() | st.builds(
    Greeting, status=mostly("ok", "starting", "failed"), instance_id=mostly("4711", None, "4712")
)
sightings = st.builds(
    Seen,
    machines | st.builds(replace, st.just(Machine.absent("gpu-vm", NOON)), lease=leases),
    st.sampled_from([None, ADDRESS, replace(ADDRESS, description=RESERVED_FOR_A_RUN), Address.absent(ADDRESS.name)]),
    greetings,
    st.none() | st.builds(a_view, st.sampled_from(State)),
    in_flight=mostly(False, True),
    start_unsettled=mostly(False, True),
)
runs = st.builds(
    a_run,
    address_policy=st.sampled_from(AddressPolicy),
    on_running=st.sampled_from(OnRunning),
    address=st.just("gpu-ip"),
    key=st.just(KEY),
    ephemeral=st.booleans(),
)


def downs(run: Run) -> st.SearchStrategy[Down]:
    return st.builds(Down, st.just(run), st.builds(Verdict, st.sampled_from(Outcome)), st.booleans())


def is_ours(seen: Seen) -> bool:
    return seen.machine.lease is not None and seen.machine.lease.nonce == "ours"


@given(sightings, runs, st.data())
def test_coming_down_never_leads_up(seen: Seen, run: Run, data: Any):
    assert next_move(seen, data.draw(downs(run))) not in UPWARDS


@given(sightings, runs, st.data())
def test_nothing_is_undone_under_a_lease_that_is_not_ours(seen: Seen, run: Run, data: Any):
    if not is_ours(seen):
        assert next_move(seen, data.draw(downs(run))) not in UNDOING
        assert next_move(seen, Up(run)) is Move.CLAIM_LEASE


@given(sightings, runs, st.data())
def test_the_lease_is_given_back_only_when_nothing_of_ours_is_or_may_come_on(seen: Seen, run: Run, data: Any):
    if next_move(seen, data.draw(downs(run))) is Move.RELEASE_LEASE:
        assert not seen.in_flight
        assert seen.machine.lease is not None
        down = seen.machine.down(ephemeral=run.ephemeral)
        assert seen.machine.lease.found.running or (down and not seen.start_unsettled)


@given(sightings, runs)
def test_a_vm_is_started_only_if_it_is_off_armed_leased_and_has_its_address(seen: Seen, run: Run):
    if next_move(seen, Up(run)) is not Move.START_MACHINE:
        return
    machine = seen.machine
    assert is_ours(seen)
    assert machine.stopped
    assert machine.max_run is not None
    assert run.max_run <= machine.max_run <= 2 * run.max_run
    assert (machine.termination_action, machine.automatic_restart) == ("STOP", False)
    assert seen.address is None or (machine.access_config is not None and machine.access_config.ip == seen.address.ip)


@given(sightings, runs)
def test_a_vm_is_made_only_where_there_is_none_of_ours_under_our_lease_and_with_its_address(seen: Seen, run: Run):
    if next_move(seen, Up(run)) is not Move.CREATE_MACHINE:
        return
    assert run.ephemeral
    assert is_ours(seen)
    assert not seen.machine.made_for_one_run
    assert seen.address is None or seen.address.reserved


@given(sightings, runs, st.data())
def test_only_what_was_made_for_a_run_is_deleted_and_it_is_never_started_or_stopped(seen: Seen, run: Run, data: Any):
    moves = {next_move(seen, Up(run)), next_move(seen, data.draw(downs(run)))}
    if Move.DELETE_MACHINE in moves:
        assert run.ephemeral
        assert is_ours(seen)
        assert seen.machine.made_for_one_run or seen.start_unsettled
    if run.ephemeral:
        assert not moves & {Move.START_MACHINE, Move.STOP_MACHINE, Move.ARM_DEADLINE, Move.DETACH_ADDRESS}
    else:
        assert not moves & {Move.CREATE_MACHINE, Move.DELETE_MACHINE}


@given(sightings, runs)
def test_the_run_is_asked_for_only_on_the_vm_that_was_made_for_it(seen: Seen, run: Run):
    if run.ephemeral and next_move(seen, Up(run)) in {Move.GREET_AGENT, Move.INVOKE}:
        assert seen.machine.made_for(run.key)
        assert seen.machine.termination_action == "DELETE"


@given(sightings, runs, st.data())
def test_an_address_is_given_back_only_if_a_run_reserved_it(seen: Seen, run: Run, data: Any):
    if next_move(seen, data.draw(downs(run))) is Move.RELEASE_ADDRESS:
        assert is_ours(seen)
        assert seen.address is not None
        assert seen.address.reserved_for_a_run
        assert run.address_policy is AddressPolicy.RELEASE


@given(sightings, runs)
def test_a_deadline_is_written_only_on_a_vm_that_is_off(seen: Seen, run: Run):
    if next_move(seen, Up(run)) is Move.ARM_DEADLINE:
        assert seen.machine.stopped


@given(sightings, runs)
def test_the_run_is_asked_for_only_of_the_right_agent_and_once_the_lease_says_so(seen: Seen, run: Run):
    if next_move(seen, Up(run)) is not Move.INVOKE:
        return
    assert is_ours(seen)
    assert seen.machine.running
    assert seen.machine.lease is not None
    assert seen.machine.lease.phase is Phase.INVOKING
    assert seen.greeting is not None
    assert (seen.greeting.status, seen.greeting.instance_id) == ("ok", seen.machine.id)


@given(sightings, runs, st.data())
def test_a_vm_that_was_found_running_is_not_stopped_on_the_way_down(seen: Seen, run: Run, data: Any):
    if seen.machine.lease is not None and seen.machine.lease.found.running:
        assert next_move(seen, data.draw(downs(run))) is not Move.STOP_MACHINE


@given(sightings, runs)
def test_success_is_the_agents_own_word(seen: Seen, run: Run):
    goal = goal_of(seen, run)
    if isinstance(goal, Down) and goal.verdict.outcome is Outcome.SUCCEEDED:
        assert seen.run is not None
        assert seen.run.state is State.SUCCEEDED


@given(machines, runs, leases.filter(lambda lease: lease is not None and lease.phase is not Phase.FREE))
def test_a_lease_that_has_not_expired_is_never_taken(machine: Machine, run: Run, lease: Lease):
    alive = replace(lease, nonce="theirs", expires_at=NOON + timedelta(seconds=1))
    assert refusal(Seen(replace(machine, lease=alive), ADDRESS), run, Policy()) is not None
