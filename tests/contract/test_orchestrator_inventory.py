"""What a project has of ours: Google's client against the emulator, and against lists that no emulator gives."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.seed import AddressSeed, InstanceSeed, Seed
from orchestrator.clock import SystemClock
from orchestrator.errors import Forbidden, Transient
from orchestrator.google_project import GoogleProject, open_project
from orchestrator.policy import Patience, Policy, seconds
from tests.contract.wires import Asked, http, serving
from tests.contract.world import PROJECT, Running, running

OURS = {"mayfly": "managed"}
FLEET = Seed(
    instances=(
        InstanceSeed("here", labels=OURS | {"team": "a"}),
        InstanceSeed("far", labels=OURS, zone="europe-west4-b", metadata={"mayfly-lease": '{"epoch":7}'}),
        InstanceSeed("theirs", labels={"mayfly": "mine"}),
        InstanceSeed("bare"),
    ),
    addresses=(
        AddressSeed("here-ip", labels=OURS),
        AddressSeed("far-ip", labels=OURS, region="europe-west4"),
        AddressSeed("bare-ip"),
    ),
)


@asynccontextmanager
async def project_at(url: str, policy: Policy | None = None) -> AsyncIterator[GoogleProject]:
    project = await asyncio.to_thread(open_project, PROJECT, policy or Policy(), SystemClock(), url)
    try:
        yield project
    finally:
        project.close()


async def test_what_carries_our_label_is_listed_wherever_it_is_and_nothing_else(tmp_path: Path) -> None:
    with running(lambda: Emulator(seed=FLEET, folder=tmp_path)) as port:
        emulator = Running(port)
        async with project_at(emulator.url) as project:
            machines, addresses = await project.inventory.machines(), await project.inventory.addresses()
        assert {(one.place, one.thing.name) for one in machines.found} == {
            ("us-central1-a", "here"),
            ("europe-west4-b", "far"),
        }
        assert {(one.place, one.thing.name) for one in addresses.found} == {
            ("us-central1", "here-ip"),
            ("europe-west4", "far-ip"),
        }
        assert (machines.unseen, addresses.unseen) == ((), ())
        far = next(one.thing for one in machines.found if one.thing.name == "far")
        assert far.lease is not None
        assert far.lease.epoch == 7
        queries = [entry["query"]["filter"] for entry in emulator.history("request")]
        assert queries[0] == "labels.mayfly=managed", "Google sends no more than what is ours"
        assert queries[1].startswith("(labels.mayfly=managed) OR (description = ")
        assert emulator.history("violation") == []


def an_instance(name: str, **labels: str) -> dict[str, Any]:
    return {"name": name, "id": "4711", "status": "RUNNING", "labels": labels}


def nothing_here() -> dict[str, Any]:
    return {"warning": {"code": "NO_RESULTS_ON_PAGE", "message": "There are no results for this scope."}}


async def test_all_pages_are_read_and_each_is_timed_by_google(tmp_path: Path) -> None:
    noon = "Sat, 21 Nov 2026 12:00:00 GMT"

    async def say(asked: Asked) -> bytes:
        token = asked.query.get("pageToken", "")
        page = {"": ("one", "second"), "second": ("two", "third"), "third": ("three", "")}[token]
        items = {"zones/us-central1-a": {"instances": [an_instance(page[0], **OURS)]}, "zones/b": nothing_here()}
        return http(200, {"items": items, "nextPageToken": page[1]}, Date=noon)

    async with serving(say) as url, project_at(url) as project:
        listing = await project.inventory.machines()
    assert [one.thing.name for one in listing.found] == ["one", "two", "three"]
    assert {one.thing.seen_at for one in listing.found} == {datetime(2026, 11, 21, 12, tzinfo=UTC)}
    assert listing.unseen == ()


async def test_a_filter_that_fails_open_costs_nobody_a_vm() -> None:
    async def say(_: Asked) -> bytes:
        instances = [an_instance("theirs"), an_instance("ours", **OURS), an_instance("mine", mayfly="mine")]
        return http(200, {"items": {"zones/us-central1-a": {"instances": instances}}})

    async with serving(say) as url, project_at(url) as project:
        assert [one.thing.name for one in (await project.inventory.machines()).found] == ["ours"]


async def test_a_place_that_google_cannot_look_into_is_not_taken_for_empty() -> None:
    async def say(_: Asked) -> bytes:
        unreachable = {"warning": {"code": "UNREACHABLE", "message": "The zone could not be reached."}}
        items = {"zones/us-central1-a": unreachable, "zones/us-central1-b": nothing_here()}
        return http(200, {"items": items, "unreachables": ["zones/us-central1-c", "zones/us-central1-a"]})

    async with serving(say) as url, project_at(url) as project:
        assert set((await project.inventory.machines()).unseen) == {"us-central1-a", "us-central1-c"}


async def test_a_list_that_breaks_off_is_begun_again_and_nothing_is_in_it_twice() -> None:
    asked_for: list[str] = []

    async def say(asked: Asked) -> bytes | None:
        token = asked.query.get("pageToken", "")
        asked_for.append(token)
        if asked_for == ["", "second"]:
            return None  # the connection breaks
        page = {"": ("one", "second"), "second": ("two", "")}[token]
        items = {"zones/us-central1-a": {"instances": [an_instance(page[0], **OURS)]}}
        return http(200, {"items": items, "nextPageToken": page[1]})

    async with serving(say) as url, project_at(url) as project:
        listing = await project.inventory.machines()
    assert [one.thing.name for one in listing.found] == ["one", "two"]
    assert asked_for == ["", "second", "", "second"]


async def test_what_cannot_be_listed_is_said_and_not_taken_for_nothing() -> None:
    async def forbidden(_: Asked) -> bytes:
        message = "Required 'compute.instances.list' permission for 'projects/demo'"
        return http(403, {"error": {"code": 403, "message": message, "errors": [{"reason": "forbidden"}]}})

    async def broken(_: Asked) -> bytes:
        return http(503, {"error": {"code": 503, "message": "Try again"}})

    impatient = Policy(cloud_calls=Patience(2, seconds(5), seconds(0.01), seconds(0.01)))
    async with serving(forbidden) as url, project_at(url) as project:
        with pytest.raises(Forbidden, match=r"compute\.instances\.list"):
            await project.inventory.machines()
    async with serving(broken) as url, project_at(url, impatient) as project:
        with pytest.raises(Transient, match="list the reserved addresses of project demo"):
            await project.inventory.addresses()
