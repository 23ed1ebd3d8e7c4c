"""The network between the parts, and all that goes wrong on it: every request of an orchestrator passes here."""

import asyncio
import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from tests.simulation.faults import AT_ANY_TIME, Kind, Schedule
from tests.simulation.loop import Process, VirtualLoop, current

T = TypeVar("T")

WORLD = contextvars.Context()  # what belongs to no process, and so is never killed with one

PAUSE_SECONDS = 300.0  # longer than the lease's life and that of any request together
RESET_SECONDS = 0.5  # until a broken connection is noticed


class Reset(Exception):
    """The connection broke."""


class TimedOut(Exception):
    """No answer came while the caller waited."""


@dataclass(frozen=True)
class Fate:
    """What is in store for one request."""

    number: int
    kinds: tuple[Kind, ...] = ()

    def has(self, kind: Kind) -> bool:
        return kind in self.kinds


class Network:
    """Carries requests, and lets the schedule's faults happen to them."""

    def __init__(self, loop: VirtualLoop, schedule: Schedule, tell: Callable[[str, str], None]) -> None:
        self.loop = loop
        self.schedule = schedule
        self.requests = 0
        self.sendings: list[str] = []  # what each request was, by number
        self.mishap: Callable[[Kind, Process], None] = lambda _kind, _process: None
        self._random = Random(f"network {schedule.seed}") if schedule.seed is not None else None
        self._tell = tell

    def latency(self) -> float:
        """One way, in seconds."""
        return 0.02 if self._random is None else self._random.choice((0.005, 0.02, 0.1, 1.5))

    async def depart(self, what: str) -> Fate:
        """The moment before a request is sent: whatever the schedule has for it. May not return."""
        process = current()
        number, self.requests = self.requests, self.requests + 1
        self.sendings.append(what)
        fate = Fate(number, self.schedule.faults.get(number, ()))
        for kind in fate.kinds:
            self._tell("fault", f"{kind} at request {number}: {what}")
        for kind in fate.kinds:
            if kind in AT_ANY_TIME or kind in {Kind.SIGTERM, Kind.PAUSE, Kind.CRASH_BEFORE}:
                self.mishap(kind, process)
        if fate.has(Kind.PAUSE) or fate.has(Kind.CRASH_BEFORE):
            await asyncio.sleep(0)  # does not come back before the process does, if ever
        return fate

    async def heard_of(self, fate: Fate) -> None:
        """The sender knows what became of its request: the moment after."""
        if fate.has(Kind.CRASH_AFTER):
            self.mishap(Kind.CRASH_AFTER, current())
            await asyncio.sleep(0)  # does not come back

    async def carry(self, fate: Fate, patience_seconds: float, arrive: Callable[["asyncio.Future[T]"], None]) -> T:
        """Send; the request arrives whether its sender waits or not. Raises Reset or TimedOut."""
        process = current()
        answered: asyncio.Future[T] = self.loop.create_future()
        heard: asyncio.Future[T] = self.loop.create_future()
        if not fate.has(Kind.LOST):
            late = fate.has(Kind.LATE)
            self.loop.call_later(patience_seconds * 0.95 if late else self.latency(), arrive, answered, context=WORLD)
            answered.add_done_callback(lambda _: self._send_back(fate, process, answered, heard), context=WORLD)
        try:
            async with asyncio.timeout(patience_seconds):
                return await heard
        except TimeoutError:
            await self.heard_of(fate)
            raise TimedOut(f"no answer within {patience_seconds:.1f} s") from None

    def _send_back(
        self, fate: Fate, process: Process, answered: "asyncio.Future[T]", heard: "asyncio.Future[T]"
    ) -> None:
        if answered.cancelled():
            return
        if fate.has(Kind.REPLY_LOST):
            self.loop.call_later(RESET_SECONDS, _fail, heard, Reset("connection reset by peer"), context=WORLD)
        elif not fate.has(Kind.LATE):
            self.loop.call_later(self.latency(), self._deliver, fate, process, answered, heard, context=WORLD)
        else:
            answered.exception()  # nobody will hear it

    def _deliver(self, fate: Fate, process: Process, answered: "asyncio.Future[T]", heard: "asyncio.Future[T]") -> None:
        if fate.has(Kind.CRASH_AFTER):
            self.mishap(Kind.CRASH_AFTER, process)
        if (problem := answered.exception()) is not None:
            _fail(heard, problem)
        elif not heard.done():
            heard.set_result(answered.result())


def _fail(heard: "asyncio.Future[T]", problem: BaseException) -> None:
    if not heard.done():
        heard.set_exception(problem)
