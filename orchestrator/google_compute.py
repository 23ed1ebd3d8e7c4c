"""Compute Engine through Google's own client library: opens the three ports that stand on it.

The library takes a large part of a second to import, so it is imported when it is first opened.
"""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.policy import Policy
from orchestrator.ports import Addresses, Clock, Leases, Machines
from orchestrator.threads import IMPORTING


@dataclass(frozen=True)
class GoogleCompute:
    """The ports of one project, region and zone. They share clients and threads."""

    machines: Machines
    leases: Leases
    addresses: Addresses
    close: Callable[[], None]  # lets idle threads and connections go; a request in flight is left to itself


def open_google(  # noqa: PLR0917 - three names, what we go by, and where to
    project: str, region: str, zone: str, policy: Policy, clock: Clock, endpoint: str | None = None
) -> GoogleCompute:
    """Import the library, find credentials, make the clients. Blocks while it does; sends no request to Compute Engine.

    `endpoint` ("http://127.0.0.1:8475") leads to an emulator and needs no credentials. Without it the Application
    Default Credentials are used; BadUsage if there are none.
    """
    with IMPORTING:
        from orchestrator.google_addresses import GoogleAddresses  # noqa: PLC0415 - see above
        from orchestrator.google_calls import GoogleCalls, Place  # noqa: PLC0415
        from orchestrator.google_clients import open_clients  # noqa: PLC0415
        from orchestrator.google_leases import GoogleLeases  # noqa: PLC0415
        from orchestrator.google_machines import GoogleMachines  # noqa: PLC0415

    calls = GoogleCalls(Place(project, region, zone), policy, clock, open_clients(endpoint))
    machines = GoogleMachines(calls)
    return GoogleCompute(machines, GoogleLeases(calls), GoogleAddresses(calls, machines), calls.close)
