"""The real clock: the only place that reads the time or sleeps."""

import asyncio
import time
from datetime import UTC, datetime, timedelta


class SystemClock:
    """Time as the machine below us tells it (port `Clock`)."""

    def now(self) -> datetime:
        """The wall clock, UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    async def sleep(self, span: timedelta) -> None:
        """Let that much time pass; none at all still lets others have their turn."""
        await asyncio.sleep(max(0.0, span.total_seconds()))
