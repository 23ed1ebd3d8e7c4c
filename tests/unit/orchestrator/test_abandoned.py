"""What is abandoned: one table, and for any VM at all, what must hold before a sweep may touch it."""

import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.abandoned import at_first_sight, claimed, errand, judge, live_run, planned, unused, yielded
from orchestrator.lease import AddressPolicy, Found, Phase
from orchestrator.policy import Policy, seconds
from orchestrator.run import Reach, Run
from orchestrator.seen import RESERVED_FOR_A_RUN, AccessConfig, Address, Listed, Machine, run_label
from orchestrator.swept import Standing, SweepOrder
from tests.unit.orchestrator.sightings import NOON, a_lease, a_machine, a_view
from vm_agent.protocol import Greeting, Mode

POLICY = Policy()
ORDER = SweepOrder("demo", None, "a sweep", "sweeper")
LABEL = {"mayfly": "managed"}
HOUR = timedelta(hours=1)
JUST_EXPIRED = NOON - POLICY.request  # and the longest life of a request with it


def left(status: str = "RUNNING", **lease: Any) -> Machine:
    """A VM of ours on which a run started, whose lease ran out."""
    expired: dict[str, Any] = {"expires_at": JUST_EXPIRED, "nonce": "theirs", "phase": Phase.INVOKING} | lease
    start, stop = NOON - HOUR, NOON - 2 * HOUR
    off = status in {"TERMINATED", "STOPPED"}
    return a_machine(
        status=status,
        labels=LABEL,
        lease=a_lease(**expired),
        last_start=stop - HOUR if off else start,
        last_stop=stop,
        seen_at=NOON,
    )


MADE = LABEL | {"mayfly-run": run_label("monday")}
JUDGED = {
    "no label": (replace(left(), labels={}), Standing.NOT_OURS),
    "another label": (replace(left(), labels={"mayfly": "mine"}), Standing.NOT_OURS),
    "made for one run, off, without a lease": (
        replace(left("TERMINATED"), labels=MADE, lease=None),
        Standing.ABANDONED,
    ),
    "made for one run, off and free": (
        replace(left("TERMINATED", phase=Phase.FREE), labels=MADE),
        Standing.ABANDONED,
    ),
    "made for one run, on without a lease": (replace(left(), labels=MADE, lease=None), Standing.ON_BY_HAND),
    "made for one run, its lease held": (
        replace(left("TERMINATED", expires_at=NOON), labels=MADE),
        Standing.HELD,
    ),
    "off without a lease": (replace(left("TERMINATED"), lease=None), Standing.AT_REST),
    "off and free": (left("TERMINATED", phase=Phase.FREE), Standing.AT_REST),
    "going off and free": (left("STOPPING", phase=Phase.FREE), Standing.AT_REST),
    "on without a lease": (replace(left(), lease=None), Standing.ON_BY_HAND),
    "on and free": (left(phase=Phase.FREE), Standing.ON_BY_HAND),
    "on its way up without a lease": (replace(left("STAGING"), lease=None), Standing.ON_BY_HAND),
    "a lease that holds": (left(expires_at=NOON + seconds(1)), Standing.HELD),
    "a request may still land": (left(expires_at=JUST_EXPIRED + seconds(1)), Standing.HELD),
    "off, a request may still land": (left("TERMINATED", expires_at=JUST_EXPIRED + seconds(1)), Standing.HELD),
    "a stop may still land": (left(phase=Phase.STOPPING, expires_at=NOON), Standing.HELD),
    "off and never given back": (left("TERMINATED"), Standing.ABANDONED),
    "left on while it booted": (left(phase=Phase.CLAIMED), Standing.ABANDONED),
    "left on": (left(), Standing.ABANDONED),
    "left on half way down": (left(phase=Phase.STOPPING), Standing.ABANDONED),
    "left on its way up": (left("STAGING"), Standing.ABANDONED),
    "left on its way down": (left("STOPPING"), Standing.ABANDONED),
    "a state that Google added": (left("MELTING"), Standing.ABANDONED),
    "a lease that never says when it ends": (left(expires_at=None), Standing.ABANDONED),
    "suspended": (left("SUSPENDED"), Standing.STUCK),
    "started long after": (left(expires_at=NOON - 3 * HOUR), Standing.ON_BY_HAND),
    "held by hand": (replace(left(), metadata={"mayfly-hold": "2026-11-21T12:30:00Z"}), Standing.ON_BY_HAND),
    "held by hand until now": (replace(left(), metadata={"mayfly-hold": "2026-11-21T12:00:00Z"}), Standing.ABANDONED),
    "held by hand since a day": (
        replace(left(), metadata={"mayfly-hold": "2026-11-21T12:30:00Z"}, last_start=NOON - 30 * HOUR),
        Standing.ON_BY_HAND,
    ),
    "held for ever, since an hour": (replace(left(), metadata={"mayfly-hold": "2999-01-01"}), Standing.ON_BY_HAND),
    "held by nonsense": (replace(left(), metadata={"mayfly-hold": "for ever"}), Standing.ABANDONED),
    "held for ever": (
        replace(left(), metadata={"mayfly-hold": "2999-01-01"}, last_start=NOON - timedelta(hours=24)),
        Standing.ABANDONED,
    ),
}


@pytest.mark.parametrize("case", JUDGED)
def test_a_vm_is_judged_by_label_lease_and_state(case: str):
    machine, standing = JUDGED[case]
    assert judge(machine, POLICY).standing is standing


def test_a_copy_of_a_lease_that_is_kept_elsewhere_proves_nothing():
    machine = replace(left(), metadata={"mayfly-state": "gs://bucket/demo/us-central1-a/gpu-vm/lease.json"})
    assert at_first_sight(machine, POLICY).standing is Standing.HELD
    assert at_first_sight(left(), POLICY) == judge(left(), POLICY)


def hello(**changes: Any) -> Greeting:
    return Greeting(status="ok", instance_id="4711", **changes)


def at_work(**changes: Any) -> Greeting:
    return hello(run=a_view(**changes))


TALKS = {
    "a run without a limit": (left(), at_work(), True),
    "a run within its limit": (left(), at_work(deadline=NOON + HOUR), True),
    "a run at its limit, within the grace": (left(), at_work(deadline=NOON - POLICY.grace + seconds(1)), True),
    "a run long past its limit": (left(), at_work(deadline=NOON - POLICY.grace), False),
    "past its limit, but not past the lease's": (left(run_deadline=NOON + HOUR), at_work(deadline=NOON - HOUR), True),
    "a run after the stop was marked": (left(phase=Phase.STOPPING), at_work(), True),
    "nothing to do": (left(run_deadline=NOON + HOUR), hello(), False),
    "silent within the deadline": (left(run_deadline=NOON + seconds(1)), None, True),
    "silent past the deadline": (left(run_deadline=NOON), None, False),
    "silent, and no deadline": (left(), None, False),
    "silent, never asked": (left(phase=Phase.CLAIMED, run_deadline=NOON + HOUR), None, False),
    "silent, half way down": (left(phase=Phase.STOPPING, run_deadline=NOON + HOUR), None, False),
    "another VM's idle agent": (left(run_deadline=NOON + HOUR), hello().model_copy(update={"instance_id": "1"}), True),
    "another VM's busy agent": (left(), at_work().model_copy(update={"instance_id": "1"}), False),
}


@pytest.mark.parametrize("case", TALKS)
def test_a_run_is_live_by_its_own_agents_word_or_for_as_long_as_it_may_be(case: str):
    machine, greeting, live = TALKS[case]
    judged = live_run(machine, greeting, POLICY)
    assert (judged is not None) == live
    assert judged is None or judged.standing is Standing.LIVE


TIMES = st.none() | st.integers(-7200, 7200).map(lambda count: NOON + seconds(count))
LEASES = st.builds(
    a_lease,
    phase=st.sampled_from(Phase),
    expires_at=TIMES,
    run_deadline=TIMES,
    found=st.builds(Found, running=st.booleans()),
)
MACHINES = st.builds(
    a_machine,
    status=st.sampled_from(["RUNNING", "TERMINATED", "STAGING", "STOPPING", "SUSPENDED", "REPAIRING", "NEW"]),
    labels=st.sampled_from([{}, LABEL]),
    lease=st.none() | LEASES,
    last_start=TIMES,
    last_stop=TIMES,
    seen_at=st.just(NOON),
)


@given(MACHINES)
def test_nothing_is_touched_but_what_is_ours_and_was_left(machine: Machine):
    if judge(machine, POLICY).standing is Standing.ABANDONED:
        assert machine.labels == LABEL
        assert machine.lease is not None
        assert machine.lease.phase is not Phase.FREE
        assert machine.lease.expires_at is None or machine.lease.expires_at + POLICY.request <= NOON
        late = POLICY.request + POLICY.start
        known = machine.last_start is not None and machine.lease.expires_at is not None
        assert machine.off or not known or machine.last_start <= machine.lease.expires_at + late  # type: ignore[operator]


@given(MACHINES)
def test_what_is_left_on_for_sure_is_not_overlooked(machine: Machine):
    standing = judge(machine, POLICY).standing
    if machine.labels == LABEL and not machine.off and not machine.going_off:
        assert standing is not Standing.AT_REST


def test_a_claim_outdoes_every_epoch_and_keeps_what_is_owed():
    found = Found(running=True, ip="1.2.3.4")
    owed = {"address": "gpu-ip", "address_policy": AddressPolicy.KEEP, "found": found, "run_deadline": NOON}
    before = a_lease(execution="nightly-x", task=3, **owed)
    claim = claimed(before, ORDER, NOON, POLICY)
    assert claim.epoch > before.epoch
    assert (claim.nonce, claim.holder, claim.phase) == ("sweeper", "a sweep", Phase.STOPPING)
    assert claim.expires_at == NOON + POLICY.lease_ttl
    assert {name: getattr(claim, name) for name in owed} == owed
    assert claim.execution == "", "its next attempt must not take a living sweep for a dead predecessor"
    assert yielded(claim, before) == replace(before, epoch=claim.epoch)


def test_the_errand_is_the_abandoned_runs_own():
    machine = left(address="gpu-ip", address_policy=AddressPolicy.KEEP)
    run = errand(ORDER, "europe-west4-b", machine)
    assert (run.instance, run.zone, run.region, run.nonce) == ("gpu-vm", "europe-west4-b", "europe-west4", "sweeper")
    assert run.key == "monday"
    assert (run.address, run.address_policy) == ("gpu-ip", AddressPolicy.KEEP)


IP = AccessConfig("External NAT", "34.1.2.3")
PLANS = {
    "all of it": (left(address="gpu-ip"), IP, ("claim", "stop", "detach", "release")),
    "kept": (left(address="gpu-ip", address_policy=AddressPolicy.KEEP), IP, ("claim", "stop", "release")),
    "no address": (left(address=None), IP, ("claim", "stop", "release")),
    "off": (left("TERMINATED", address="gpu-ip"), IP, ("claim", "detach", "release")),
    "released": (
        left("TERMINATED", address="gpu-ip", address_policy=AddressPolicy.RELEASE),
        IP,
        ("claim", "detach", "give-back", "release"),
    ),
    "made for one run": (replace(left(address="gpu-ip"), labels=MADE), IP, ("claim", "delete", "release")),
    "off and bare": (left("TERMINATED", address="gpu-ip"), None, ("claim", "release")),
    "found on": (left(found=Found(running=True)), None, ("claim", "release")),
}


@pytest.mark.parametrize("case", PLANS)
def test_a_plan_says_what_would_be_done(case: str):
    machine, config, moves = PLANS[case]
    assert planned(replace(machine, access_config=config)) == moves


@pytest.mark.parametrize(
    ("age", "standing"),
    [(timedelta(0), Standing.HELD), (POLICY.climb, Standing.HELD), (POLICY.climb + POLICY.request, Standing.ABANDONED)],
)
def test_an_address_that_a_run_reserved_is_left_to_it_as_long_as_it_may_be_on_its_way(age: timedelta, standing: Any):
    reserved = Address("gpu-ip", "34.1.2.3", (), description=RESERVED_FOR_A_RUN, created=NOON - age)
    finding = unused(Listed("us-central1", reserved), NOON, POLICY)
    assert finding is not None
    assert (finding.standing, finding.owed) == (standing, standing is Standing.ABANDONED)


def test_an_address_in_use_is_no_finding():
    used = Listed("us-central1", Address("gpu-ip", "34.1.2.3", ("https://.../instances/gpu-vm",), labels=LABEL))
    assert unused(used, NOON, POLICY) is None
    idle = unused(replace(used, thing=replace(used.thing, users=())), NOON, POLICY)
    assert idle is not None
    assert (idle.standing, idle.owed) == (Standing.UNUSED, False)


def test_the_agents_word_counts_though_the_lease_was_wiped():
    assert live_run(replace(left(), lease=None), at_work(), POLICY) is not None
    overdue = at_work(deadline=NOON - POLICY.grace)
    assert live_run(replace(left(), lease=None), overdue, POLICY) is None
    assert live_run(left(run_deadline=NOON), overdue, POLICY) is None, "the lease's deadline is now"


def test_a_claim_is_higher_than_what_was_there_whatever_the_clock_says():
    before = a_lease(epoch=9_000_000_000, execution="nightly-x", task=3, expires_at=JUST_EXPIRED)
    claim = claimed(before, ORDER, NOON, POLICY)
    assert claim.epoch == 9_000_000_001
    assert (claim.task, claim.expires_at) == (0, NOON + POLICY.lease_ttl)


def test_an_errand_orders_nothing_but_to_come_down():
    order = replace(ORDER, reach=Reach.INTERNAL, agent_port=9000)
    assert errand(order, "europe-west4-b", left(address="gpu-ip")) == Run(
        key="monday",
        mode=Mode.RUN,
        job=None,
        params={},
        timeout=timedelta(),
        max_run=timedelta(),
        holder="a sweep",
        nonce="sweeper",
        project="demo",
        region="europe-west4",
        zone="europe-west4-b",
        instance="gpu-vm",
        address="gpu-ip",
        reach=Reach.INTERNAL,
        agent_port=9000,
    )


def test_who_started_it_by_hand_is_told_whose_lease_had_run_out():
    assert "after the lease of a laptop (run monday)" in judge(left(expires_at=NOON - 3 * HOUR), POLICY).why


@pytest.mark.parametrize(
    ("hold", "standing"),
    [
        ("2026-11-21T12:30:00+09:00", Standing.ABANDONED),
        ("2026-11-21T12:30:00-09:00", Standing.ON_BY_HAND),
        ("2026-11-22T12:00:00Z", Standing.ON_BY_HAND),
        ("2026-11-22T12:00:01Z", Standing.ABANDONED),
    ],
)
def test_a_hold_goes_by_its_own_zone_and_a_day_at_most_counts_from_now(hold: str, standing: Standing):
    """Longer than a day, it counts from the start of the VM, which was more than a day ago."""
    held = replace(left(), metadata={"mayfly-hold": hold}, last_start=NOON - 30 * HOUR)
    assert judge(held, POLICY).standing is standing


def test_moments_are_told_in_utc_wherever_we_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    assert "until 2026-11-21 13:00:00 UTC" in judge(left(expires_at=NOON + HOUR), POLICY).why
    monkeypatch.undo()
    time.tzset()
