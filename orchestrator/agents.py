"""The agents that one process speaks to: one client for each VM and address, and Google's keys to know them by."""

from typing import TYPE_CHECKING

from orchestrator.policy import Policy
from orchestrator.ports import Clock, Credential, Machines
from orchestrator.seen import Machine
from orchestrator.settings import AgentTls, Settings

if TYPE_CHECKING:
    from orchestrator.agent_client import AgentClient
    from orchestrator.google_keys import KeysOfGoogle


class Agents:
    """All of one project's. What speaks to them is loaded when there is one: a VM is asked for before that."""

    def __init__(self, settings: Settings, policy: Policy, clock: Clock) -> None:
        self._settings, self._policy, self._clock = settings, policy, clock
        self._keys: KeysOfGoogle | None = None
        self._clients: dict[tuple[str, str], AgentClient] = {}

    def client(self, credential: Credential, zone: str, machines: Machines, machine: Machine, ip: str) -> "AgentClient":
        """The client of the agent on `machine`, a VM of that zone; it is called at `ip`."""
        if (machine.id, ip) not in self._clients:
            self._clients[machine.id, ip] = self._new(credential, zone, machines, machine, ip)
        return self._clients[machine.id, ip]

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()
        if self._keys is not None:
            await self._keys.aclose()

    def _new(self, credential: Credential, zone: str, machines: Machines, machine: Machine, ip: str) -> "AgentClient":
        from orchestrator.agent_client import AgentClient  # noqa: PLC0415 - see the class
        from orchestrator.agent_proof import Proof  # noqa: PLC0415

        where = f"{ip}:{self._settings.agent_port}"
        if self._settings.agent_tls is AgentTls.OFF:
            return AgentClient(f"http://{where}", credential, self._policy, self._clock)
        keys = self._keys_of_google()
        keys.prepare()
        project = self._settings.project_id
        proof = Proof(machine, machines, keys, self._policy, self._clock, project=project, zone=zone)
        return AgentClient(f"https://{where}", credential, self._policy, self._clock, proof=proof)

    def _keys_of_google(self) -> "KeysOfGoogle":
        from orchestrator.google_keys import KeysOfGoogle  # noqa: PLC0415 - see the class

        self._keys = self._keys or KeysOfGoogle(self._settings.mayfly_certs_url, self._policy, self._clock)
        return self._keys
