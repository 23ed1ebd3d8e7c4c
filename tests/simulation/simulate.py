"""One schedule from its beginning to the moment when nothing is left to happen."""

import asyncio
import gc
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.simulation.events import make_happen
from tests.simulation.loop import VirtualLoop
from tests.simulation.observer import Observer, Violation
from tests.simulation.platform import Execution, seed_the_jitter
from tests.simulation.schedule import Schedule
from tests.simulation.sweeper import Sweeper
from tests.simulation.trading import Floor
from tests.simulation.universe import Universe

HORIZON_SECONDS = 3 * 3600.0  # virtual: every bound is far inside
STEPS_MAX = 100_000  # a schedule has some hundred, with a crowd fifty thousand; more is a loop that never ends


@dataclass
class Played:
    """What became of one schedule."""

    schedule: Schedule
    universe: Universe
    executions: list[Execution]
    violations: list[Violation]
    excused: dict[str, int]  # by the names of observer.NOT_PROMISED
    swept: bool  # a sweep had to act
    idle_seconds: float  # billed in one go at most, with no run live

    def __str__(self) -> str:
        return "\n".join(f"{told.at:9.3f}  {told.text}" for told in self.universe.trace)


def play(schedule: Schedule) -> Played:
    """Simulate it, with the observer behind every step."""
    random = None if schedule.seed is None else Random(schedule.seed)
    seed_the_jitter(schedule.seed)
    loop = VirtualLoop(random)
    with tempfile.TemporaryDirectory(dir=_FAST, prefix="simulation-") as folder, _running(loop):
        universe = Universe(schedule, Path(folder), loop)
        executions = [Execution(universe, "first")]
        sweeper = Sweeper(universe)
        observer = Observer(universe, executions, sweeper)
        floor = Floor(universe, observer, executions, schedule.seed) if schedule.trade else None
        loop.after_each = observer.look
        loop.outside(0, executions[0].begin)
        make_happen(schedule, universe, executions, sweeper)
        sweeper.begin_periodically()
        _until_all_is_quiet(loop, observer)
        observer.judge_the_end()
        if floor is not None:
            floor.judge_the_end()
        swept = any(True for one in sweeper.sweeps for _ in one.put_right)
        idle = max((one.span.total_seconds() for one in observer.meter.stretches), default=0.0)
        return Played(schedule, universe, executions, observer.violations, dict(observer.excused), swept, idle)


def _until_all_is_quiet(loop: VirtualLoop, observer: Observer) -> None:
    """Everybody has gone, nothing is on or under way: from here on there are only sweeps of what is at rest."""
    while loop.next_at() <= loop.time() or not observer.all_over() or loop.next_at() <= observer.quiet_at():
        if loop.time() > HORIZON_SECONDS or loop.steps > STEPS_MAX:
            observer.note("L1", f"no end in sight after {loop.time():.0f} s and {loop.steps} steps")
            return
        loop.step()


@contextmanager
def _running(loop: VirtualLoop) -> Iterator[None]:
    """This loop as the thread's running one; what it leaves behind is buried without a word."""
    asyncio.events._set_running_loop(loop)
    gc.disable()  # a universe is garbage as a whole, once it is over; looking for some before costs a tenth
    try:
        yield
    finally:
        gc.enable()
        loop.bury()
        asyncio.events._set_running_loop(None)
        loop.close()


_FAST = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112 - a ledger's disk, gone in a moment
