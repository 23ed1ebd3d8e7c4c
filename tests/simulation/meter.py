"""C1: the seconds in which our VM was billed and no accepted run was live, and how many of them are promised at most.

Billed is what Google bills: from the moment that PROVISIONING is left until TERMINATED. A run is live while its job
works.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from gcp_emulator.instances import TERMINATED
from tests.simulation.platform import POLICY
from tests.simulation.schedule import DISTURBANCES, Happening, Schedule
from tests.simulation.universe import Universe
from vm_agent.policy import DEADMAN_SILENCE_SECONDS

NOT_BILLED = {TERMINATED, "PROVISIONING"}
SHUTDOWN = timedelta(seconds=120)  # with the boot before it, where there was one
GOOGLE_IS_LATE = timedelta(seconds=150)  # with a stop by maxRunDuration, its shutdown included


@dataclass
class Idle:
    """One stretch of time: billed and idle without a break."""

    since: datetime
    until: datetime
    run_deadline: datetime | None = None  # the last that the lease named in it

    @property
    def span(self) -> timedelta:
        """How long."""
        return self.until - self.since

    @property
    def left(self) -> timedelta:
        """Until the run's deadline, when it began: for all that a sweep can see, a silent agent works so long."""
        return max(timedelta(), self.run_deadline - self.since) if self.run_deadline else timedelta()


class Meter:
    """Watches one universe."""

    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self._guest = universe.guest()
        self._on_since: datetime | None = None
        self._now: Idle | None = None
        self.stretches: list[Idle] = []

    @property
    def idle(self) -> timedelta:
        """All of it together."""
        return sum((one.span for one in self.stretches), timedelta())

    @property
    def on(self) -> timedelta:
        """For how long the VM is on by now."""
        return timedelta() if self._on_since is None else self._universe.now - self._on_since

    def look(self) -> None:
        """Behind every step."""
        billed = self._universe.status() not in NOT_BILLED
        if billed != (self._on_since is not None):
            self._on_since = self._universe.now if billed else None
        if (billed and not self._guest.jobs) != (self._now is not None):
            self._turn()

    def saw_deadline(self, run_deadline: datetime) -> None:
        """The lease names it."""
        if self._now is not None:
            self._now.run_deadline = run_deadline

    def _turn(self) -> None:
        now = self._universe.now
        if self._now is None:
            self._now = Idle(now, now)
            self.stretches.append(self._now)
        else:
            self._now.until = now
            self._now = None


def most_idle(schedule: Schedule, stretch: Idle) -> timedelta | None:
    """What is promised of one stretch, by how many faults there are; None: no more than of any time on."""
    happened = [event.happening for event in schedule.events if event.happening in DISTURBANCES]
    match len(schedule.faults) + len(happened):
        case 0:
            return SHUTDOWN
        case 1 if Happening.AGENT_GONE in happened:
            return max(POLICY.boot, POLICY.lost_agent) + SHUTDOWN  # the orchestrator waits for it
        case 1:
            return timedelta(seconds=DEADMAN_SILENCE_SECONDS) + SHUTDOWN
        case 2:
            return max(POLICY.lease_ttl + POLICY.request, stretch.left) + POLICY.sweep_period + SHUTDOWN
    return None
