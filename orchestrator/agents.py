"""The agents that one process speaks to: one client for each VM and address, and Google's keys to know them by."""

from orchestrator.agent_client import AgentClient
from orchestrator.agent_proof import Proof
from orchestrator.google_keys import KeysOfGoogle
from orchestrator.policy import Policy
from orchestrator.ports import Clock, Credential, Machines
from orchestrator.seen import Machine
from orchestrator.settings import AgentTls, Settings


class Agents:
    """All of one project's."""

    def __init__(self, settings: Settings, policy: Policy, clock: Clock) -> None:
        self._settings, self._policy, self._clock = settings, policy, clock
        self._keys = KeysOfGoogle(settings.mayfly_certs_url, policy, clock)
        self._clients: dict[tuple[str, str], AgentClient] = {}

    def client(self, credential: Credential, zone: str, machines: Machines, machine: Machine, ip: str) -> AgentClient:
        """The client of the agent on `machine`, a VM of that zone; it is called at `ip`."""
        if (machine.id, ip) not in self._clients:
            self._clients[machine.id, ip] = self._new(credential, zone, machines, machine, ip)
        return self._clients[machine.id, ip]

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()
        await self._keys.aclose()

    def _new(self, credential: Credential, zone: str, machines: Machines, machine: Machine, ip: str) -> AgentClient:
        where = f"{ip}:{self._settings.agent_port}"
        if self._settings.agent_tls is AgentTls.OFF:
            return AgentClient(f"http://{where}", credential, self._policy, self._clock)
        self._keys.prepare()
        project = self._settings.project_id
        proof = Proof(machine, machines, self._keys, self._policy, self._clock, project=project, zone=zone)
        return AgentClient(f"https://{where}", credential, self._policy, self._clock, proof=proof)
