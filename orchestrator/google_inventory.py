"""What a whole project has of ours (port `Inventory`): one aggregated list each, page by page."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from orchestrator.google_calls import GoogleCalls
from orchestrator.google_errors import Subject
from orchestrator.google_library import compute
from orchestrator.google_sightings import address_of, machine_of
from orchestrator.seen import OUR_LABEL, RESERVED_FOR_A_RUN, Address, Listed, Listing, Machine

T = TypeVar("T", Machine, Address)

_OURS = "labels.{}={}".format(*OUR_LABEL)
_OURS_OR_RESERVED = f'({_OURS}) OR (description = "{RESERVED_FOR_A_RUN}")'
_NOTHING_HERE = "NO_RESULTS_ON_PAGE"  # of a place's warnings the only one that is none


class GoogleInventory:
    """Google filters by our label, and its answer is checked again: a filter that fails open would cost a VM."""

    def __init__(self, calls: GoogleCalls) -> None:
        self._calls = calls

    async def machines(self) -> Listing[Machine]:
        """The VMs of all zones, timed by Google's clock."""
        calls = self._calls
        request = compute.AggregatedListInstancesRequest(project=calls.place.project, filter=_OURS)

        def ask(timeout: float) -> Listing[Machine]:
            pager = calls.clients.instances.aggregated_list(request, retry=None, timeout=timeout)
            return _listing(pager.pages, machines_in)

        def machines_in(scope: compute.InstancesScopedList) -> Iterable[Machine]:
            seen_at = calls.clients.time.date() or calls.clock.now()
            return (machine_of(instance, seen_at) for instance in scope.instances)

        return await calls.read(ask, self._subject("VMs"))

    async def addresses(self) -> Listing[Address]:
        """The reserved addresses of all regions."""
        calls = self._calls
        request = compute.AggregatedListAddressesRequest(project=calls.place.project, filter=_OURS_OR_RESERVED)

        def ask(timeout: float) -> Listing[Address]:
            pager = calls.clients.addresses.aggregated_list(request, retry=None, timeout=timeout)
            return _listing(pager.pages, lambda scope: map(address_of, scope.addresses))

        return await calls.read(ask, self._subject("reserved addresses"))

    def _subject(self, what: str) -> Subject:
        project = self._calls.place.project
        return Subject(f"list the {what} of project {project}", f"There is no project {project}: check PROJECT_ID.")


def _listing(pages: Iterable[Any], things_in: Callable[[Any], Iterable[T]]) -> Listing[T]:
    found: list[Listed[T]] = []
    unseen: list[str] = []
    for page in pages:
        unseen += map(_place, page.unreachables)
        for scope, listed in page.items.items():
            if listed.warning.code not in {"", _NOTHING_HERE}:
                unseen.append(_place(scope))
            found += (Listed(_place(scope), thing) for thing in things_in(listed) if thing.labelled_ours)
    return Listing(tuple(found), tuple(dict.fromkeys(unseen)))


def _place(scope: str) -> str:
    """zones/us-central1-a, or the URL that ends so, is us-central1-a."""
    return scope.rpartition("/")[2]
