"""Sightings for tests of the judgement: a VM of ours that is off, and what differs from it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orchestrator.lease import Lease, Phase
from orchestrator.run import Run
from orchestrator.seen import AccessConfig, Address, Machine, Seen
from vm_agent.protocol import FunctionJob, Greeting, Mode, RunView, State

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
ADDRESS = Address("gpu-ip", "34.1.2.3", ())


def a_run(**changes: Any) -> Run:
    run = Run(
        key="monday",
        mode=Mode.RUN,
        job=FunctionJob(function="main:run"),
        params={},
        timeout=timedelta(hours=1),
        max_run=timedelta(hours=1, minutes=15),
        holder="a laptop",
        nonce="ours",
        project="demo",
        region="us-central1",
        zone="us-central1-a",
        instance="gpu-vm",
        address="gpu-ip",
    )
    return replace(run, **changes)


def a_lease(**changes: Any) -> Lease:
    lease = Lease(
        epoch=7,
        nonce="ours",
        key="monday",
        holder="a laptop",
        phase=Phase.CLAIMED,
        expires_at=NOON + timedelta(seconds=180),
    )
    return replace(lease, **changes)


def a_machine(**changes: Any) -> Machine:
    machine = Machine(
        name="gpu-vm",
        id="4711",
        status="TERMINATED",
        metadata_fingerprint="f",
        metadata={},
        lease=None,
        internal_ip="10.0.0.2",
        access_config=None,
        max_run=None,
        termination_action=None,
        automatic_restart=True,
        last_start=NOON - timedelta(hours=2),
        last_stop=NOON - timedelta(hours=1),
        seen_at=NOON,
    )
    return replace(machine, **changes)


def armed(machine: Machine) -> Machine:
    return replace(machine, max_run=timedelta(hours=1, minutes=15), termination_action="STOP", automatic_restart=False)


def attached(machine: Machine) -> Machine:
    return replace(machine, access_config=AccessConfig("External NAT", ADDRESS.ip))


def running(machine: Machine) -> Machine:
    return replace(machine, status="RUNNING", last_start=NOON)


def a_view(state: State = State.RUNNING, **changes: Any) -> RunView:
    view = RunView(
        id="r1",
        key="monday",
        mode=Mode.RUN,
        attempt=1,
        job=FunctionJob(function="main:run"),
        state=state,
        version=1,
        accepted_at=NOON,
    )
    return view.model_copy(update=changes)


def at_the_top() -> Seen:
    """Every rung holds: leased and marked, armed, attached, running, greeted, and the run known."""
    machine = running(attached(armed(a_machine(lease=a_lease(phase=Phase.INVOKING)))))
    return Seen(machine, ADDRESS, Greeting(status="ok", instance_id="4711"), a_view())
