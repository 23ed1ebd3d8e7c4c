"""The in-process door to the emulator's model: it tells the model the virtual time, and carries its effects out."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from gcp_emulator.cloud import Cloud
from gcp_emulator.wire import Effect, GuestEvent, Held, Reply, Request
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import WORLD

BEGAN = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)


class CloudDoor:
    """Everything that is said to the model goes through here."""

    def __init__(self, cloud: Cloud, loop: VirtualLoop, carry_out: Callable[[Effect], None]) -> None:
        self.cloud = cloud
        self._loop = loop
        self._carry_out = carry_out
        self._alarm: asyncio.TimerHandle | None = None
        self._seen_changes = cloud.changes
        self._waiting: list[Callable[[], None]] = []

    def now(self) -> datetime:
        """By Google's clock."""
        return BEGAN + timedelta(seconds=self._loop.time())

    def ask(self, request: Request, first_asked: datetime | None = None) -> Reply | Held:
        """One question to the APIs, answered with Google's time in it."""
        answer = self.cloud.answer(request, self.now(), first_asked)
        self.settle()
        return answer if isinstance(answer, Held) else self.dated(answer)

    def metadata(self, instance: str, request: Request, first_asked: datetime | None = None) -> Reply | Held:
        """One question of a guest to its metadata server."""
        answer = self.cloud.metadata(instance, request, self.now(), first_asked)
        self.settle()
        return answer

    def guest_says(self, instance: str, event: GuestEvent) -> None:
        """Pass on what a guest did."""
        self.cloud.guest_says(instance, event, self.now())
        self.settle()

    def dated(self, reply: Reply) -> Reply:
        return Reply(reply.status, reply.body, {**reply.headers, "date": format_datetime(self.now(), usegmt=True)})

    def when_changed(self, until: datetime, again: Callable[[], None]) -> None:
        """Call `again` once something has changed, or at that time; never twice."""
        called = False

        def once() -> None:
            nonlocal called
            if not called:
                called = True
                again()

        self._waiting.append(once)
        self._loop.call_at((until - BEGAN).total_seconds(), once, context=WORLD)

    def settle(self) -> None:
        """Let everything happen that is due, carry its effects out, wake who waits, and set the alarm for the next."""
        for effect in self.cloud.advance(self.now()):
            self._carry_out(effect)
        if self.cloud.changes != self._seen_changes:
            self._seen_changes = self.cloud.changes
            waiting, self._waiting = self._waiting, []
            for again in waiting:
                self._loop.call_soon(again, context=WORLD)
        if self._alarm:
            self._alarm.cancel()
        if (due := self.cloud.due()) is not None:
            self._alarm = self._loop.call_at((due - BEGAN).total_seconds(), self.settle, context=WORLD)


def post(path: str, body: bytes = b"", **query: Any) -> Request:
    """A request of somebody who is no part of Mayfly."""
    return Request("POST", path, query, {"content-type": "application/json"}, body)
