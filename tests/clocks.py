"""A clock for tests that would otherwise wait."""

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
