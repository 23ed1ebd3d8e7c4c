"""Time as the machine keeps it. A port: a simulation brings its own."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the dead-man goes by."""

    def uptime(self) -> float:
        """Seconds on the VM's boot clock: nobody can set it, and it goes on while the VM is suspended."""

    def now(self) -> datetime:
        """The wall clock, aware. Only for what people say in its terms."""

    async def sleep(self, seconds: float) -> None:
        """Return after that long."""


class MachineClock:
    """This machine's own."""

    def uptime(self) -> float:
        """CLOCK_BOOTTIME, which is also what /proc/uptime shows. Elsewhere than on Linux the wall clock has to do."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.time()

    def now(self) -> datetime:
        """Now, UTC."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)
