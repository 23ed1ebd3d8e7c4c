"""An event loop on virtual time, with a seeded choice among the callbacks that are ready, and processes that can die.

Nothing waits: when no callback is ready, the clock jumps to the next timer. Threads, executors and sockets are refused.
A callback belongs to the process in whose context it was made: a killed process runs no line more, not even a
`finally`; a paused one runs late, as after SIGSTOP and SIGCONT.
"""

import asyncio
import heapq
import math
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar

T = TypeVar("T")

_CURRENT: ContextVar["Process | None"] = ContextVar("process", default=None)


_BURIALS = 3  # a coroutine may await in its `finally`, and has to be closed again


class Deadlock(Exception):
    """Somebody waits, and nothing will ever happen again."""


class Process:
    """What lives and dies as one. Everything spawned in it, or from it, belongs to it."""

    def __init__(self, loop: "VirtualLoop", name: str) -> None:
        self.name, self.loop = name, loop
        self.dead = False
        self.paused = False
        self._held: list[asyncio.Handle] = []

    def spawn(self, work: Coroutine[Any, Any, T], name: str = "") -> asyncio.Task[T]:
        """Begin this, as a task of this process."""
        context = copy_context()
        context.run(_CURRENT.set, self)
        return self.loop.create_task(work, name=f"{self.name}:{name}", context=context)

    def kill(self) -> None:
        """SIGKILL."""
        self.dead = True
        self._held.clear()

    def pause(self, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after so long."""
        self.paused = True
        self.loop.outside(self.loop.time() + seconds, self._resume)

    def hold(self, handle: asyncio.Handle) -> None:
        """Run this callback when the pause is over."""
        self._held.append(handle)

    def _resume(self) -> None:
        self.paused = False
        held, self._held = self._held, []
        self.loop.ready_again(held)


class VirtualLoop(asyncio.BaseEventLoop):
    """Run callbacks one at a time. `after_each` is called behind each of them."""

    def __init__(self, random: Random | None = None) -> None:
        """Without `random` callbacks take turns in the order in which they became ready."""
        super().__init__()
        self._now = 0.0
        self._clock_resolution = 1e-9
        self._random = random
        self._home = threading.get_ident()
        self._born: list[asyncio.Task[Any]] = []  # kept: a task that is forgotten would run its `finally` blocks
        self.steps = 0
        self.after_each: Callable[[], None] = lambda: None
        self.crash: BaseException | None = None  # what the callback of nobody raised: the simulation itself is broken
        self.set_exception_handler(self._remember)

    def time(self) -> float:
        """Seconds since the loop was made; they pass only when nothing is ready."""
        return self._now

    def outside(self, when: float, callback: Callable[..., object], *args: object) -> asyncio.TimerHandle:
        """Call back at that time, in nobody's process: what the world does by itself."""
        return self.call_at(max(when, self._now), callback, *args, context=Context())

    def create_task(self, *args: Any, **named: Any) -> asyncio.Task[Any]:
        """As asyncio does, and remember it until the burial."""
        task = super().create_task(*args, **named)
        self._born.append(task)
        return task

    def ready_again(self, handles: list[asyncio.Handle]) -> None:
        """Put callbacks back that were held."""
        self._ready.extend(handles)

    def step(self) -> None:
        """Run the next callback, at its time."""
        self._run_once()

    def next_at(self) -> float:
        """When the next callback runs."""
        if not self._ready:
            self._collect_due()
        return self._now if self._ready else self._scheduled[0].when() if self._scheduled else math.inf

    def bury(self) -> None:
        """Close what will never run again, in silence: `finally` blocks find the world gone."""
        self.after_each = lambda: None
        for _ in range(_BURIALS):
            self._ready.clear()
            self._scheduled.clear()
            for task in [one for one in self._born if not one.done()]:
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                with suppress(BaseException):
                    task.get_coro().close()  # type: ignore[union-attr]
        self._ready.clear()
        self._scheduled.clear()
        self._born.clear()

    def _run_once(self) -> None:
        if not self._ready or (self._scheduled and self._scheduled[0].when() <= self._now):
            self._collect_due()
        if not self._ready:
            if not self._scheduled:
                raise Deadlock(f"after {self.steps} steps, at {self._now:.3f} s, nothing will ever happen again")
            self._now = max(self._now, self._scheduled[0].when())
            self._collect_due()
        handle = self._pick()
        if handle.cancelled():
            return
        owner = handle._context.get(_CURRENT)
        if owner is not None and owner.dead:
            return
        if owner is not None and owner.paused:
            owner.hold(handle)
            return
        self.steps += 1
        handle._run()
        self.after_each()
        if self.crash is not None:
            crash, self.crash = self.crash, None
            raise crash

    def _collect_due(self) -> None:
        while self._scheduled and (self._scheduled[0].cancelled() or self._scheduled[0].when() <= self._now):
            handle = heapq.heappop(self._scheduled)
            handle._scheduled = False
            if not handle.cancelled():
                self._ready.append(handle)

    def _pick(self) -> asyncio.Handle:
        if self._random is not None and len(self._ready) > 1:
            self._ready.rotate(-self._random.randrange(len(self._ready)))
        return self._ready.popleft()

    def _remember(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is not None and context.get("future") is None:
            self.crash = error

    # --- what a simulation must not do ---------------------------------------------------------------------------

    def run_in_executor(self, *_: object, **__: object) -> Any:
        """Refuse: a thread has no virtual time."""
        raise RuntimeError("a thread was asked for in the simulation")

    def call_soon_threadsafe(self, callback: Any, *args: Any, context: Context | None = None) -> asyncio.Handle:
        """Let asyncio itself call it; another thread may not."""
        if threading.get_ident() != self._home:
            raise RuntimeError("another thread called into the simulation")
        return self.call_soon(callback, *args, context=context)

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector."""

    def _process_events(self, event_list: object) -> None:
        """There are no sockets."""


def current() -> Process | None:
    """The process whose code is running."""
    return _CURRENT.get()
