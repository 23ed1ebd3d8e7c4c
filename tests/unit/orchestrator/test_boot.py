"""Who answers at the address while the VM boots, and for how long a stranger is borne with."""

from typing import Any

import pytest

from orchestrator.errors import AgentUnproven, Stranger
from orchestrator.ports import Agent
from orchestrator.run import Outcome
from orchestrator.seen import Machine
from tests.unit.orchestrator.stage import Orchestrator, Stage, staged
from vm_agent.protocol import Greeting

PATIENCE = 45


class Shadowed:
    """An agent at whose address nobody is trusted for `unproven` seconds, then somebody else for `strange` seconds."""

    def __init__(self, stage: Stage, agent: Agent, unproven: float, strange: float, epochs_ago: int) -> None:
        self._stage, self._agent = stage, agent
        self._unproven, self._strange, self._epochs_ago = unproven, strange, epochs_ago
        self._since: float | None = None

    async def greet(self, epoch: int | None) -> Greeting | None:
        assert epoch is not None
        now = self._stage.universe.loop.time()
        self._since = now if self._since is None else self._since
        if now < self._since + self._unproven:
            raise AgentUnproven("Nothing is published.")
        if now < self._since + self._unproven + self._strange:
            raise Stranger("Somebody else answers.", epoch=epoch - self._epochs_ago)
        return await self._agent.greet(epoch)

    def __getattr__(self, verb: str) -> Any:
        return getattr(self._agent, verb)


def shadowed(stage: Stage, *, unproven: float = 0, strange: float = 0, epochs_ago: int = 0) -> Orchestrator:
    """An orchestrator for whom it is so."""
    actor = stage.orchestrator()
    find, known = actor.world.agent, dict[str, Shadowed]()

    def agent(machine: Machine, ip: str) -> Shadowed:
        if ip not in known:
            known[ip] = Shadowed(stage, find(machine, ip), unproven, strange, epochs_ago)
        return known[ip]

    actor.world.agent = agent  # type: ignore[method-assign, assignment]
    return actor


@staged
async def test_a_stranger_beside_our_published_agent_is_refused_soon(stage: Stage) -> None:
    receipt = await stage.drive(by=shadowed(stage, unproven=100, strange=9999))
    assert (receipt.outcome, receipt.exit_code, receipt.cleanup) == (Outcome.AGENT_FAULT, 4, "confirmed")
    assert "Somebody else answers. It has been so for 45s. Check which VM holds the address." in receipt.detail
    [boot] = [phase.seconds for phase in receipt.phases if phase.name == "boot"]
    assert 100 + PATIENCE <= boot < 100 + PATIENCE + 10


@pytest.mark.parametrize(
    "shadow",
    [
        {"strange": PATIENCE - 5},
        {"unproven": 200, "strange": PATIENCE - 5},
        {"strange": 300, "epochs_ago": 1},
    ],
    ids=["forwarding takes a while", "after long doubts", "the publication of an earlier boot"],
)
@staged
async def test_a_stranger_is_borne_with_while_it_may_pass(stage: Stage, shadow: dict[str, Any]) -> None:
    assert (await stage.drive(by=shadowed(stage, **shadow))).exit_code == 0
