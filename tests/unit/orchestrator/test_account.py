"""The account of a trip: whose seconds are on the bill, and what is said of what is owed."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.account import receipt_of, verdict_on
from orchestrator.clock import SystemClock
from orchestrator.errors import Busy, RunLost, RunOverdue
from orchestrator.run import Outcome, Verdict, VmUse
from orchestrator.seen import Machine, Seen
from orchestrator.trip import Trip
from tests.unit.orchestrator.sightings import ADDRESS, NOON, a_lease, a_machine, a_run, a_view
from vm_agent.protocol import ImageJob, Progress, State

BEFORE = a_machine()  # on from 10:00 to 11:00, for somebody else
SUCCEEDED = Verdict(Outcome.SUCCEEDED)


def at(minute: float) -> datetime:
    return NOON + timedelta(minutes=minute)


def a_trip(machine: Machine, *, started: bool, **facts: Any) -> Trip:
    world: Any = SimpleNamespace(clock=SystemClock())
    trip = Trip(a_run(price_per_hour=3.6), world, asyncio.Event())
    trip.touched, trip.machine, trip.before_start = True, machine, BEFORE if started else None
    for name, fact in facts.items():
        setattr(trip, name, fact)
    return trip


def use_of(trip: Trip) -> VmUse:
    use = receipt_of(trip, SUCCEEDED, clean=True).vm
    assert use is not None
    return use


AFTER = replace(BEFORE, last_start=at(0), last_stop=at(10))


def test_from_our_start_until_off_is_billed_and_what_no_run_used_is_idle():
    view = a_view(State.SUCCEEDED, accepted_at=at(2), finished_at=at(9))
    use = use_of(a_trip(AFTER, started=True, view=view))
    assert (use.billed_seconds, use.idle_seconds, use.cost) == (600, 180, 0.6)


@pytest.mark.parametrize("started", [True, False])
def test_the_times_of_somebodys_earlier_run_are_not_on_our_bill(started):
    """A start that was refused, or none at all, leaves the times of the run before."""
    use = use_of(a_trip(BEFORE, started=started))
    assert (use.billed_seconds, use.idle_seconds, use.cost) == (None, None, None)


def test_a_vm_that_was_not_seen_off_has_no_bill_yet():
    use = use_of(a_trip(replace(AFTER, status="RUNNING"), started=True))
    assert use.billed_seconds is None


def test_a_run_whose_end_nobody_told_us_counts_as_live_until_the_vm_was_off():
    use = use_of(a_trip(AFTER, started=True, view=a_view(State.RUNNING, accepted_at=at(2))))
    assert use.idle_seconds == 120


def test_a_run_of_an_earlier_boot_does_not_make_this_one_less_idle():
    view = a_view(State.SUCCEEDED, accepted_at=at(-60), finished_at=at(-50))
    assert use_of(a_trip(AFTER, started=True, view=view)).idle_seconds == 600


def test_a_vm_that_may_be_on_is_said_to_be_so():
    trip = a_trip(AFTER, started=True)
    trip.saw(Seen(replace(AFTER, status="STOPPING", lease=a_lease()), ADDRESS))
    receipt = receipt_of(trip, SUCCEEDED, clean=False)
    assert (receipt.outcome, receipt.cleanup) == (Outcome.CLEANUP_OWED, "owed")
    assert "may still be on" in receipt.detail


def test_a_vm_that_was_seen_off_is_not_said_to_be_on_though_its_lease_is_still_owed():
    trip = a_trip(AFTER, started=True)
    trip.saw(Seen(replace(AFTER, lease=a_lease()), ADDRESS))
    receipt = receipt_of(trip, SUCCEEDED, clean=False)
    assert (receipt.outcome, receipt.cleanup) == (Outcome.CLEANUP_OWED, "owed")
    assert "may still be on" not in receipt.detail
    assert "lease" in receipt.detail


def test_what_was_not_copied_is_on_the_receipt():
    trip = a_trip(AFTER, started=True, not_copied=["Not everything was copied to out: disk full."])
    assert "disk full" in receipt_of(trip, SUCCEEDED, clean=True).detail


@pytest.mark.parametrize(
    ("error", "invoked", "outcome"),
    [
        (Busy("theirs"), False, Outcome.BUSY),
        (Busy("theirs"), True, Outcome.INTERRUPTED),
        (ValueError("a bug"), False, Outcome.AGENT_FAULT),
        (ValueError("a bug"), True, Outcome.INTERRUPTED),
        (RunLost("silent"), True, Outcome.INTERRUPTED),
        (RunOverdue("late"), True, Outcome.TIMED_OUT),
    ],
)
def test_once_the_agent_was_asked_only_the_job_itself_tells_how_it_ended(error, invoked, outcome):
    assert verdict_on(error, a_trip(AFTER, started=True, invoked=invoked)).outcome is outcome


def test_what_is_known_of_an_interrupted_run_is_told():
    view = a_view(State.INTERRUPTED, progress=Progress(fraction=0.42, message="epoch 3"))
    cut = Verdict(Outcome.INTERRUPTED, "The VM went off under the run.")
    detail = receipt_of(a_trip(AFTER, started=True, view=view), cut, clean=True).detail
    assert detail == (
        "The VM went off under the run. It was accepted at 2026-11-21 12:00:00 UTC and was last heard of at "
        "42% epoch 3. Its log is on the VM's disk, under run r1."
    )
    silent = receipt_of(a_trip(AFTER, started=True, view=a_view(State.INTERRUPTED)), cut, clean=True).detail
    assert "accepted at 2026-11-21 12:00:00 UTC. Its log" in silent
    assert "Its log" not in receipt_of(a_trip(AFTER, started=True, view=view), SUCCEEDED, clean=True).detail


def test_of_a_container_the_receipt_names_the_very_image():
    job, exact = ImageJob(image="gcr.io/p/i:v1", arguments=["train"]), "gcr.io/p/i@sha256:12"
    view = a_view(State.SUCCEEDED).model_copy(update={"job": job, "image": exact})
    assert receipt_of(a_trip(AFTER, started=True, view=view), SUCCEEDED, clean=True).job == f"image:{exact} train"
    nobody_knows = view.model_copy(update={"image": None})
    assert receipt_of(a_trip(AFTER, started=True, view=nobody_knows), SUCCEEDED, clean=True).job == "main:run"
