"""An event loop on virtual time: nobody waits, whatever is ready runs in an order that a seed decides.

Everything that runs belongs to a `Process`: an orchestrator's attempt, the inside of a VM, or the world itself. A
process can be killed, and not one line of it runs any more (no `finally`, as with SIGKILL), or stopped and continued.
"""

import asyncio
import contextlib
import contextvars
import heapq
import traceback
from asyncio import events
from collections.abc import Callable, Coroutine
from itertools import count
from random import Random
from typing import Any, NoReturn

STEPS_MAX = 400_000  # of one schedule: beyond that something runs in a circle


class Deadlock(AssertionError):
    """Somebody waits for something that nothing will ever bring about, or turns without end."""


class NotSimulated(AssertionError):
    """Code under simulation reached for a thread, a socket or a signal: time would be real there."""


class Process:
    """What dies together. Tasks belong to the process that made them, and so do the callbacks they leave."""

    def __init__(self, name: str, loop: "VirtualLoop") -> None:
        self.name = name
        self.alive = True
        self.held: list[events.Handle] | None = None  # what would have run while it is stopped
        self.at_death: list[Callable[[], None]] = []  # what others notice of it: its connections break
        self._loop = loop
        self._context = contextvars.copy_context()
        self._context.run(CURRENT.set, self)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run it as part of this process; on one that is dead nothing runs."""
        task = self._loop.create_task(work, context=self._context)
        task.add_done_callback(self._loop.noticed, context=contextvars.Context())
        return task

    def kill(self) -> None:
        """SIGKILL: nothing of it runs any more."""
        self.alive, self.held = False, None
        mourners, self.at_death = self.at_death, []
        for notice in mourners:
            notice()

    def stop(self) -> None:
        """SIGSTOP: it does not run until `go_on`; time passes all the same."""
        if self.held is None and self.alive:
            self.held = []

    def go_on(self) -> None:
        """SIGCONT."""
        held, self.held = self.held or [], None
        for handle in held:
            self._loop.ready(handle)


CURRENT: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


def current() -> Process:
    """The process whose code this is."""
    process = CURRENT.get()
    assert process is not None, "only processes of the simulation run on its loop"
    return process


class VirtualLoop(asyncio.BaseEventLoop):
    """With a `random` the next of the ready callbacks is drawn from all of them; without, the first comes first."""

    def __init__(self, random: Random | None, after_each: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.tasks: list[
            asyncio.Task[Any]
        ] = []  # kept, so that what was killed is not collected, and its `finally` run
        self.failures: list[str] = []
        self.steps = 0
        self._random, self._after_each = random, after_each
        self._now = 0.0
        self._runnable: list[events.Handle] = []
        self._timers: list[tuple[float, int, events.TimerHandle]] = []
        self._order = count()
        self.set_exception_handler(self._failed)

    # --- what asyncio asks of a loop -------------------------------------------------------------------------------

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Any, *args: Any, context: Any = None) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        self._runnable.append(handle)
        return handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> events.TimerHandle:
        timer = events.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (max(when, self._now), next(self._order), timer))
        return timer

    def call_later(self, delay: float, callback: Any, *args: Any, context: Any = None) -> events.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        task: asyncio.Task[Any] = super().create_task(coro, **options)
        self.tasks.append(task)
        return task

    def _timer_handle_cancelled(self, _: events.TimerHandle) -> None:
        """A cancelled timer is dropped when its time comes."""

    def call_soon_threadsafe(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        raise NotSimulated("a thread calls back into the loop")

    def run_in_executor(self, *_: Any) -> NoReturn:  # type: ignore[override]
        raise NotSimulated("a thread is wanted")

    def create_connection(self, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        raise NotSimulated("a socket is wanted")

    create_server = getaddrinfo = subprocess_exec = subprocess_shell = add_signal_handler = create_connection  # type: ignore[assignment]

    # --- the run ---------------------------------------------------------------------------------------------------

    def ready(self, handle: events.Handle) -> None:
        """Let this run when its turn comes."""
        self._runnable.append(handle)

    def _run_once(self) -> None:
        while not self._runnable:
            self._advance()
        self.steps += 1
        if self.steps > STEPS_MAX:
            raise Deadlock(f"{STEPS_MAX} steps, and no end; it is {self._now:.0f} s")
        self._run(self._runnable.pop(self._next()))

    def _next(self) -> int:
        ready = len(self._runnable)
        return self._random.randrange(ready) if self._random and ready > 1 else 0

    def _run(self, handle: events.Handle) -> None:
        owner: Process | None = handle._context.get(CURRENT)  # type: ignore[attr-defined]
        if handle.cancelled() or (owner and not owner.alive):
            return
        if owner and owner.held is not None:
            owner.held.append(handle)
            return
        handle._run()
        self._after_each()

    def _advance(self) -> None:
        """To the next timer, and to those of the same moment."""
        while self._timers and self._timers[0][2].cancelled():
            heapq.heappop(self._timers)
        if not self._timers:
            raise Deadlock("nothing is ready and no timer is set")
        self._now = max(self._now, self._timers[0][0])
        while self._timers and self._timers[0][0] <= self._now:
            self._runnable.append(heapq.heappop(self._timers)[2])

    def noticed(self, task: asyncio.Task[Any]) -> None:
        """A process must not end by a bug that nobody sees."""
        if not task.cancelled() and (problem := task.exception()) is not None:
            self.failures.append("".join(traceback.format_exception(problem)))

    def _asyncgen_finalizer_hook(self, _: Any) -> None:
        """What a killed process left half read is not read to its end."""

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.failures.append(f"{context.get('message')}: {context.get('exception')!r}")

    def discard(self) -> None:
        """The schedule is over: let go of what still waits, whatever its `finally` tries."""
        self.set_exception_handler(lambda *_: None)
        for task in self.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coroutine = task.get_coro()
            if not task.done() and coroutine is not None:
                with contextlib.suppress(BaseException):
                    coroutine.close()  # type: ignore[union-attr]
        self._runnable.clear()
        self._timers.clear()
        self.tasks.clear()
        self.close()
