"""One trip up and down the ladder: what this process has done so far, for the user's eyes and for the receipt.

The decisions do not depend on it, except that nothing needs to come down that was never touched.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from orchestrator.errors import MayflyError
from orchestrator.events import PhaseEnded, PhaseStarted
from orchestrator.lease_keeper import LeaseKeeper
from orchestrator.ports import World
from orchestrator.run import CopiedFile, PhaseTime, Run, Verdict
from orchestrator.seen import Address, Machine, Seen
from vm_agent.protocol import RunView


class Trip:
    """The orders, the world, and what was seen and done."""

    def __init__(self, run: Run, world: World) -> None:
        self.run = run
        self.world = world
        self.keeper = LeaseKeeper(run, world)
        self.started_at: datetime = world.clock.now()
        self.touched = False  # something was asked to change: from here on there is a way down
        self.invoked = False  # the agent was asked: from here on the run may be live, whatever we hear
        self.conflicts = 0
        self.in_flight: asyncio.Task[Verdict] | None = (
            None  # the way up, abandoned before its last request was answered
        )
        self.machine: Machine | None = None  # as last seen
        self.address: Address | None = None
        self.view: RunView | None = None  # the run, as the agent last showed it
        self.log_offset = 0  # bytes of the job's output that were shown
        self.copied: list[CopiedFile] = []
        self.phases: list[PhaseTime] = []

    def saw(self, seen: Seen) -> None:
        """Remember the last look."""
        self.machine, self.address, self.view = seen.machine, seen.address, seen.run or self.view

    @contextmanager
    def phase(self, name: str, sentence: str) -> Iterator[None]:
        """Time one phase and tell about it. A phase that goes on after a look is one phase, not two."""
        goes_on = bool(self.phases) and self.phases[-1].name == name
        started = self.phases.pop().started if goes_on else self.world.clock.now()
        if not goes_on:
            self.world.tell(PhaseStarted(name, started, sentence))
        error: str | None = None
        try:
            yield
        except MayflyError as failure:
            error = str(failure)
            raise
        except asyncio.CancelledError:
            error = "called off"
            raise
        finally:
            ended = self.world.clock.now()
            seconds = (ended - started) / timedelta(seconds=1)
            self.phases.append(PhaseTime(name, started, round(seconds, 3)))
            self.world.tell(PhaseEnded(name, ended, seconds, error))
