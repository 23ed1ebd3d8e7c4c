"""Compute Engine through Google's own client library: opens the three ports that stand on it.

The library takes a large part of a second to import, so it is imported when it is first opened.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from orchestrator.policy import Policy
from orchestrator.ports import Addresses, Clock, Inventory, Leases, Machines
from orchestrator.threads import IMPORTING


@dataclass(frozen=True)
class GoogleCompute:
    """The ports of one project, region and zone. They share clients and threads."""

    machines: Machines
    leases: Leases
    addresses: Addresses
    close: Callable[[], None]  # lets idle threads and connections go; a request in flight is left to itself


@dataclass(frozen=True)
class GoogleProject:
    """A whole project: what it has, and the ports of each zone. They share clients, not threads."""

    inventory: Inventory
    zone: Callable[[str], GoogleCompute]  # blocks for nothing
    close: Callable[[], None]


def open_project(
    project: str, policy: Policy, clock: Clock, endpoint: str | None = None, threads: int = 8
) -> GoogleProject:
    """As `open_google`, for all zones of a project. `threads`: how many requests of one zone may be under way."""
    with IMPORTING:
        from orchestrator.google_addresses import GoogleAddresses  # noqa: PLC0415 - see above
        from orchestrator.google_calls import GoogleCalls, Place  # noqa: PLC0415
        from orchestrator.google_clients import open_clients  # noqa: PLC0415
        from orchestrator.google_inventory import GoogleInventory  # noqa: PLC0415
        from orchestrator.google_leases import GoogleLeases  # noqa: PLC0415
        from orchestrator.google_machines import GoogleMachines  # noqa: PLC0415

    clients = open_clients(endpoint)
    opened = [GoogleCalls(Place(project, "", ""), policy, clock, clients)]

    def zone(name: str) -> GoogleCompute:
        place = Place(project, name.rpartition("-")[0], name)
        calls = GoogleCalls(place, policy, clock, clients, threads)
        opened.append(calls)
        machines = GoogleMachines(calls)
        return GoogleCompute(machines, GoogleLeases(calls), GoogleAddresses(calls, machines), calls.close)

    def close() -> None:
        for calls in opened:
            calls.close()

    return GoogleProject(GoogleInventory(opened[0]), zone, close)


def open_google(project: str, zone: str, policy: Policy, clock: Clock, endpoint: str | None = None) -> GoogleCompute:
    """Import the library, find credentials, make the clients. Blocks while it does; sends no request to Compute Engine.

    `endpoint` ("http://127.0.0.1:8475") leads to an emulator and needs no credentials. Without it the Application
    Default Credentials are used; BadUsage if there are none.
    """
    opened = open_project(project, policy, clock, endpoint)
    return replace(opened.zone(zone), close=opened.close)
