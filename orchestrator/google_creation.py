"""VMs that are made from an instance template for one run, and deleted after it (ports `Machines` and `Creation`)."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

from orchestrator.errors import AlreadyExists, BadResource, NotFound
from orchestrator.google_calls import GoogleCalls
from orchestrator.google_errors import Subject
from orchestrator.google_library import compute
from orchestrator.google_machines import GoogleMachines
from orchestrator.google_rest import Asked, GoogleRest
from orchestrator.google_settling import Again
from orchestrator.google_sightings import armed
from orchestrator.google_state import GoogleState
from orchestrator.seen import OUR_LABEL, RUN_LABEL, STATE_ATTRIBUTE, Address, Machine, run_label
from vm_agent.protocol import LEASE_ATTRIBUTE

COMPUTE = "https://compute.googleapis.com"


class CreatedMachines(GoogleMachines):
    """VMs whose lease is kept elsewhere. One that is not there is a sight like any other, and no error."""

    def __init__(
        self, calls: GoogleCalls, rest: GoogleRest, state: GoogleState, template: str, endpoint: str | None = None
    ) -> None:
        super().__init__(calls)
        self._rest, self._state = rest, state
        self._endpoint = (endpoint or COMPUTE).rstrip("/")
        self._template = _template_path(template, calls.place.project)

    async def look(self, name: str) -> Machine:
        """The VM, or its absence, with the lease of STATE_URL. The VM's own copy is as old as the VM."""
        stored, machine = await asyncio.gather(self._state.read(), self._look_at_vm(name))
        return replace(machine, lease=stored.lease, lease_generation=stored.generation, seen_at=stored.seen_at)

    async def create(
        self, machine: Machine, address: Address | None, limit: timedelta, again: Again | None = None
    ) -> None:
        """Insert it: armed, labelled, with the address and a copy of the lease, in one request."""
        body = await self._body(machine, address, limit)

        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.InsertInstanceRequest(
                instance_resource=body,
                source_instance_template=f"{COMPUTE}/compute/v1/{self._template}",
                request_id=request_id,
                **self._here,
            )
            return self._calls.clients.instances.insert_unary(request, retry=None, timeout=timeout)

        try:
            await self._calls.change(send, self._calls.place.vm(machine.name, "create"), again)
        except AlreadyExists as exists:
            await self._fine_if_ours(machine, exists)

    async def delete(self, machine: Machine, again: Again | None = None) -> None:
        """Delete it, by a client and a thread that serve nothing else."""

        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.DeleteInstanceRequest(instance=machine.name, request_id=request_id, **self._here)
            return self._calls.clients.stopping.delete_unary(request, retry=None, timeout=timeout)

        with suppress(NotFound):
            await self._calls.stop(send, self._calls.place.vm(machine.name, "delete"), again)

    async def _look_at_vm(self, name: str) -> Machine:
        try:
            return await super().look(name)
        except NotFound:
            return Machine.absent(name, self._calls.clock.now())

    async def _fine_if_ours(self, machine: Machine, exists: AlreadyExists) -> None:
        """An earlier request of this run may have made it; the label says for which run it is."""
        try:
            there = await super().look(machine.name)
        except NotFound:
            raise exists from None  # then it is something else of that name: a disk that outlived its VM
        if there.made_for(_key_of(machine)):
            return
        raise BadResource(
            f"There is a VM {machine.name} already, and it was not made for run {_key_of(machine)}. It was left "
            "alone: delete it, or name another one in INSTANCE."
        ) from exists

    async def _body(self, machine: Machine, address: Address | None, limit: timedelta) -> compute.Instance:
        """What differs from the template, each part whole: a list of ours replaces the template's list."""
        lease = machine.lease
        assert lease is not None  # noqa: S101 - no VM without a lease
        properties = await self._properties()
        metadata = {item.key: item.value for item in properties.metadata.items}
        metadata |= {LEASE_ATTRIBUTE: lease.to_json(), STATE_ATTRIBUTE: self._state.url}
        return compute.Instance(
            name=machine.name,
            labels={**properties.labels, **dict([OUR_LABEL]), RUN_LABEL: run_label(lease.key)},
            metadata=compute.Metadata(items=[compute.Items(key=key, value=text) for key, text in metadata.items()]),
            scheduling=_limited(properties.scheduling, limit),
            network_interfaces=_with_address(properties, address),
        )

    async def _properties(self) -> compute.InstanceProperties:
        name = self._template.rsplit("/", 1)[-1]
        subject = Subject(
            f"read the instance template {name}",
            f"There is no instance template {self._template}: check TEMPLATE and PROJECT_ID.",
        )
        answered = await self._rest.send(Asked(f"{self._endpoint}/compute/v1/{self._template}"), subject)
        document = json.loads(answered.content)["properties"]
        properties: compute.InstanceProperties = compute.InstanceProperties.from_json(
            json.dumps(document), ignore_unknown_fields=True
        )
        return properties


def _key_of(machine: Machine) -> str:
    return machine.lease.key if machine.lease else ""


def _limited(scheduling: compute.Scheduling, limit: timedelta) -> compute.Scheduling:
    """Google itself ends it. DELETE, not STOP: nothing of such a VM is needed once it is off, and its disk costs."""
    block = armed(json.loads(compute.Scheduling.to_json(scheduling)), limit)
    block.instance_termination_action = "DELETE"
    return block


def _with_address(properties: compute.InstanceProperties, address: Address | None) -> list[compute.NetworkInterface]:
    """The template's interfaces, the first of them with our address; none where there is nothing to say."""
    if address is None:
        return []
    nics = list(properties.network_interfaces)
    config = compute.AccessConfig(
        name="External NAT", type_="ONE_TO_ONE_NAT", nat_i_p=address.ip, network_tier=address.network_tier
    )
    nics[0].access_configs = [config]
    return nics


def _template_path(template: str, project: str) -> str:
    """NAME, regions/R/instanceTemplates/NAME, or a URL -> projects/P/global/instanceTemplates/NAME."""
    if "/" not in template:
        return f"projects/{project}/global/instanceTemplates/{template}"
    if "projects/" in template:
        return template[template.index("projects/") :]
    return f"projects/{project}/{template}"
