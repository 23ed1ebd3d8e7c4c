"""When schedules are due, across zones and changes of the clocks."""

from datetime import UTC, datetime

import pytest

from gcp_emulator.cron import BadScheduleError, next_tick


def ticks(schedule: str, zone: str, after: str, count: int) -> list[str]:
    moment, found = datetime.fromisoformat(after).replace(tzinfo=UTC), []
    for _ in range(count):
        moment = next_tick(schedule, zone, moment)
        found.append(f"{moment:%Y-%m-%dT%H:%M}")
    return found


def test_a_schedule_is_read_in_its_zone_and_moves_with_summer_time():
    before, after = ticks("0 9 * * *", "Europe/Berlin", "2030-03-29T12:00", 2)
    assert (before, after) == ("2030-03-30T08:00", "2030-03-31T07:00")
    assert ticks("0 9 * * *", "UTC", "2030-03-29T12:00", 2) == ["2030-03-30T09:00", "2030-03-31T09:00"]
    assert ticks("0 9 * * *", "Asia/Seoul", "2030-03-29T12:00", 1) == ["2030-03-30T00:00"]


def test_a_tick_in_the_hour_that_is_left_out_comes_right_after_it():
    assert ticks("30 2 * * *", "Europe/Berlin", "2030-03-30T12:00", 2) == ["2030-03-31T01:00", "2030-04-01T00:30"]


def test_a_daily_tick_in_the_hour_that_comes_twice_comes_once():
    assert ticks("30 2 * * *", "Europe/Berlin", "2030-10-26T12:00", 2) == ["2030-10-27T00:30", "2030-10-28T01:30"]


def test_what_is_due_by_the_minute_goes_on_through_a_change_of_the_clocks():
    assert ticks("*/30 * * * *", "Europe/Berlin", "2030-10-27T00:15", 4) == [
        "2030-10-27T00:30",
        "2030-10-27T01:00",
        "2030-10-27T01:30",
        "2030-10-27T02:00",
    ]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 0 29 2 *", ["2032-02-29T00:00", "2036-02-29T00:00"]),
        ("0 8 * * mon-fri", ["2030-01-01T08:00", "2030-01-02T08:00"]),
        ("*/10 * * * *", ["2030-01-01T00:10", "2030-01-01T00:20"]),
        ("0 12 1 JAN *", ["2030-01-01T12:00", "2031-01-01T12:00"]),
    ],
)
def test_fields_mean_what_they_mean_to_cron(schedule: str, expected: list[str]):
    assert ticks(schedule, "Etc/UTC", "2030-01-01T00:00", 2) == expected


@pytest.mark.parametrize(
    ("schedule", "zone"),
    [
        ("every 10 minutes", "UTC"),
        ("61 * * * *", "UTC"),
        ("0 0 30 2 *", "UTC"),
        ("0 0 * * * *", "UTC"),
        ("", "UTC"),
        ("0 0 * * *", "Mars/Olympus"),
        ("0 0 * * *", "../etc/passwd"),
    ],
)
def test_what_is_never_due_is_refused(schedule: str, zone: str):
    with pytest.raises(BadScheduleError):
        next_tick(schedule, zone, datetime(2030, 1, 1, tzinfo=UTC))
