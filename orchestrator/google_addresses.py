"""Reserved addresses, and the NIC they are attached to (port `Addresses`)."""

from contextlib import suppress

from orchestrator.errors import AlreadyExists, BadResource, Conflict, MayflyError, NotFound
from orchestrator.google_calls import GoogleCalls
from orchestrator.google_errors import Subject
from orchestrator.google_library import compute
from orchestrator.google_machines import GoogleMachines
from orchestrator.google_sightings import address_of
from orchestrator.seen import RESERVED_FOR_A_RUN, AccessConfig, Address, Machine

_NAME = "External NAT"  # the name that the API itself recommends; any would do


class GoogleAddresses:
    """Addresses of one project and region, for the VMs of one zone in it."""

    def __init__(self, calls: GoogleCalls, machines: GoogleMachines) -> None:
        self._calls = calls
        self._machines = machines
        self._here = {"project": calls.place.project, "zone": calls.place.zone}

    async def find(self, name: str) -> Address:
        """The reserved address."""
        calls, place = self._calls, self._calls.place
        request = compute.GetAddressRequest(address=name, project=place.project, region=place.region)

        def ask(timeout: float) -> Address:
            return address_of(calls.clients.addresses.get(request, retry=None, timeout=timeout))

        return await calls.read(ask, self._subject(name, "look at"))

    def _subject(self, name: str, doing: str) -> Subject:
        place = self._calls.place
        where = f"in region {place.region} of project {place.project}"
        return Subject(
            doing=f"{doing} the address {name} {where}",
            missing=f"There is no reserved address {name} {where}: check STATIC_NAME, REGION and PROJECT_ID, or "
            f"reserve it with `gcloud compute addresses create {name} --region {place.region}`.",
        )

    async def reserve(self, name: str) -> None:
        """Reserve one, external and regional, with the description that says whose it is."""
        place = self._calls.place
        resource = compute.Address(name=name, description=RESERVED_FOR_A_RUN)

        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.InsertAddressRequest(
                project=place.project, region=place.region, address_resource=resource, request_id=request_id
            )
            return self._calls.clients.addresses.insert_unary(request, retry=None, timeout=timeout)

        with suppress(AlreadyExists):
            await self._calls.change_in_region(send, self._subject(name, "reserve"))

    async def release(self, address: Address) -> None:
        """Delete it."""
        place = self._calls.place

        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.DeleteAddressRequest(
                project=place.project, region=place.region, address=address.name, request_id=request_id
            )
            return self._calls.clients.addresses.delete_unary(request, retry=None, timeout=timeout)

        with suppress(NotFound):
            await self._calls.change_in_region(send, self._subject(address.name, "release"))

    async def attach(self, machine: Machine, address: Address) -> None:
        """A NIC takes one access config, so what is there (an ephemeral IP, mostly) is taken off first."""
        if machine.access_config is not None:
            if machine.access_config.ip == address.ip:
                return
            await self.detach(machine)
        try:
            await self._add(machine, address)
        except (BadResource, Conflict) as refusal:
            await self._fine_if_attached(machine, address, refusal)

    async def detach(self, machine: Machine) -> None:
        """By the name that was read, never by a default."""
        if machine.access_config is None:
            return
        try:
            await self._delete(machine, machine.access_config)
        except NotFound:
            return
        except (BadResource, Conflict):
            if await self._attached_now(machine) == machine.access_config:
                raise

    async def _add(self, machine: Machine, address: Address) -> None:
        config = compute.AccessConfig(
            name=_NAME, type_="ONE_TO_ONE_NAT", nat_i_p=address.ip, network_tier=address.network_tier
        )

        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.AddAccessConfigInstanceRequest(
                instance=machine.name,
                network_interface=machine.nic,
                access_config_resource=config,
                request_id=request_id,
                **self._here,
            )
            return self._calls.clients.instances.add_access_config_unary(request, retry=None, timeout=timeout)

        await self._calls.change(send, self._calls.place.vm(machine.name, f"attach {address.name} ({address.ip}) to"))

    async def _delete(self, machine: Machine, config: AccessConfig) -> None:
        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.DeleteAccessConfigInstanceRequest(
                instance=machine.name,
                network_interface=machine.nic,
                access_config=config.name,
                request_id=request_id,
                **self._here,
            )
            return self._calls.clients.instances.delete_access_config_unary(request, retry=None, timeout=timeout)

        await self._calls.change(send, self._calls.place.vm(machine.name, f"take {config.ip} off"))

    async def _fine_if_attached(self, machine: Machine, address: Address, refusal: MayflyError) -> None:
        """An earlier try may have done it, or somebody else got in between: the NIC itself says which."""
        now = await self._attached_now(machine)
        if now is not None and now.ip == address.ip:
            return
        if now is not None:
            raise Conflict(f"{machine.name} got another external IP ({now.ip}) meanwhile.") from refusal
        users = (await self.find(address.name)).users
        if users:
            raise BadResource(
                f"The address {address.name} ({address.ip}) is in use by {', '.join(users)}. Free it there, or name "
                "another one in STATIC_NAME."
            ) from refusal
        raise refusal

    async def _attached_now(self, machine: Machine) -> AccessConfig | None:
        try:
            return (await self._machines.look(machine.name)).access_config
        except NotFound:
            return None  # the VM is gone, and its access config with it
