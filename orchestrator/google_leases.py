"""The lease in a VM's own metadata (port `Leases`)."""

from orchestrator.google_calls import GoogleCalls
from orchestrator.google_library import compute
from orchestrator.lease import Lease
from orchestrator.seen import Machine
from vm_agent.protocol import LEASE_ATTRIBUTE


class GoogleLeases:
    """One metadata value, replaced by compare-and-swap on the fingerprint of the whole metadata."""

    def __init__(self, calls: GoogleCalls) -> None:
        self._calls = calls

    async def write(self, machine: Machine, lease: Lease) -> None:
        """setMetadata replaces everything, so everything that was read goes back with it."""
        calls = self._calls
        entries = {**machine.metadata, LEASE_ATTRIBUTE: lease.to_json()}
        metadata = compute.Metadata(
            fingerprint=machine.metadata_fingerprint,
            items=[compute.Items(key=key, value=value) for key, value in entries.items()],
        )

        def send(request_id: str, timeout: float) -> compute.Operation:
            request = compute.SetMetadataInstanceRequest(
                project=calls.place.project,
                zone=calls.place.zone,
                instance=machine.name,
                request_id=request_id,
                metadata_resource=metadata,
            )
            return calls.clients.instances.set_metadata_unary(request, retry=None, timeout=timeout)

        await calls.change(send, calls.place.vm(machine.name, "write the lease on"))
