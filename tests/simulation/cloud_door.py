"""Compute Engine for a simulated orchestrator: the production's retries and settling, over the model's own wire."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from gcp_emulator.wire import Reply, Request
from orchestrator.errors import AlreadyExists, BadResource, Conflict, NotFound, Transient
from orchestrator.google_addresses import GoogleAddresses
from orchestrator.google_calls import Place
from orchestrator.google_errors import Complaint, Subject, code_of, translate
from orchestrator.google_settling import Again, Operation, SeeingThrough
from orchestrator.lease import Lease, read_lease
from orchestrator.policy import Policy
from orchestrator.ports import Clock, Machines
from orchestrator.seen import RESERVED_FOR_A_RUN, AccessConfig, Address, Machine
from tests.simulation.faults import Sender
from tests.simulation.universe import Universe
from vm_agent.protocol import LEASE_ATTRIBUTE

Json = dict[str, Any]
OK = 200


class CloudDoor:
    """One orchestrator's connections to Compute Engine."""

    def __init__(self, universe: Universe, sender: Sender, place: Place, policy: Policy, clock: Clock) -> None:
        self.place, self._universe, self._sender, self._policy = place, universe, sender, policy
        self.zone = f"/compute/v1/projects/{place.project}/zones/{place.zone}"
        self.region = f"/compute/v1/projects/{place.project}/regions/{place.region}"
        self.tried = SeeingThrough(policy, clock, self._wait)
        self._tried_in_region = SeeingThrough(policy, clock, self._wait_in_region)

    async def get(self, path: str, subject: Subject, **query: str) -> Json:
        """A resource, tried again."""
        return await self.tried.read(lambda: self._json(Request("GET", path, query), self._policy.request, subject))

    async def change(
        self, path: str, subject: Subject, body: object = None, again: Again | None = None, **query: str
    ) -> None:
        """A change, seen through."""
        await self.tried.change(lambda request_id: self._post(path, request_id, body, query, subject), subject, again)

    async def change_in_region(self, path: str, subject: Subject, body: object = None, method: str = "POST") -> None:
        """The same for what is regional."""
        await self._tried_in_region.change(
            lambda request_id: self._post(path, request_id, body, {}, subject, method), subject
        )

    async def start(self, path: str, subject: Subject, again: Again | None) -> None:
        """A start, seen through; `again` comes before a further try."""
        await self.tried.change(lambda request_id: self._post(path, request_id, None, {}, subject), subject, again)

    async def stop(self, path: str, subject: Subject, again: Again | None, method: str = "POST") -> None:
        """A stop, seen through; likewise."""
        await self.tried.stop(
            lambda request_id: self._post(path, request_id, None, {}, subject, method), subject, again
        )

    async def _post(
        self,
        path: str,
        request_id: str,
        body: object,
        query: Mapping[str, str],
        subject: Subject,
        method: str = "POST",
    ) -> Operation:
        content = b"" if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        request = Request(method, path, {"requestId": request_id, **query}, headers, content)
        return _operation(await self._json(request, self._policy.request, subject))

    async def _wait(self, name: str, subject: Subject) -> Operation:
        request = Request("POST", f"{self.zone}/operations/{name}/wait")
        return _operation(await self._json(request, self._policy.wait_request, subject))

    async def _wait_in_region(self, name: str, subject: Subject) -> Operation:
        request = Request("POST", f"{self.region}/operations/{name}/wait")
        return _operation(await self._json(request, self._policy.wait_request, subject))

    async def answer(self, request: Request, subject: Subject, *, fine: int | None = None) -> Reply:
        """One answer, not tried again; an error that is `fine` is one."""
        return await self._answer(request, self._policy.request, subject, fine)

    async def _json(self, request: Request, within: timedelta, subject: Subject) -> Json:
        document: Json = json.loads((await self._answer(request, within, subject)).body)
        return document

    async def _answer(self, request: Request, within: timedelta, subject: Subject, fine: int | None = None) -> Reply:
        try:
            async with asyncio.timeout(within.total_seconds()):
                reply = await self._sender.send(request)
        except TimeoutError as silence:
            raise Transient(f"Cannot {subject.doing}: the connection to Google failed: timed out") from silence
        if reply.status not in {OK, fine}:
            raise translate(_complaint(reply), subject)
        return reply


class SimulatedMachines:
    """The port Machines."""

    def __init__(self, door: CloudDoor, clock: Clock) -> None:
        self._door, self._clock = door, clock

    async def look(self, name: str) -> Machine:
        """instances.get, timed by Google's clock, which is ours here."""
        shown = await self._door.get(self._path(name), self._door.place.vm(name, "look at"))
        return machine_of(shown, self._clock.now())

    async def start(self, machine: Machine, again: Again | None = None) -> None:
        """instances.start."""
        await self._door.start(f"{self._path(machine.name)}/start", self._door.place.vm(machine.name, "start"), again)

    async def stop(self, machine: Machine, again: Again | None = None) -> None:
        """instances.stop."""
        with suppress(NotFound):
            await self._door.stop(f"{self._path(machine.name)}/stop", self._door.place.vm(machine.name, "stop"), again)

    async def arm(self, machine: Machine, limit: timedelta) -> None:
        """instances.setScheduling."""
        block = {
            **machine.scheduling,
            "maxRunDuration": {"seconds": str(ceil(limit.total_seconds()))},
            "instanceTerminationAction": "STOP",
            "automaticRestart": False,
        }
        subject = self._door.place.vm(machine.name, "set the time limit of")
        try:
            await self._door.change(f"{self._path(machine.name)}/setScheduling", subject, block)
        except BadResource as refusal:
            if (await self.look(machine.name)).stopped:
                raise
            raise Conflict(f"{machine.name} is on, and takes no time limit.") from refusal

    async def published(self, machine: Machine, attribute: str) -> str | None:
        """startup.sh is not simulated, and says nothing; nor are the agents' certificates."""
        del machine, attribute
        await asyncio.sleep(0)
        return None

    async def console(self, machine: Machine, last_lines: int) -> str:
        """The console is not simulated."""
        del machine, last_lines
        await asyncio.sleep(0)
        return ""

    def _path(self, name: str) -> str:
        return f"{self._door.zone}/instances/{name}"


class SimulatedLeases:
    """The port Leases: setMetadata with the fingerprint that was read."""

    def __init__(self, door: CloudDoor) -> None:
        self._door = door

    async def write(self, machine: Machine, lease: Lease) -> None:
        """Everything that was read goes back with it."""
        entries = {**machine.metadata, LEASE_ATTRIBUTE: lease.to_json()}
        items = [{"key": key, "value": value} for key, value in entries.items()]
        body = {"fingerprint": machine.metadata_fingerprint, "items": items}
        path = f"{self._door.zone}/instances/{machine.name}/setMetadata"
        await self._door.change(path, self._door.place.vm(machine.name, "write the lease on"), body)


class SimulatedAddresses(GoogleAddresses):
    """The port Addresses: production's own judgement of what an answer means, over the simulated wire."""

    def __init__(self, door: CloudDoor, machines: Machines) -> None:
        self._door = door
        self._machines = machines  # type: ignore[assignment] # of it only `look` is used

    async def find(self, name: str) -> Address:
        """addresses.get."""
        subject = Subject(f"look at the address {name}", f"There is no reserved address {name}.")
        shown = await self._door.get(f"{self._door.region}/addresses/{name}", subject)
        return address_of(shown)

    async def reserve(self, name: str) -> None:
        """addresses.insert."""
        subject, body = Subject(f"reserve {name}", ""), {"name": name, "description": RESERVED_FOR_A_RUN}
        with suppress(AlreadyExists):
            await self._door.change_in_region(f"{self._door.region}/addresses", subject, body)

    async def release(self, address: Address) -> None:
        """addresses.delete."""
        path, subject = f"{self._door.region}/addresses/{address.name}", Subject(f"release {address.name}", "")
        with suppress(NotFound):
            await self._door.change_in_region(path, subject, method="DELETE")

    async def _add(self, machine: Machine, address: Address) -> None:
        config = {
            "name": "External NAT",
            "type": "ONE_TO_ONE_NAT",
            "natIP": address.ip,
            "networkTier": address.network_tier,
        }
        path = f"{self._door.zone}/instances/{machine.name}/addAccessConfig"
        subject = self._door.place.vm(machine.name, f"attach {address.name} to")
        await self._door.change(path, subject, config, networkInterface=machine.nic)

    async def _delete(self, machine: Machine, config: AccessConfig) -> None:
        path = f"{self._door.zone}/instances/{machine.name}/deleteAccessConfig"
        subject = self._door.place.vm(machine.name, f"take {config.ip} off")
        await self._door.change(path, subject, networkInterface=machine.nic, accessConfig=config.name)


def machine_of(shown: Json, seen_at: datetime) -> Machine:
    """The VM, as `instances.get` shows it."""
    metadata = {item["key"]: item["value"] for item in shown["metadata"].get("items", ())}
    [nic] = shown["networkInterfaces"]
    configs = [AccessConfig(config["name"], config.get("natIP")) for config in nic.get("accessConfigs", ())]
    scheduling = shown["scheduling"]
    limit = scheduling.get("maxRunDuration")
    return Machine(
        name=shown["name"],
        id=shown["id"],
        status=shown["status"],
        metadata_fingerprint=shown["metadata"]["fingerprint"],
        metadata=metadata,
        lease=read_lease(metadata.get(LEASE_ATTRIBUTE)),
        internal_ip=nic["networkIP"],
        access_config=configs[0] if configs else None,
        max_run=timedelta(seconds=int(limit["seconds"])) if limit else None,
        termination_action=scheduling.get("instanceTerminationAction"),
        automatic_restart=scheduling.get("automaticRestart", False),
        last_start=_time(shown.get("lastStartTimestamp")),
        last_stop=_time(shown.get("lastStopTimestamp")),
        seen_at=seen_at.replace(microsecond=0),  # as the Date header has it
        nic=nic["name"],
        scheduling=scheduling,
        labels=shown.get("labels", {}),
    )


def address_of(shown: Json) -> Address:
    """The reserved address, as `addresses.get` shows it."""
    users, tier = tuple(shown.get("users", ())), shown.get("networkTier", "PREMIUM")
    description, created = shown.get("description", ""), _time(shown.get("creationTimestamp"))
    return Address(shown["name"], shown["address"], users, tier, shown.get("labels", {}), description, created)


def _operation(shown: Json) -> Operation:
    errors = shown.get("error", {}).get("errors", [])
    complaint = Complaint(
        message=" ".join(dict.fromkeys(error.get("message") or error["code"] for error in errors)),
        codes=frozenset(code_of(error["code"]) for error in errors),
        status=shown.get("httpErrorStatusCode"),
        in_operation=True,
    )
    return Operation(shown["name"], shown["status"] == "DONE", complaint if errors else None)


def _complaint(reply: Reply) -> Complaint:
    said = json.loads(reply.body)["error"]
    reasons = [error.get("reason") for error in said.get("errors", ())]
    codes = frozenset(code_of(reason) for reason in reasons if reason)
    return Complaint(message=said["message"], codes=codes, status=reply.status)


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
