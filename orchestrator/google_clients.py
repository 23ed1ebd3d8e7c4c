"""Google's clients for the services that we use: their credentials, their endpoint, and the hook for Google's time."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache, partial
from typing import Any

from google.api_core.client_options import ClientOptions
from google.auth.credentials import Credentials

from orchestrator.google_credentials import credentials_for
from orchestrator.google_library import (
    AddressesClient,
    InstancesClient,
    InstancesRestInterceptor,
    InstancesRestTransport,
    ZoneOperationsClient,
    compute,
    region_operations_client,
)

_Headers = Sequence[tuple[str, str | bytes]]


class GoogleTime(InstancesRestInterceptor):
    """Keeps the Date header of the last look at instances (one, or a list) that the asking thread took."""

    def __init__(self) -> None:
        self._kept = threading.local()

    def post_get_with_metadata(
        self, response: compute.Instance, metadata: _Headers
    ) -> tuple[compute.Instance, _Headers]:
        """The library's own hook; it runs on the thread that sent the request."""
        self._keep(metadata)
        return response, metadata

    def post_aggregated_list_with_metadata(
        self, response: compute.InstanceAggregatedList, metadata: _Headers
    ) -> tuple[compute.InstanceAggregatedList, _Headers]:
        """The same hook of another method."""
        self._keep(metadata)
        return response, metadata

    def date(self) -> datetime | None:
        """When Google answered, by its own clock; None if the answer did not say."""
        date: datetime | None = getattr(self._kept, "date", None)
        return date

    def _keep(self, metadata: _Headers) -> None:
        date = next((str(value) for name, value in metadata if name.lower() == "date"), None)
        self._kept.date = parsedate_to_datetime(date) if date else None


@dataclass(frozen=True)
class GoogleClients:
    """One client for each service; threads share them, but `stopping` is for stops alone."""

    instances: InstancesClient
    stopping: InstancesClient
    addresses: AddressesClient
    operations: ZoneOperationsClient
    time: GoogleTime
    credentials: Credentials
    regional: Callable[[], Any]  # the client of regional operations, made when it is first asked for

    def close(self) -> None:
        """Close the connections."""
        for client in (self.instances, self.stopping, self.addresses, self.operations):
            client.transport.close()  # type: ignore[no-untyped-call]


def open_clients(endpoint: str | None, metadata_host: str | None = None) -> GoogleClients:
    """Clients for Google, or with an `endpoint` for an emulator, as whom its metadata server takes us for."""
    credentials = credentials_for(emulated=endpoint is not None, metadata_host=metadata_host)
    options = ClientOptions(api_endpoint=endpoint)
    time = GoogleTime()
    return GoogleClients(
        instances=InstancesClient(
            credentials=credentials,
            client_options=options,
            transport=partial(InstancesRestTransport, interceptor=time),
        ),
        stopping=InstancesClient(credentials=credentials, client_options=options),
        addresses=AddressesClient(credentials=credentials, client_options=options),
        operations=ZoneOperationsClient(credentials=credentials, client_options=options),
        time=time,
        credentials=credentials,
        regional=cache(lambda: region_operations_client()(credentials=credentials, client_options=options)),
    )
