"""Wakes everybody who waits for something to change."""

import asyncio


class Bell:
    """Look, find nothing new, `await rung()`, look again: no change between the look and the wait is lost."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    async def rung(self) -> None:
        """Return at the next ring."""
        await self._next.wait()

    def ring(self) -> None:
        """Wake all who wait now."""
        self._next.set()
        self._next = asyncio.Event()
