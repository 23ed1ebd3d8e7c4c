"""The dead-man: a VM to which nobody speaks, and on which nothing runs, powers itself off; so does one whose run
outlives its deadline. A run inside its deadline is never cut off.

A word is a call with credentials (its arrival, every part of its body that came and of its answer that was taken), or a
change of the lease in the VM's metadata. Metadata that cannot be read say nothing. All is timed on the boot clock.
`ending` decides; `Deadman` keeps the facts and acts. Should the agent be gone or hang, the watch that startup.sh left
behind does the same from the agent's pulse (pulse.py).
"""

import hashlib
import logging
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from vm_agent import policy
from vm_agent.clock import Clock
from vm_agent.hold import hold_seconds
from vm_agent.protocol import HOLD_ATTRIBUTE, LEASE_ATTRIBUTE
from vm_agent.pulse import Pulse

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Facts:
    """What the decision stands on. Moments are seconds on the boot clock."""

    heard: float  # the last word
    listening_since: float  # who could not hear cannot tell silence
    run_until: float | None = None  # a run is in progress, and this is its deadline with all graces; inf: it has none
    held_until: float = 0.0  # a person is at work until then


@dataclass(frozen=True)
class Ending:
    """When the VM is to be powered off unless something happens before, and why."""

    at: float
    why: str


def ending(facts: Facts, silence_seconds: float) -> Ending:
    """What these facts come to. Powered off is at `at`, not before."""
    if facts.run_until is not None:
        at, why = facts.run_until, "the run did not end at its deadline"
    else:
        at, why = facts.heard + silence_seconds, f"no word for {silence_seconds:g} s, and no run in progress"
    listened = facts.listening_since + min(policy.DEADMAN_LISTEN_SECONDS, silence_seconds)
    return Ending(max(at, facts.held_until, listened), why)


class Pulses(Protocol):
    """Where the pulse is kept through the agent's own end."""

    def read(self) -> Pulse | None:
        """The last one of this boot, if any."""

    def write(self, pulse: Pulse) -> None:
        """Keep this one. Never raises."""


class Notices(Protocol):
    """Where people at work on the VM look."""

    def say(self, text: str | None) -> None:
        """Show this, or nothing more. Never raises."""


class Deadman:
    """The facts as they come in, and the hand on the power button."""

    def __init__(
        self,
        clock: Clock,
        pulses: Pulses,
        notices: Notices,
        *,
        silence_seconds: float = policy.DEADMAN_SILENCE_SECONDS,
        run_grace_seconds: float = policy.DEADMAN_RUN_GRACE_SECONDS,
    ) -> None:
        self._clock, self._pulses, self._notices = clock, pulses, notices
        self._silence_seconds, self._run_grace_seconds = silence_seconds, run_grace_seconds
        now = clock.uptime()
        self._facts = Facts(heard=now, listening_since=now)
        self._armed = False
        self._keeper = 0
        self._lease = self._hold = ""  # digests of those seen last

    def arm(self) -> None:
        """Begin. Silence began when the agent before this one heard the last word: to start again is none."""
        self._armed = True
        if before := self._pulses.read():
            heard = min(before.heard, self._facts.heard)
            self._facts = replace(self._facts, heard=heard, held_until=before.held)
            self._lease, self._hold = before.lease, before.hold
        self._beat()

    async def watch(self, power_off: Callable[[], Awaitable[None]]) -> None:
        """Wait for the moment, then power off, again each minute: that is final, whoever speaks meanwhile."""
        while (left := self.ending.at - self._clock.uptime()) > 0:
            await self._pause(min(max(left, policy.DEADMAN_LOOK_SECONDS_MIN), policy.DEADMAN_LOOK_SECONDS))
            self._beat()
        why = self.ending.why
        while True:
            log.critical("dead-man: %s: powering off", why)
            try:
                await power_off()
            except Exception:  # whatever it is, it must not be the last try
                log.exception("dead-man: the power button failed")
            await self._clock.sleep(policy.POWEROFF_REPEAT_SECONDS)

    # What comes in

    def word(self) -> None:
        """Somebody with credentials spoke, went on speaking, or took a part of an answer."""
        self._facts = replace(self._facts, heard=self._clock.uptime())

    def saw(self, attributes: Mapping[str, str]) -> None:
        """The VM's metadata as they are now."""
        lease, hold = attributes.get(LEASE_ATTRIBUTE, ""), attributes.get(HOLD_ATTRIBUTE, "")
        if self._lease and _digest(lease) != self._lease:
            self.word()
        if _digest(hold) != self._hold:
            self._take(hold)
        self._lease, self._hold = _digest(lease), _digest(hold)
        self._beat()

    def began(self, timeout_seconds: float | None, keeper: int = 0) -> None:
        """A run is in progress from here on, and may take so long. On record before its job does anything."""
        seconds = math.inf if timeout_seconds is None else timeout_seconds + self._run_grace_seconds
        self._facts = replace(self._facts, run_until=self._clock.uptime() + seconds)
        self._keeper = keeper
        self._beat()

    def ended(self) -> None:
        """It is over."""
        self._facts = replace(self._facts, run_until=None)
        self._keeper = 0
        self._beat()

    @property
    def ending(self) -> Ending:
        """When the VM will be powered off, as things stand."""
        return ending(self._facts, self._silence_seconds)

    @property
    def minds_a_run(self) -> bool:
        """Whether a run is in progress and inside its deadline."""
        return self._facts.run_until is not None and self._clock.uptime() < self._facts.run_until

    # What follows

    def _take(self, hold: str) -> None:
        """What a new mayfly-hold says; the same words, read again, hold no longer than they did."""
        seconds = hold_seconds(hold, self._clock.now())
        self._facts = replace(self._facts, held_until=self._clock.uptime() + seconds if seconds else 0.0)
        if seconds:
            log.warning("mayfly-hold=%s: somebody is at work here, the dead-man waits for %.0f s", hold, seconds)
        said = f"mayfly-hold={hold} is set: this VM does not power itself off before (24 h at most)."
        self._notices.say(said if seconds else None)

    def _beat(self) -> None:
        """Silence counts from the last word alone: an agent that crashes again and again does not put it off."""
        if self._armed:
            off = max(self._facts.heard + self._silence_seconds, self._facts.held_until)
            run = self._facts.run_until or 0.0
            pulse = Pulse(off, self._facts.heard, run, self._keeper, self._lease, self._facts.held_until, self._hold)
            self._pulses.write(pulse)

    async def _pause(self, seconds: float) -> None:
        """Sleep. Who then wakes far too late stood still (a frozen process, a paused VM) and has to listen first."""
        due = self._clock.uptime() + seconds
        await self._clock.sleep(seconds)
        if (late := (now := self._clock.uptime()) - due) > policy.DEADMAN_LISTEN_SECONDS:
            log.warning("the agent stood still for %.0f s", late)
            self._facts = replace(self._facts, listening_since=now)


def _digest(words: str) -> str:
    return hashlib.sha256(words.encode()).hexdigest()[:16]
