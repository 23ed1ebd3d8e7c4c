"""Runs the pure model against the real clock: when something is due, it happens; long polls wait for changes."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from gcp_emulator.cloud import Cloud
from gcp_emulator.errors import ApiError
from gcp_emulator.wire import Effect, GuestEvent, Held, Lost, Reply, TaskEvent

LEAVING = ApiError(503, "backendError", "The emulator is leaving.").reply()
Question = Callable[[datetime, datetime | None], Reply | Held | Lost]


class WallClock:
    """The only place that tells the model what time it is. All of it runs on one event loop, so nothing is locked."""

    def __init__(self, cloud: Cloud, carry_out: Callable[[Effect], None], began: datetime) -> None:
        self._cloud = cloud
        self._carry_out = carry_out
        self._began = began
        self._began_monotonic = time.monotonic()
        self._waiting: set[asyncio.Future[None]] = set()
        self._seen_changes = cloud.changes
        self._alarm: asyncio.TimerHandle | None = None
        self._stopped = False

    def now(self) -> datetime:
        """A time that never goes backwards, whatever is done to the machine's clock."""
        return self._began + timedelta(seconds=time.monotonic() - self._began_monotonic)

    async def ask(self, question: Question) -> Reply | Lost:
        """Ask the model, and ask it again, for as long as it holds the request."""
        first_asked = self.now()
        reply = question(first_asked, None)
        while True:
            changes = self._cloud.changes
            self.settle()
            if not isinstance(reply, Held):
                return reply
            if self._cloud.changes == changes and not self._stopped:
                await self._change_or(reply.until)
            if self._stopped:
                return LEAVING
            reply = question(self.now(), first_asked)

    def guest_says(self, instance: str, event: GuestEvent) -> None:
        """Pass on what a guest did."""
        if not self._stopped:
            self._cloud.guest_says(instance, event, self.now())
            self.settle()

    def task_says(self, task: str, event: TaskEvent) -> None:
        """Pass on what a task did."""
        if not self._stopped:
            self._cloud.task_says(task, event, self.now())
            self.settle()

    def settle(self) -> None:
        """Let everything happen that is due, carry its effects out, wake who waits, and set the alarm for the next."""
        for effect in self._cloud.advance(self.now()):
            self._carry_out(effect)
        if self._cloud.changes != self._seen_changes:
            self._seen_changes = self._cloud.changes
            self._wake()
        self._set_alarm()

    def stop(self) -> None:
        """Nothing happens by itself any more, guests are not heard, and who waits is told so."""
        self._stopped = True
        self._set_alarm()
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)

    def _set_alarm(self) -> None:
        if self._alarm:
            self._alarm.cancel()
        if not self._stopped and (due := self._cloud.due()):
            seconds = max(0.0, (due - self.now()).total_seconds())
            self._alarm = asyncio.get_running_loop().call_later(seconds, self.settle)

    async def _change_or(self, until: datetime) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiter)
        try:
            async with asyncio.timeout(max(0.0, (until - self.now()).total_seconds())):
                await waiter
        except TimeoutError:
            pass
        finally:
            self._waiting.discard(waiter)


def begin() -> datetime:
    """The time at which an emulated world begins."""
    return datetime.now(UTC)
