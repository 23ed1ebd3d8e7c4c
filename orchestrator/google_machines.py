"""VMs on Compute Engine (port `Machines`)."""

from contextlib import suppress
from datetime import timedelta

from orchestrator.errors import BadResource, Conflict, NotFound
from orchestrator.google_calls import GoogleCalls
from orchestrator.google_library import compute
from orchestrator.google_settling import Again
from orchestrator.google_sightings import armed, machine_of
from orchestrator.seen import Machine

_CONSOLE_LINE_BYTES = 400  # generously: kernel and pip lines are long


class GoogleMachines:
    """VMs of one project and zone."""

    def __init__(self, calls: GoogleCalls) -> None:
        self._calls = calls
        self._here = {"project": calls.place.project, "zone": calls.place.zone}

    async def look(self, name: str) -> Machine:
        """The VM as it is now, timed by Google's clock."""
        calls = self._calls
        request = compute.GetInstanceRequest(instance=name, **self._here)

        def ask(timeout: float) -> Machine:
            instance = calls.clients.instances.get(request, retry=None, timeout=timeout)
            return machine_of(instance, seen_at=calls.clients.time.date() or calls.clock.now())

        return await calls.read(ask, calls.place.vm(name, "look at"))

    async def start(self, machine: Machine, again: Again | None = None) -> None:
        """Start it, and see it started."""

        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.StartInstanceRequest(instance=machine.name, request_id=request_id, **self._here)
            return self._calls.clients.instances.start_unary(request, retry=None, timeout=timeout)

        await self._calls.change(send, self._calls.place.vm(machine.name, "start"), again)

    async def stop(self, machine: Machine, again: Again | None = None) -> None:
        """Stop it, by a client and a thread that serve nothing else. A VM that is gone is off."""

        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.StopInstanceRequest(instance=machine.name, request_id=request_id, **self._here)
            if machine.has_local_ssd:
                request.discard_local_ssd = True  # required then; not to be sent otherwise
            return self._calls.clients.stopping.stop_unary(request, retry=None, timeout=timeout)

        with suppress(NotFound):
            await self._calls.stop(send, self._calls.place.vm(machine.name, "stop"), again)

    async def arm(self, machine: Machine, limit: timedelta) -> None:
        """Write the whole scheduling block back, with the limit in it. Conflict, if the VM is on after all."""
        block = armed(machine.scheduling, limit)

        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.SetSchedulingInstanceRequest(
                instance=machine.name, request_id=request_id, scheduling_resource=block, **self._here
            )
            return self._calls.clients.instances.set_scheduling_unary(request, retry=None, timeout=timeout)

        try:
            await self._calls.change(send, self._calls.place.vm(machine.name, "set the time limit of"))
        except BadResource as refusal:
            if (await self.look(machine.name)).stopped:
                raise
            raise Conflict(f"{machine.name} is on, and takes no time limit; the last look showed it off.") from refusal

    async def published(self, machine: Machine, attribute: str) -> str | None:
        """What the VM wrote into the guest attribute NAMESPACE/KEY."""
        request = compute.GetGuestAttributesInstanceRequest(instance=machine.name, query_path=attribute, **self._here)

        def ask(timeout: float) -> compute.GuestAttributes:
            return self._calls.clients.instances.get_guest_attributes(request, retry=None, timeout=timeout)

        try:
            attributes = await self._calls.read(ask, self._calls.place.vm(machine.name, "read the guest attributes of"))
            return str(attributes.query_value.items[0].value)
        except (NotFound, IndexError):
            return None

    async def console(self, machine: Machine, last_lines: int) -> str:
        """The last lines of serial port 1; no more than those few bytes travel."""
        request = compute.GetSerialPortOutputInstanceRequest(
            instance=machine.name, port=1, start=-last_lines * _CONSOLE_LINE_BYTES, **self._here
        )

        def ask(timeout: float) -> compute.SerialPortOutput:
            return self._calls.clients.instances.get_serial_port_output(request, retry=None, timeout=timeout)

        output = await self._calls.read(ask, self._calls.place.vm(machine.name, "read the serial console of"))
        return "\n".join(output.contents.splitlines()[-last_lines:])
