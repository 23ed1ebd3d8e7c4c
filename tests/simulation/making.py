"""VMs that are made for one run: instances.insert and delete, and the lease in an object, over the model's own wire."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from math import ceil
from typing import Any

from gcp_emulator.seed import DEMO_BUCKET, DEMO_TEMPLATE
from gcp_emulator.wire import Reply, Request
from orchestrator.errors import AlreadyExists, BadResource, NotFound
from orchestrator.google_errors import Subject
from orchestrator.google_rest import Answered, Asked
from orchestrator.google_settling import Again
from orchestrator.google_state import GoogleState
from orchestrator.patience import patiently, uninterrupted
from orchestrator.policy import Policy
from orchestrator.ports import Clock
from orchestrator.seen import OUR_LABEL, RUN_LABEL, STATE_ATTRIBUTE, Address, Machine, run_label
from tests.simulation.cloud_door import CloudDoor, SimulatedMachines
from vm_agent.protocol import LEASE_ATTRIBUTE

STATE_URL = f"gs://{DEMO_BUCKET}"
NETWORK = "projects/demo/global/networks/default"


class SimulatedRest:
    """What GoogleState asks of GoogleRest, with its retries: one request each, over the simulated wire."""

    def __init__(self, door: CloudDoor, policy: Policy, clock: Clock) -> None:
        self._door, self._policy, self._clock = door, policy, clock

    async def send(self, asked: Asked, subject: Subject) -> Answered:
        """The answer. NotFound, Conflict."""
        method = "GET" if asked.content is None else "POST"
        request = Request(method, asked.url, dict(asked.query), {}, asked.content or b"")

        async def once() -> Answered:
            answer = self._answer(request, asked, subject)
            return await (answer if asked.content is None else uninterrupted(answer))

        return await patiently(once, self._policy.cloud_calls, self._clock)

    async def _answer(self, request: Request, asked: Asked, subject: Subject) -> Answered:
        missing_is_fine = HTTPStatus.NOT_FOUND if asked.missing_is_fine else None
        reply: Reply = await self._door.answer(request, subject, fine=missing_is_fine)
        headers = {name.lower(): value for name, value in reply.headers.items()}
        return Answered(reply.body, headers, missing=reply.status == HTTPStatus.NOT_FOUND)


class SimulatedCreation(SimulatedMachines):
    """The ports Machines and Creation."""

    def __init__(self, door: CloudDoor, clock: Clock, state: GoogleState, scheduling: Mapping[str, Any]) -> None:
        super().__init__(door, clock)
        self._state, self._scheduling = state, scheduling

    async def look(self, name: str) -> Machine:
        """The VM or its absence, with the lease of its object."""
        stored, machine = await asyncio.gather(self._state.read(), self._look_at_vm(name))
        return replace(machine, lease=stored.lease, lease_generation=stored.generation)

    async def create(
        self, machine: Machine, address: Address | None, limit: timedelta, again: Again | None = None
    ) -> None:
        """instances.insert."""
        lease = machine.lease
        assert lease is not None
        items = {LEASE_ATTRIBUTE: lease.to_json(), STATE_ATTRIBUTE: self._state.url}
        scheduling = {"maxRunDuration": {"seconds": str(ceil(limit.total_seconds()))}, "automaticRestart": False}
        body: dict[str, Any] = {
            "name": machine.name,
            "labels": {**dict([OUR_LABEL]), RUN_LABEL: run_label(lease.key)},
            "metadata": {"items": [{"key": key, "value": value} for key, value in items.items()]},
            "scheduling": {**self._scheduling, **scheduling, "instanceTerminationAction": "DELETE"},
        }
        if address is not None:
            config = {"name": "External NAT", "type": "ONE_TO_ONE_NAT", "natIP": address.ip}
            body["networkInterfaces"] = [{"network": NETWORK, "accessConfigs": [config]}]
        template = f"projects/{self._door.place.project}/global/instanceTemplates/{DEMO_TEMPLATE}"
        path, subject = f"{self._door.zone}/instances", self._door.place.vm(machine.name, "create")
        try:
            await self._door.change(path, subject, body, again, sourceInstanceTemplate=template)
        except AlreadyExists as exists:
            if not (await super().look(machine.name)).made_for(lease.key):
                raise BadResource(
                    f"There is a VM {machine.name} already, and it was not made for this run."
                ) from exists

    async def delete(self, machine: Machine, again: Again | None = None) -> None:
        """instances.delete."""
        with suppress(NotFound):
            subject = self._door.place.vm(machine.name, "delete")
            await self._door.stop(self._path(machine.name), subject, again, method="DELETE")

    async def _look_at_vm(self, name: str) -> Machine:
        try:
            return await super().look(name)
        except NotFound:
            return Machine.absent(name, self._clock.now().replace(microsecond=0))


def state_of(door: CloudDoor, policy: Policy, clock: Clock, instance: str) -> GoogleState:
    """The lease of that VM: production's own reading and swapping of it."""
    place = f"{door.place.project}/{door.place.zone}/{instance}"
    rest: Any = SimulatedRest(door, policy, clock)
    return GoogleState(rest, clock, STATE_URL, place, endpoint="/")
