"""Clocks for tests that would otherwise wait."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta


class JumpingClock:
    """Sleeping jumps ahead at once; the pauses are remembered."""

    def __init__(self) -> None:
        self.pauses: list[float] = []

    def now(self) -> datetime:
        return datetime(2026, 11, 21, 12, tzinfo=UTC) + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        return sum(self.pauses)

    async def sleep(self, span: timedelta) -> None:
        self.pauses.append(span.total_seconds())


class BootClock:
    """Sleeping jumps ahead; what shall happen meanwhile happens at its moment."""

    def __init__(self) -> None:
        self.seconds = 5000.0
        self.later: list[tuple[float, Callable[[], object]]] = []

    def uptime(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    async def sleep(self, seconds: float) -> None:
        until = self.seconds + seconds
        for moment, happens in sorted(self.later, key=lambda one: one[0]):
            if moment <= until:
                self.seconds = max(self.seconds, moment)
                self.later.remove((moment, happens))
                happens()
        self.seconds = max(self.seconds, until)

    def after(self, seconds: float, happens: Callable[[], object]) -> None:
        self.later.append((self.seconds + seconds, happens))
