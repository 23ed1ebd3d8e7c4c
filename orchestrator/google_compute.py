"""Compute Engine through Google's own client library: opens the three ports that stand on it.

The library takes a large part of a second to import, so it is imported when it is first opened.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.policy import Policy
from orchestrator.ports import Addresses, Clock, Creation, Leases, Machines
from orchestrator.threads import IMPORTING

if TYPE_CHECKING:
    from orchestrator.google_calls import GoogleCalls


@dataclass(frozen=True)
class GoogleCompute:
    """The ports of one project, region and zone. They share clients and threads."""

    machines: Machines
    leases: Leases
    addresses: Addresses
    close: Callable[[], None]  # lets idle threads and connections go; a request in flight is left to itself
    creation: Creation | None = None  # where VMs are made from a template


@dataclass(frozen=True)
class Created:
    """What it takes to work with VMs that are made for one run."""

    template: str  # NAME, regions/R/instanceTemplates/NAME, or a URL
    state_url: str  # gs://BUCKET[/FOLDER]: where leases are kept
    instance: str  # the VM's name
    storage_endpoint: str | None = None  # of an emulator


def open_google(  # noqa: PLR0917 - three names, what we go by, and where to
    project: str,
    region: str,
    zone: str,
    policy: Policy,
    clock: Clock,
    endpoint: str | None = None,
    created: Created | None = None,
    metadata_host: str | None = None,
) -> GoogleCompute:
    """Import the library, find credentials, make the clients. Blocks while it does; sends no request to Compute Engine.

    `endpoint` ("http://127.0.0.1:8475") leads to an emulator; we are there who its metadata server ("host:port") says,
    or nobody. Without it the Application Default Credentials are used; BadUsage if there are none.
    """
    with IMPORTING:
        from orchestrator.google_addresses import GoogleAddresses  # noqa: PLC0415 - see above
        from orchestrator.google_calls import GoogleCalls, Place  # noqa: PLC0415
        from orchestrator.google_clients import open_clients  # noqa: PLC0415
        from orchestrator.google_leases import GoogleLeases  # noqa: PLC0415
        from orchestrator.google_machines import GoogleMachines  # noqa: PLC0415

    calls = GoogleCalls(Place(project, region, zone), policy, clock, open_clients(endpoint, metadata_host))
    if created is not None:
        return open_created(calls, created, endpoint)
    machines = GoogleMachines(calls)
    return GoogleCompute(machines, GoogleLeases(calls), GoogleAddresses(calls, machines), calls.close)


def open_created(calls: "GoogleCalls", created: Created, endpoint: str | None) -> GoogleCompute:
    """The ports of one VM that is made for its run. BadUsage if `state_url` is no place for a lease."""
    with IMPORTING:
        from orchestrator.google_addresses import GoogleAddresses  # noqa: PLC0415 - as above
        from orchestrator.google_creation import CreatedMachines  # noqa: PLC0415
        from orchestrator.google_rest import GoogleRest  # noqa: PLC0415
        from orchestrator.google_state import GoogleState  # noqa: PLC0415

    rest = GoogleRest(calls.clients.credentials, calls.policy, calls.clock)
    place = f"{calls.place.project}/{calls.place.zone}/{created.instance}"
    state = GoogleState(rest, calls.clock, created.state_url, place, created.storage_endpoint)
    machines = CreatedMachines(calls, rest, state, created.template, endpoint)

    def close() -> None:
        rest.close()
        calls.close()

    return GoogleCompute(machines, state, GoogleAddresses(calls, machines), close, creation=machines)
