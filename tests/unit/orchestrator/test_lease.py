"""The lease as a value."""

from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.lease import Found, Lease, Phase, Remembered, next_epoch, read_lease
from tests.unit.orchestrator.sightings import NOON, a_lease

ENDED = Remembered("sunday", "succeeded", 0, NOON, {"text": "hello"})


def test_a_lease_survives_its_trip_through_the_metadata():
    lease = a_lease(
        found=Found(running=True, ip="34.1.2.3"),
        run_deadline=NOON,
        phase=Phase.INVOKING,
        outcomes=(ENDED,),
    )
    assert read_lease(lease.to_json()) == lease


@pytest.mark.parametrize("value", [None, "", "{", "[]", "null", "{}", '{"epoch": "x"}', '{"epoch": 1, "phase": "odd"}'])
def test_a_value_that_is_no_lease_of_ours_is_none(value):
    assert read_lease(value) is None


def test_an_epoch_only_ever_grows():
    assert next_epoch(a_lease(epoch=5_000_000_000), NOON) == 5_000_000_001


def test_a_wiped_lease_cannot_fall_behind():
    assert next_epoch(None, NOON) == int(NOON.timestamp())


def test_a_released_lease_keeps_its_epoch_and_what_it_remembers():
    released = a_lease(epoch=9, outcomes=(ENDED,)).released()
    assert released == Lease(epoch=9, outcomes=(ENDED,))
    assert not released.held(NOON)


def test_a_lease_is_held_until_it_expires():
    lease = a_lease(expires_at=NOON)
    assert lease.held(NOON - timedelta(seconds=1))
    assert not lease.held(NOON)


def test_the_newest_outcomes_are_remembered_each_key_once():
    lease = a_lease()
    for day in range(5):
        lease = lease.remembering(replace(ENDED, key=f"day {day % 4}", exit_code=day), most=3)
    assert [(known.key, known.exit_code) for known in lease.outcomes] == [("day 2", 2), ("day 3", 3), ("day 0", 4)]
    assert lease.recall("day 0", "run") is not None
    assert lease.recall("day 1", "run") is None
