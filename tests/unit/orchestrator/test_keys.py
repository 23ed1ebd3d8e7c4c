"""Windows of time, and what a key stands for."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.errors import BadUsage
from orchestrator.keys import check_window, meaning_of, window_key
from orchestrator.spans import parse_duration, written
from vm_agent.protocol import CommandJob, FunctionJob, ImageJob

ZONES = st.sampled_from(["UTC", "Asia/Seoul", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
SPANS = {"1h": 1, "2h": 2, "3h": 3, "4h": 4, "6h": 6, "8h": 8, "12h": 12, "1d": 24}
moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


def key(once_per: str, zone: str, now: datetime) -> str:
    return window_key(once_per, zone, now, "meaning")


def test_a_day_begins_at_midnight_where_the_user_lives():
    before, after = (datetime(2026, 11, 21, 14, minute, tzinfo=UTC) for minute in (59, 0))
    assert key("1d", "Asia/Seoul", before) == key("1d", "Asia/Seoul", after) == "2026-11-21/Asia/Seoul/meaning"
    assert key("1d", "Asia/Seoul", datetime(2026, 11, 21, 15, tzinfo=UTC)) == "2026-11-22/Asia/Seoul/meaning"


@given(moments, ZONES, st.sampled_from(sorted(SPANS)))
def test_a_window_is_never_longer_than_it_says_by_more_than_a_change_of_clocks(now: datetime, zone: str, span: str):
    hours = timedelta(hours=SPANS[span])
    assert key(span, zone, now) != key(span, zone, now + hours + timedelta(hours=1))


@given(moments, ZONES, st.sampled_from(sorted(SPANS)), st.integers(0, 59), st.integers(0, 59))
def test_within_one_hour_of_the_clock_there_is_one_window(now: datetime, zone: str, span: str, one: int, other: int):
    if zone == "Australia/Lord_Howe":  # whose clocks change by half an hour
        return
    local = now.astimezone(ZoneInfo(zone)).replace(second=0, microsecond=0)
    first, second = local.replace(minute=one), local.replace(minute=other)
    assert key(span, zone, first) == key(span, zone, second)


def test_the_hour_that_comes_twice_is_two_windows():
    first, second = datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert first.astimezone(ZoneInfo("Europe/Berlin")).hour == second.astimezone(ZoneInfo("Europe/Berlin")).hour == 2
    assert key("1h", "Europe/Berlin", first) != key("1h", "Europe/Berlin", second)
    assert key("1d", "Europe/Berlin", first) == key("1d", "Europe/Berlin", second)


@pytest.mark.parametrize("span", ["5h", "0h", "2d", "30m", "1 h", "", "h", "1D"])
def test_what_does_not_divide_a_day_is_no_window(span: str):
    with pytest.raises(BadUsage, match="ONCE_PER"):
        key(span, "UTC", datetime(2026, 11, 21, tzinfo=UTC))


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/localtime", "Asia"])
def test_a_zone_that_is_none_is_refused(zone: str):
    with pytest.raises(BadUsage, match="is no time zone"):
        key("1d", zone, datetime(2026, 11, 21, tzinfo=UTC))


def test_other_jobs_and_params_mean_something_else_and_the_order_of_params_nothing():
    job = FunctionJob(function="main:run")
    assert meaning_of(job, {"a": 1, "b": 2}) == meaning_of(job, {"b": 2, "a": 1})
    others = [meaning_of(job, {}), meaning_of(None, {}), meaning_of(CommandJob(command=["main:run"]), {})]
    others += [meaning_of(ImageJob(image="main"), {}), meaning_of(ImageJob(image="main", arguments=["run"]), {})]
    assert len({meaning_of(job, {"a": 1}), *others}) == 6


@given(st.integers(0, 120 * 86400))
def test_a_span_is_written_as_it_is_read(seconds: int):
    span = timedelta(seconds=seconds)
    assert parse_duration(written(span)) == span


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.25, "0.25s"), (90, "1m30s"), (1200, "20m"), (4500, "1h15m"), (90000, "1d1h")]
)
def test_spans_read_well(seconds: float, text: str):
    assert written(timedelta(seconds=seconds)) == text


def test_a_meaning_is_sixteen_characters():
    assert len(meaning_of(None, {})) == 16


def test_a_day_may_be_written_as_24h():
    now = datetime(2026, 11, 21, 12, tzinfo=UTC)
    assert key("24h", "UTC", now) == key("1d", "UTC", now)


def test_a_window_is_checked_before_anything_is_done_and_the_complaint_lists_what_there_is():
    check_window("1d", "Asia/Seoul")
    check_window("6h", "UTC")
    with pytest.raises(BadUsage, match="write 1d, or one of 1h, 2h, 3h, 4h, 6h, 8h, 12h"):
        check_window("5h", "UTC")
    with pytest.raises(BadUsage, match="IANA"):
        check_window("1d", "Mars/Olympus")
