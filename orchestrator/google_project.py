"""A whole project of Compute Engine: what it has of ours, and the ports of each of its zones."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.errors import BadResource
from orchestrator.google_compute import Created, GoogleCompute, open_created
from orchestrator.policy import Policy
from orchestrator.ports import Addresses, Clock, Inventory
from orchestrator.threads import IMPORTING


@dataclass(frozen=True)
class GoogleProject:
    """All share clients; each zone has threads of its own."""

    inventory: Inventory
    zone: Callable[[str], GoogleCompute]  # sends nothing; only our own `close` closes it
    created: Callable[[str, str, str, str | None], GoogleCompute]  # likewise, of one VM: zone, name, lease, endpoint
    region: Callable[[str], Addresses]  # likewise, to reserve and to release
    close: Callable[[], None]


def open_project(
    project: str,
    policy: Policy,
    clock: Clock,
    endpoint: str | None = None,
    *,
    metadata_host: str | None = None,
    threads: int = 8,
) -> GoogleProject:
    """As `open_google`, for all zones. `threads`: how many requests of one zone may be under way at once."""
    with IMPORTING:
        from orchestrator.google_addresses import GoogleAddresses  # noqa: PLC0415 - the library takes its time
        from orchestrator.google_calls import GoogleCalls, Place  # noqa: PLC0415
        from orchestrator.google_clients import open_clients  # noqa: PLC0415
        from orchestrator.google_inventory import GoogleInventory  # noqa: PLC0415
        from orchestrator.google_leases import GoogleLeases  # noqa: PLC0415
        from orchestrator.google_machines import GoogleMachines  # noqa: PLC0415

    clients = open_clients(endpoint, metadata_host)
    everywhere = GoogleCalls(Place(project, "", ""), policy, clock, clients)
    to_close = [everywhere.close]

    def close() -> None:
        for one in to_close:
            one()

    def calls_of(zone: str, region: str | None = None) -> GoogleCalls:
        place = Place(project, region or zone.rpartition("-")[0], zone)
        calls = GoogleCalls(place, policy, clock, clients, threads)
        to_close.append(calls.close)
        return calls

    def created(zone: str, name: str, lease_url: str, storage_endpoint: str | None) -> GoogleCompute:
        state_url = _folder_of(lease_url, f"{project}/{zone}/{name}")
        google = open_created(calls_of(zone), Created("", state_url, name, storage_endpoint), endpoint)
        to_close.append(google.close)
        return google

    def zone(name: str) -> GoogleCompute:
        calls = calls_of(name)
        machines = GoogleMachines(calls)
        return GoogleCompute(
            machines=machines, leases=GoogleLeases(calls), addresses=GoogleAddresses(calls, machines), close=close
        )

    def region(name: str) -> Addresses:
        calls = calls_of("", name)
        return GoogleAddresses(calls, GoogleMachines(calls))

    return GoogleProject(GoogleInventory(everywhere), zone, created, region, close)


def _folder_of(lease_url: str, place: str) -> str:
    """STATE_URL, as the VM's metadata tell it. They may name the lease of that VM, and no other."""
    folder = lease_url.removesuffix(f"/{place}/lease.json")
    if folder == lease_url:
        raise BadResource(f"{lease_url} is not where the lease of {place} is kept; its metadata were changed.")
    return folder
