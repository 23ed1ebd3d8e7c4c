"""One VM as a run would meet it, for who only looks: the machine with its lease, its address, its agent's word."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestrator.agent_client import AgentClient
from orchestrator.agents import Agents
from orchestrator.clock import SystemClock
from orchestrator.credentials import Credentials, open_credentials
from orchestrator.errors import MayflyError, NotFound
from orchestrator.google_compute import GoogleCompute
from orchestrator.policy import Policy
from orchestrator.run import Reach
from orchestrator.seen import Address, Machine
from orchestrator.settings import Settings
from orchestrator.wiring import open_compute, policy_of
from vm_agent.protocol import Greeting


class VmAtHand:
    """The VM that the settings name. What we show its agent is found out once it is needed."""

    def __init__(self, settings: Settings, policy: Policy, google: GoogleCompute) -> None:
        self.settings, self.policy, self.clock = settings, policy, SystemClock()
        self._google = google
        self._agents = Agents(settings, policy, self.clock)
        self._credentials: Credentials | None = None

    async def machine(self) -> Machine:
        """The VM as it is now; with TEMPLATE it may be absent. NotFound."""
        return await self._google.machines.look(self.settings.instance)

    async def address(self) -> Address | None:
        """The reserved address, if the settings name one and it is there."""
        if not self.settings.static_name:
            return None
        try:
            return await self._google.addresses.find(self.settings.static_name)
        except NotFound:
            return None

    async def agent(self, machine: Machine) -> AgentClient | None:
        """Its agent, where it can be called; None if the VM is not on, or has no address to call."""
        config = machine.access_config
        ip = machine.internal_ip if self.settings.agent_reach is Reach.INTERNAL else config.ip if config else None
        if not machine.running or not ip:
            return None
        if self._credentials is None:
            self._credentials = await open_credentials(self.settings, self.policy, self.clock)
        credential = self._credentials(self.settings.zone, self.settings.instance)
        return self._agents.client(credential, self.settings.zone, self._google.machines, machine, ip)

    async def greeting(self, machine: Machine) -> tuple[Greeting | None, str]:
        """What its agent says, and why it says nothing. No epoch goes with the question: nobody is fenced off."""
        try:
            agent = await self.agent(machine)
            greeting = await agent.greet(None) if agent else None
        except MayflyError as error:
            return None, str(error)
        return greeting, "" if greeting or not machine.running else "Its agent does not answer."

    async def aclose(self) -> None:
        """Close the connections."""
        await self._agents.aclose()
        self._google.close()


@asynccontextmanager
async def vm_at_hand(settings: Settings, policy: Policy | None = None) -> AsyncIterator[VmAtHand]:
    """The VM of the settings; nothing is asked yet. BadUsage: Google does not know who we are."""
    policy = policy or policy_of(settings)
    google = await asyncio.to_thread(open_compute, settings, policy, SystemClock())
    vm = VmAtHand(settings, policy, google)
    try:
        yield vm
    finally:
        await vm.aclose()
