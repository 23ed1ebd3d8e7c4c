"""What will happen by itself, and when; and how Google's services write times."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from heapq import heappop, heappush
from itertools import count

# Compute Engine answers in Pacific time, with milliseconds. A client that drops the offset must not go unnoticed.
PACIFIC = timezone(timedelta(hours=-8))


def timestamp(moment: datetime) -> str:
    """Write a time as Compute Engine does."""
    return moment.astimezone(PACIFIC).isoformat(timespec="milliseconds")


def zulu(moment: datetime) -> str:
    """Write a time as the services do that came after Compute Engine: in UTC, with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


class Agenda:
    """Happenings in order of time; those of one moment in the order they were put down."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, Callable[[], None]]] = []
        self._order = count()

    def put(self, when: datetime, happening: Callable[[], None]) -> None:
        """Let this happen at that time. It looks itself whether it still should."""
        heappush(self._heap, (when, next(self._order), happening))

    def next(self) -> datetime | None:
        """When something happens next."""
        return self._heap[0][0] if self._heap else None

    def pop_due(self, now: datetime) -> tuple[datetime, Callable[[], None]] | None:
        """Take the earliest happening that is due, with its time."""
        if not self._heap or self._heap[0][0] > now:
            return None
        when, _, happening = heappop(self._heap)
        return when, happening
