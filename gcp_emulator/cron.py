"""When a schedule is due: five fields, read in a time zone.

Over a change of the clocks it is as in Debian's cron, which is our assumption of Cloud Scheduler: what falls into the
hour that is left out happens right after it, what has a fixed hour happens once in the hour that comes twice.
"""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

FIELDS = 5


class BadScheduleError(ValueError):
    """The schedule or the time zone is none."""


def next_tick(schedule: str, time_zone: str, after: datetime) -> datetime:
    """When it is due next, later than `after`, in UTC. Raises BadScheduleError, also if it never is."""
    try:
        zone = ZoneInfo(time_zone)
    except (ZoneInfoNotFoundError, ValueError) as wrong:
        raise BadScheduleError(f"time_zone: {time_zone!r} is not in the tz database") from wrong
    if len(schedule.split()) != FIELDS:
        raise BadScheduleError(f"schedule: {schedule!r} does not have five fields (the emulator knows no other form)")
    try:
        return next(CronSim(schedule.upper(), after.astimezone(zone))).astimezone(UTC)
    except CronSimError as wrong:
        raise BadScheduleError(f"schedule: {schedule!r}: {wrong}") from wrong
    except StopIteration as never:
        raise BadScheduleError(f"schedule: {schedule!r} is never due") from never
