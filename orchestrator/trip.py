"""One trip up and down the ladder: what this process has done so far, for the user's eyes and for the receipt.

The decisions do not depend on it, except that nothing needs to come down that was never touched.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator.errors import MayflyError
from orchestrator.events import Event, PhaseEnded, PhaseStarted
from orchestrator.ladder import lease_is_ours, ours_to_stop
from orchestrator.lease import Lease
from orchestrator.lease_keeper import LeaseKeeper
from orchestrator.ports import World
from orchestrator.run import CopiedFile, PhaseTime, Run, Verdict
from orchestrator.seen import Address, Machine, Seen
from vm_agent.protocol import RunView


class Trip:
    """The orders, the world, and what was seen and done."""

    def __init__(self, run: Run, world: World, called_off: asyncio.Event) -> None:
        self.run = run
        self.world = world
        self.called_off = called_off
        self.keeper = LeaseKeeper(run, world, self.tell)
        self.started_at: datetime = world.clock.now()
        self.touched = False  # something was asked to change: from here on there is a way down
        self.held = False  # a look has shown the lease as ours
        self.began = world.clock.monotonic()
        self.since: datetime | None = None  # the first look, by Google's clock
        self.waits_for = ""  # what we were told last about a lease that is not free yet
        self.invoked = False  # the agent was asked: from here on the run may be live, whatever we hear
        self.unread = False  # whom we took over from had asked it, and what became of that we have not read yet
        self.conflicts = 0
        self.in_flight: asyncio.Task[Verdict] | None = None  # the way up, left before its last request had settled
        self.start_unsettled = False  # we sent a START, and do not know that it has landed, or never will
        self.lands_by = 0.0  # when it has landed, or never will: seconds on the monotonic clock
        self.attempts_before = 0  # of this run, as remembered when we claimed
        self.before_start: Machine | None = None  # as it was when we sent it
        self.in_the_way = ""  # what the last try to come down failed with
        self.left_on = False  # by the last look the VM is on, or may come on, and is ours to stop
        self.machine: Machine | None = None  # as last seen
        self.there: Machine | None = None  # as last seen while there was one: some are made, and deleted
        self.gone_at: datetime | None = None  # since when it was seen gone
        self.address: Address | None = None
        self.ip: str | None = None  # of the address, also when it was released since
        self.view: RunView | None = None  # the run, as the agent last showed it
        self.log_offset = 0  # bytes of the job's output that were shown
        self.copied: list[CopiedFile] = []
        self.not_copied: list[str] = []  # what of the output stayed on the VM, and why
        self.phases: list[PhaseTime] = []

    def saw(self, seen: Seen) -> Seen:
        """Remember the last look."""
        self.machine, self.address, self.view = seen.machine, seen.address, seen.run or self.view
        self.since = self.since or seen.machine.seen_at
        self.ip = seen.address.ip if seen.address is not None and seen.address.reserved else self.ip
        self.held = self.held or lease_is_ours(seen, self.run)
        if self.before_start is not None and self.before_start.gone and seen.machine.made_for(self.run.key):
            self.start_unsettled = False  # there it is: what was asked for has landed
        if not seen.machine.gone:
            self.there, self.gone_at = seen.machine, None
        elif self.gone_at is None:
            self.gone_at = seen.machine.seen_at
        if ours_to_stop(seen, self.run):
            self.left_on = True
        elif seen.machine.down(ephemeral=self.run.ephemeral) and not seen.start_unsettled:
            self.left_on = False
        return seen

    @property
    def may_have_begun(self) -> bool:
        """The agent may have accepted the run, as far as we know."""
        return self.invoked or self.unread or self.view is not None

    @property
    def attempt(self) -> int:
        """Which attempt at the run this is."""
        return self.view.attempt if self.view else self.attempts_before + 1

    def takes_over(self, lease: Lease) -> None:
        """From somebody who may have asked for this very run, and whose attempts count."""
        known = lease.recall(self.run.key, self.run.mode)
        self.unread, self.attempts_before = lease.asked, known.attempts if known else 0

    def settle_key(self, lease: Lease | None) -> None:
        """A window is worked out once: what an earlier attempt of this execution's task went by, holds for us too."""
        run = self.run
        stored = lease.window_of(run.execution, run.task) if lease and run.windowed and run.execution else None
        self.run = replace(run, key=stored or run.key)

    def tell(self, event: Event) -> None:
        """Whoever listens may fail; that is no reason to leave a VM on."""
        with suppress(Exception):
            self.world.tell(event)

    @contextmanager
    def phase(self, name: str, sentence: str) -> Iterator[None]:
        """Time one phase and tell about it. A phase that goes on after a look is one phase, not two."""
        goes_on = bool(self.phases) and self.phases[-1].name == name
        started = self.phases.pop().started if goes_on else self.world.clock.now()
        if not goes_on:
            self.tell(PhaseStarted(name, started, sentence))
        error: str | None = None
        try:
            yield
        except Exception as failure:
            error = str(failure) if isinstance(failure, MayflyError) else repr(failure)
            raise
        except asyncio.CancelledError:
            error = "called off"
            raise
        finally:
            ended = self.world.clock.now()
            seconds = (ended - started) / timedelta(seconds=1)
            self.phases.append(PhaseTime(name, started, round(seconds, 3)))
            self.tell(PhaseEnded(name, ended, seconds, error))
