"""Cancel the live run: whoever holds its lease is brought to come down, and is seen to.

Cloud Run executions are cancelled there: Cloud Run sends a SIGTERM, on which the holder stops the VM, and does not
begin it again; those that only wait for the run are cancelled before its holder, or they would begin it anew. Any other
holder is out of our reach; its run is cancelled at the agent, in the name of the lease that it holds, and the holder
comes down as from any run that has ended. So is a run that its holder left at work: killed, or with its lease run out.
Nothing here stops the VM: only who holds the lease may.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mayfly.deploy.config import Config
from mayfly.ending_executions import EndingExecutions
from mayfly.executions import deployed_executions
from mayfly.google import google_of
from mayfly.vm_at_hand import VmAtHand, vm_at_hand
from orchestrator.abandoned import live_run
from orchestrator.errors import AgentFault, Busy, CleanupOwed
from orchestrator.lease import Lease, Phase, Remembered
from orchestrator.policy import seconds
from orchestrator.seen import Machine
from vm_agent.protocol import Greeting

_LOOK = seconds(1)  # between two
_LETTING_GO = seconds(30)  # a holder that was killed after its stop never gives the lease back


@dataclass(frozen=True)
class Cancelled:
    """What became of it. `key` is None where there was nothing to cancel."""

    key: str | None
    how: str  # "execution", "agent", "" where nothing was asked of anybody
    machine: Machine
    ended: Remembered | None  # how the run is remembered, if it is
    said: str  # in a sentence


async def cancel(config: Config, key: str | None, tell: Callable[[str], None]) -> Cancelled:
    """Cancel the run that holds the lease, or that of `key` (or of the execution of that name), and see it come down.

    Busy: another run is live, or without a `key` none is yet. CleanupOwed: it was not seen to come down in time.
    """
    async with vm_at_hand(config.settings) as vm, google_of(config.settings) as google:
        errand = _Errand(vm, EndingExecutions(deployed_executions(google, config), tell), key, tell)
        try:
            async with asyncio.timeout(vm.policy.climb.total_seconds()):
                return await errand.carry_out()
        except TimeoutError as late:
            raise CleanupOwed(
                f"{errand.what} was not seen to come down within {vm.policy.climb}. Look again: mayfly status"
            ) from late


class _Errand:
    def __init__(
        self, vm: VmAtHand, executions: EndingExecutions, key: str | None, tell: Callable[[str], None]
    ) -> None:
        self._vm, self._executions, self._key, self._tell = vm, executions, key, tell
        self._lease = Lease(epoch=0)  # the run's own, once it is found
        self._at_agent = False  # it was cancelled there
        self._waiting = False
        self._off_since: datetime | None = None

    @property
    def what(self) -> str:
        return f"Run {self._lease.key or self._key}"

    @property
    def _how(self) -> str:
        return "execution" if self._executions.told else "agent" if self._at_agent else ""

    async def carry_out(self) -> Cancelled:
        machine = await self._vm.machine()
        if (lease := self._meant(machine)) is not None:
            return await self._bring_down(lease)
        return await self._cancel_waiting(machine)

    def _meant(self, machine: Machine) -> Lease | None:
        lease = machine.lease
        taken = lease is not None and lease.phase is not Phase.FREE
        return lease if lease is not None and taken and self._key in {None, lease.key, lease.execution} else None

    async def _cancel_waiting(self, machine: Machine) -> Cancelled:
        """The run has no lease: executions may be on their way to it, or in line behind another run."""
        live = await self._executions.live()
        if self._key is None:
            if live:
                raise Busy(_on_their_way(machine, [one.name for one in live]))
            return self._nothing_live(machine)
        names = [one.name for one in live if one.is_for(self._key)]
        lease = machine.lease
        if not names:
            if lease is not None and lease.held(machine.seen_at):
                raise Busy(f"{machine.name} is leased to {lease.holder} for run {lease.key}; nothing was touched.")
            return self._nothing_live(machine)
        await self._executions.end(names)
        while True:
            over = await self._executions.over()
            machine = await self._vm.machine()
            if over:
                break
            await asyncio.sleep(_LOOK.total_seconds())
        if (lease := self._meant(machine)) is not None:
            return await self._bring_down(lease)  # it got so far meanwhile
        said = f"{', '.join(names)} ended, and run {self._key} holds nothing: {machine.name} is {machine.status}."
        return Cancelled(self._key, self._how, machine, _remembered(machine, self._key), said)

    async def _bring_down(self, lease: Lease) -> Cancelled:
        self._lease = lease
        await self._executions.end_run(lease)
        while True:
            over = await self._executions.over()  # before the look: what it shows then is not about to change
            machine = await self._vm.machine()
            current = machine.lease
            if current is None or current.key != self._lease.key:
                if over:
                    return self._come_down(machine, "its lease was given back")
            elif current.nonce != self._lease.nonce:
                self._lease, self._at_agent = current, False  # a later attempt has taken over
                await self._executions.end_run(current)
            elif over and self._how and machine.off and self._let_go(machine):
                return self._come_down(machine, "whoever cleans up next gives its lease back")
            elif not current.held(machine.seen_at):
                if over:
                    return await self._left_behind(machine)
            elif current.phase is not Phase.STOPPING and not self._at_agent and self._is_for_the_agent():
                await self._cancel_at_agent(machine)
            await asyncio.sleep(_LOOK.total_seconds())

    def _is_for_the_agent(self) -> bool:
        """Its holder cannot be told, or has been, and is dead without having come down."""
        return not self._executions.coming_down(self._lease.execution)

    async def _cancel_at_agent(self, machine: Machine) -> None:
        """As soon as the agent has the run; before that there is nothing that we could take hold of."""
        try:
            agent = await self._vm.agent(machine)
            greeting = await agent.greet(None) if agent else None
            run = greeting.run if greeting else None
            if agent is not None and run is not None and run.key == self._lease.key:
                await agent.cancel(run, self._lease.epoch)
                self._at_agent = True
                then = "is gone without coming down" if self._executions.told else "comes down"
                self._tell(f"Run {run.key} was cancelled at its agent. {self._lease.holder} {then}.")
                return
        except (AgentFault, Busy) as error:
            self._wait(str(error))
            return
        self._wait("its agent does not have the run yet")

    async def _left_behind(self, machine: Machine) -> Cancelled:
        """Nobody holds it any more: if its run is at work all the same, it is ended, and the VM left to a sweep."""
        gone = f"{self._lease.holder} is gone, and {machine.name} may still be on: `mayfly sweep` stops it."
        greeting, _ = await self._vm.greeting(machine)
        judged = live_run(machine, greeting, self._vm.policy) if machine.running else None
        if judged is not None:
            if not await self._end_left_behind(machine, greeting):
                raise CleanupOwed(f"{self._lease.holder} is gone. {judged.why} It could not be cancelled: look again.")
            raise CleanupOwed(f"Run {self._lease.key} was cancelled at its agent. {gone}")
        if not self._how:
            return self._nothing_live(machine)
        if machine.off:
            return self._come_down(machine, "whoever cleans up next gives its lease back")
        raise CleanupOwed(gone)

    async def _end_left_behind(self, machine: Machine, greeting: Greeting | None) -> bool:
        """Whether it has ended; not if its agent does not answer, or has another run."""
        run = greeting.run if greeting and greeting.instance_id == machine.id else None
        if run is None or run.key != self._lease.key:
            return False
        try:
            agent = await self._vm.agent(machine)
            if agent is None:
                return False
            run = await agent.cancel(run, self._lease.epoch)
            while not run.state.finished:
                run = await agent.follow(run)
        except (AgentFault, Busy) as error:
            self._tell(str(error))
            return False
        return True

    def _wait(self, why: str) -> None:
        if not self._waiting:
            self._tell(f"{self._lease.holder} is on its way ({why}): the run is cancelled once its agent has it.")
        self._waiting = True

    def _let_go(self, machine: Machine) -> bool:
        self._off_since = self._off_since or machine.seen_at
        return machine.seen_at - self._off_since >= _LETTING_GO

    def _come_down(self, machine: Machine, why: str) -> Cancelled:
        lease = machine.lease
        ended = lease.recall(self._lease.key, self._lease.mode) if lease else None
        outcome = f", and is remembered as {ended.outcome}" if ended else ""
        now = "off" if machine.off else machine.status
        said = f"Run {self._lease.key} is over{outcome}; {machine.name} is {now}, and {why}."
        return Cancelled(self._lease.key, self._how, machine, ended, said)

    def _nothing_live(self, machine: Machine) -> Cancelled:
        lease, known = machine.lease, _remembered(machine, self._key)
        if known is not None:
            said = f"Run {known.key} ended at {known.ended_at:%Y-%m-%d %H:%M:%S} UTC: {known.outcome}."
        else:
            said = f"No run is live on {machine.name}."
        if lease is not None and lease.phase is not Phase.FREE:
            said += f" {lease.holder} left its lease behind: `mayfly sweep` puts that right."
        elif not machine.off:
            said += f" It is {machine.status}, though, without a lease: see `mayfly doctor`."
        if self._executions.unseen:
            said += f" Whether one is about to begin in Cloud Run could not be seen: {self._executions.unseen}"
        return Cancelled(None, self._how, machine, known, said)


def _remembered(machine: Machine, key: str | None) -> Remembered | None:
    outcomes = machine.lease.outcomes if machine.lease else ()
    return next((one for one in reversed(outcomes) if one.key == key), None)


def _on_their_way(machine: Machine, names: list[str]) -> str:
    return (
        f"No run holds {machine.name}, but {', '.join(names)} in Cloud Run may be about to begin one; nothing was "
        f"touched. To end it: mayfly cancel {names[0]}"
    )
