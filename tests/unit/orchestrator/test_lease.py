"""The lease as a value."""

import json
import time
from dataclasses import asdict, fields, replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from orchestrator.lease import AddressPolicy, Found, Lease, Phase, Remembered, Window, next_epoch, read_lease
from tests.unit.orchestrator.sightings import NOON, a_lease

ENDED = Remembered("sunday", "succeeded", 0, NOON, {"text": "hello"})


EVERYTHING = Lease(
    epoch=7,
    nonce="ours",
    key="monday",
    mode="test",
    meaning="0123456789abcdef",
    holder="a laptop",
    phase=Phase.INVOKING,
    asked=True,
    execution="mayfly-x7k2p",
    task=3,
    task_attempt=2,
    address="gpu-ip",
    address_policy=AddressPolicy.KEEP,
    expires_at=NOON,
    run_deadline=NOON + timedelta(hours=1),
    found=Found(running=True, ip="34.1.2.3"),
    outcomes=(ENDED,),
    windows=(Window("mayfly-x7k2p", 3, "monday"),),
)


def test_a_lease_survives_its_trip_through_the_metadata():
    assert read_lease(EVERYTHING.to_json()) == EVERYTHING
    assert read_lease(Lease(epoch=7).to_json()) == Lease(epoch=7)
    usual = Lease(epoch=7)
    assert all(getattr(EVERYTHING, field.name) != getattr(usual, field.name) for field in fields(Lease)[1:])


@pytest.mark.parametrize("field", [field.name for field in fields(Lease)[1:]])
def test_what_a_lease_of_another_release_does_not_say_is_as_usual_and_what_it_adds_is_passed_over(field: str):
    written = json.loads(EVERYTHING.to_json())
    del written[field]
    written["horoscope"] = "cloudy"
    usual = getattr(Lease(epoch=7), field)
    assert read_lease(json.dumps(written)) == replace(EVERYTHING, **{field: usual})


def test_the_value_is_compact_for_metadata_are_small():
    assert len(EVERYTHING.to_json()) == len(json.dumps(asdict(EVERYTHING), default=str, separators=(",", ":")))


def test_times_are_written_in_utc_wherever_we_are(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TZ", "Asia/Seoul")
    time.tzset()
    seoul = replace(EVERYTHING, expires_at=NOON.astimezone(ZoneInfo("Asia/Seoul")))
    assert json.loads(seoul.to_json())["expires_at"] == "2026-11-21T12:00:00+00:00"
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("value", [None, "", "{", "[]", "null", "{}", '{"epoch": "x"}', '{"epoch": 1, "phase": "odd"}'])
def test_a_value_that_is_no_lease_of_ours_is_none(value):
    assert read_lease(value) is None


def test_an_epoch_only_ever_grows():
    assert next_epoch(a_lease(epoch=5_000_000_000), NOON) == 5_000_000_001


def test_a_wiped_lease_cannot_fall_behind():
    assert next_epoch(None, NOON) == int(NOON.timestamp())
    assert next_epoch(None, NOON - timedelta(seconds=NOON.timestamp())) == 1


def test_a_released_lease_keeps_its_epoch_and_what_it_remembers():
    released = EVERYTHING.released()
    assert released == Lease(epoch=7, outcomes=EVERYTHING.outcomes, windows=EVERYTHING.windows)
    assert not released.held(NOON - timedelta(hours=1))


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


def test_a_task_of_an_execution_finds_the_window_that_it_worked_out_before():
    lease = Lease(epoch=1)
    for task, key in [(0, "monday"), (1, "tuesday"), (2, "wednesday"), (1, "tuesday"), (3, "thursday")]:
        lease = lease.with_window(Window("mayfly-x7k2p", task, key), most=3)
    assert [known.task for known in lease.windows] == [2, 1, 3]
    assert [lease.window_of("mayfly-x7k2p", task) for task in range(4)] == [None, "tuesday", "wednesday", "thursday"]
    assert lease.window_of("mayfly-other", 1) is None
