"""A whole project of Compute Engine: what it has of ours, and the ports of each of its zones."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.google_compute import GoogleCompute
from orchestrator.policy import Policy
from orchestrator.ports import Clock, Inventory
from orchestrator.threads import IMPORTING


@dataclass(frozen=True)
class GoogleProject:
    """All share clients; each zone has threads of its own."""

    inventory: Inventory
    zone: Callable[[str], GoogleCompute]  # sends nothing; only our own `close` closes it
    close: Callable[[], None]


def open_project(
    project: str, policy: Policy, clock: Clock, endpoint: str | None = None, threads: int = 8
) -> GoogleProject:
    """As `open_google`, for all zones. `threads`: how many requests of one zone may be under way at once."""
    with IMPORTING:
        from orchestrator.google_addresses import GoogleAddresses  # noqa: PLC0415 - the library takes its time
        from orchestrator.google_calls import GoogleCalls, Place  # noqa: PLC0415
        from orchestrator.google_clients import open_clients  # noqa: PLC0415
        from orchestrator.google_inventory import GoogleInventory  # noqa: PLC0415
        from orchestrator.google_leases import GoogleLeases  # noqa: PLC0415
        from orchestrator.google_machines import GoogleMachines  # noqa: PLC0415

    clients = open_clients(endpoint)
    opened = [GoogleCalls(Place(project, "", ""), policy, clock, clients)]

    def close() -> None:
        for calls in opened:
            calls.close()

    def zone(name: str) -> GoogleCompute:
        place = Place(project, name.rpartition("-")[0], name)
        calls = GoogleCalls(place, policy, clock, clients, threads)
        opened.append(calls)
        machines = GoogleMachines(calls)
        return GoogleCompute(
            machines=machines, leases=GoogleLeases(calls), addresses=GoogleAddresses(calls, machines), close=close
        )

    return GoogleProject(GoogleInventory(opened[0]), zone, close)
