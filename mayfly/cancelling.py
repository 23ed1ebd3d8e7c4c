"""Cancel the live run: whoever holds its lease is brought to come down, and is seen to.

A Cloud Run execution is cancelled there: Cloud Run sends it a SIGTERM, on which it stops the VM, and does not begin it
again. Any other holder is out of our reach; its run is cancelled at the agent, in the name of the lease that it holds,
and the holder comes down as from any run that has ended. So is the run of an execution that ended without coming down:
killed, it left the job at work. Nothing here stops the VM: only who holds the lease may.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from mayfly.deploy.config import Config
from mayfly.executions import Executions, job_of
from mayfly.google import google_of
from mayfly.vm_at_hand import VmAtHand, vm_at_hand
from orchestrator.errors import AgentFault, BadResource, Busy, CleanupOwed
from orchestrator.lease import Lease, Phase, Remembered
from orchestrator.policy import seconds
from orchestrator.seen import Machine

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
    """Cancel the run that holds the lease, and see it come down.

    Busy: it is another than that of `key`. CleanupOwed: it was not seen to come down in time.
    """
    async with vm_at_hand(config.settings) as vm:
        machine = await vm.machine()
        lease = machine.lease
        if lease is None or not lease.held(machine.seen_at):
            return _nothing_live(machine, key)
        if key not in {None, lease.key}:
            raise Busy(f"{machine.name} is leased to {lease.holder} for run {lease.key}; nothing was touched.")
        try:
            async with asyncio.timeout(vm.policy.climb.total_seconds()):
                return await _Errand(config, vm, lease, tell).carry_out(machine)
        except TimeoutError as late:
            raise CleanupOwed(
                f"Run {lease.key} was not seen to come down within {vm.policy.climb}. Look again: mayfly status"
            ) from late


def _nothing_live(machine: Machine, key: str | None) -> Cancelled:
    lease = machine.lease
    known = next((one for one in reversed(lease.outcomes) if one.key == key), None) if lease else None
    if known is not None:
        said = f"Run {known.key} ended at {known.ended_at:%Y-%m-%d %H:%M:%S} UTC: {known.outcome}."
    else:
        said = f"No run is live on {machine.name}."
    if lease is not None and lease.phase is not Phase.FREE:
        said += f" {lease.holder} left its lease behind: `mayfly sweep` puts that right."
    elif not machine.off:
        said += f" It is {machine.status}, though, without a lease: see `mayfly doctor`."
    return Cancelled(None, "", machine, known, said)


class _Errand:
    def __init__(self, config: Config, vm: VmAtHand, lease: Lease, tell: Callable[[str], None]) -> None:
        self._config = config
        self._vm, self._lease, self._tell = vm, lease, tell
        self._how = ""
        self._at_agent = False  # it was cancelled there
        self._waiting = False
        self._off_since: datetime | None = None

    async def carry_out(self, machine: Machine) -> Cancelled:
        if self._lease.execution:
            await self._cancel_execution()
        while True:
            lease = machine.lease
            if lease is None or (lease.nonce != self._lease.nonce and lease.key != self._lease.key):
                return self._come_down(machine, "its lease was given back")
            if lease.nonce != self._lease.nonce:
                self._lease, self._how, self._at_agent = lease, "", False  # a later attempt has taken over
            if self._how and machine.off and self._let_go(machine):
                return self._come_down(machine, "whoever cleans up next gives its lease back")
            if not lease.held(machine.seen_at):
                raise CleanupOwed(
                    f"{lease.holder} is gone, and {machine.name} may still be on: `mayfly sweep` stops it."
                )
            if lease.phase is not Phase.STOPPING and await self._is_for_the_agent():
                await self._cancel_at_agent(machine)
            await asyncio.sleep(_LOOK.total_seconds())
            machine = await self._vm.machine()

    async def _cancel_execution(self) -> None:
        name, config = self._lease.execution, self._config
        async with google_of(config.settings) as google:
            try:
                await Executions(google, config.project, config.job_region, job_of(name)).cancel(name)
            except BadResource as over:
                self._tell(f"The Cloud Run execution {name} cannot be cancelled (any more): {over}")
            else:
                self._tell(f"Run {self._lease.key}: the Cloud Run execution {name} was told to end. It comes down.")
        self._how = "execution"

    async def _is_for_the_agent(self) -> bool:
        """Its holder cannot be told, or has been, and is dead without having come down."""
        if self._at_agent or self._how != "execution":
            return not self._at_agent
        name, config = self._lease.execution, self._config
        async with google_of(config.settings) as google:
            execution = await Executions(google, config.project, config.job_region, job_of(name)).look(name)
        return execution.ended is not None

    async def _cancel_at_agent(self, machine: Machine) -> None:
        """As soon as the agent has the run; before that there is nothing that we could take hold of."""
        try:
            agent = await self._vm.agent(machine)
            greeting = await agent.greet(None) if agent else None
            run = greeting.run if greeting else None
            if agent is not None and run is not None and run.key == self._lease.key:
                await agent.cancel(run, self._lease.epoch)
                self._how, self._at_agent = self._how or "agent", True
                then = "is gone without coming down" if self._lease.execution else "comes down"
                self._tell(f"Run {run.key} was cancelled at its agent. {self._lease.holder} {then}.")
                return
        except (AgentFault, Busy) as error:
            self._wait(str(error))
            return
        self._wait("its agent does not have the run yet")

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
