"""Ports `Leases` and `Addresses` against the emulator: Google's client library, our words."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.knobs import Knobs
from orchestrator.errors import BadResource, Conflict, NotFound
from orchestrator.google_compute import GoogleCompute
from orchestrator.lease import Lease, Phase
from orchestrator.seen import AccessConfig
from tests.clocks import JumpingClock
from tests.contract.orchestrator_google import google_at
from tests.contract.wires import Asked, http, passed_on, serving
from tests.contract.world import IP, OTHER_IP, OTHER_VM, SPARE_IP, VM, WORLD, Running, running

OURS = Lease(epoch=7, nonce="ours", key="monday", phase=Phase.CLAIMED)
THEIRS = replace(OURS, nonce="theirs")


@pytest.fixture
async def google(emulator: Running) -> AsyncIterator[GoogleCompute]:
    async with google_at(emulator.url, JumpingClock()) as google:
        yield google


async def test_a_lease_is_written_beside_everything_else_in_the_metadata(google: GoogleCompute) -> None:
    before = await google.machines.look(VM)
    await google.leases.write(before, OURS)
    after = await google.machines.look(VM)
    assert after.lease == OURS
    assert {**after.metadata, **before.metadata} == after.metadata


async def test_a_lease_replaces_the_one_that_was_seen(google: GoogleCompute) -> None:
    await google.leases.write(await google.machines.look(VM), OURS)
    await google.leases.write(await google.machines.look(VM), OURS.released())
    lease = (await google.machines.look(VM)).lease
    assert lease is not None
    assert lease.phase is Phase.FREE


@pytest.mark.parametrize("shown", ["reply", "operation"])
async def test_of_two_who_saw_the_same_only_one_gets_the_lease(tmp_path: Path, shown: Any) -> None:
    with running(lambda: Emulator(seed=WORLD, folder=tmp_path, knobs=Knobs(stale_fingerprint=shown))) as port:
        async with google_at(f"http://127.0.0.1:{port}") as google:
            seen = await google.machines.look(VM)
            writes = (google.leases.write(seen, lease) for lease in (OURS, THEIRS))
            outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert sorted(map(type, outcomes), key=str) == sorted([type(None), Conflict], key=str)
            winner = (OURS, THEIRS)[outcomes.index(None)]
            assert (await google.machines.look(VM)).lease == winner


async def test_a_lease_whose_first_reply_was_lost_is_written_once(emulator: Running) -> None:
    async with serving(_losing_the_first_reply_to("/setMetadata", emulator)) as url, google_at(url) as google:
        await google.leases.write(await google.machines.look(VM), OURS)
        assert (await google.machines.look(VM)).lease == OURS


async def test_an_address_is_found_with_its_users(google: GoogleCompute, emulator: Running) -> None:
    free, used = await google.addresses.find(IP), await google.addresses.find(OTHER_IP)
    assert (free.ip, free.users) == (emulator.address(IP), ())
    [user] = used.users
    assert user.endswith(f"/instances/{OTHER_VM}")


async def test_an_address_that_is_not_reserved_is_named_with_how_to_reserve_it(google: GoogleCompute) -> None:
    with pytest.raises(NotFound, match=r"no reserved address nowhere in region .*check STATIC_NAME, .*gcloud compute"):
        await google.addresses.find("nowhere")


async def test_an_address_is_attached_and_detached_as_often_as_one_likes(
    google: GoogleCompute, emulator: Running
) -> None:
    address = await google.addresses.find(IP)
    bare = await google.machines.look(VM)
    await google.addresses.attach(bare, address)
    await google.addresses.attach(bare, address)  # as somebody would who looked before the first
    attached = await google.machines.look(VM)
    await google.addresses.attach(attached, address)
    assert attached.access_config == AccessConfig("External NAT", address.ip)
    await google.addresses.detach(attached)
    await google.addresses.detach(attached)
    gone = await google.machines.look(VM)
    await google.addresses.detach(gone)
    assert gone.access_config is None
    assert emulator.verbs().count("instances.deleteAccessConfig") == 2


async def test_another_address_is_taken_off_first_by_its_own_name(google: GoogleCompute) -> None:
    machine, address = await google.machines.look(OTHER_VM), await google.addresses.find(IP)
    assert machine.access_config is not None
    await google.addresses.attach(machine, address)
    assert (await google.addresses.find(OTHER_IP)).users == ()
    config = (await google.machines.look(OTHER_VM)).access_config
    assert config is not None
    assert config.ip == address.ip


@pytest.mark.parametrize(
    "knobs",
    [Knobs(), Knobs(address_in_use_status=409), Knobs(address_in_use="operation")],
    ids=["400", "409", "operation"],
)
async def test_an_address_in_use_elsewhere_is_named_with_its_user(tmp_path: Path, knobs: Knobs) -> None:
    with running(lambda: Emulator(seed=WORLD, folder=tmp_path, knobs=knobs)) as port:
        async with google_at(f"http://127.0.0.1:{port}") as google:
            machine, taken = await google.machines.look(VM), await google.addresses.find(OTHER_IP)
            with pytest.raises(BadResource, match=rf"{OTHER_IP} .* is in use by .*{OTHER_VM}\. Free it there"):
                await google.addresses.attach(machine, taken)


@pytest.mark.parametrize("shown", ["reply", "operation"])
async def test_who_finds_that_somebody_else_attached_another_address_looks_again(tmp_path: Path, shown: Any) -> None:
    with running(lambda: Emulator(seed=WORLD, folder=tmp_path, knobs=Knobs(second_access_config=shown))) as port:
        async with google_at(f"http://127.0.0.1:{port}") as google:
            bare = await google.machines.look(VM)
            await google.addresses.attach(bare, await google.addresses.find(SPARE_IP))
            with pytest.raises(Conflict, match="another external IP"):
                await google.addresses.attach(bare, await google.addresses.find(IP))


async def test_an_attachment_and_a_detachment_whose_replies_were_lost_are_done_once(emulator: Running) -> None:
    async with serving(_losing_the_first_reply_to("AccessConfig", emulator)) as url, google_at(url) as google:
        await google.addresses.attach(await google.machines.look(VM), await google.addresses.find(IP))
        attached = await google.machines.look(VM)
        assert attached.access_config is not None
    async with serving(_losing_the_first_reply_to("AccessConfig", emulator)) as url, google_at(url) as google:
        await google.addresses.detach(attached)
        assert (await google.machines.look(VM)).access_config is None


async def test_replies_are_lost_and_forgotten_too_and_the_nic_still_says_what_happened(tmp_path: Path) -> None:
    forgetful = Knobs(request_id_memory_seconds=0)
    with running(lambda: Emulator(seed=WORLD, folder=tmp_path, knobs=forgetful)) as port:
        emulator = Running(port)
        async with serving(_losing_the_first_reply_to("/addAccessConfig", emulator)) as url, google_at(url) as google:
            await google.addresses.attach(await google.machines.look(VM), await google.addresses.find(IP))
            attached = await google.machines.look(VM)
        async with serving(_losing_the_first_reply_to("/deleteAccess", emulator)) as url, google_at(url) as google:
            await google.addresses.detach(attached)
            assert (await google.machines.look(VM)).access_config is None


async def test_the_address_of_a_vm_that_is_gone_is_detached(google: GoogleCompute) -> None:
    machine = await google.machines.look(OTHER_VM)
    await google.addresses.detach(replace(machine, name="gone"))


async def test_an_access_config_says_the_tier_of_its_address() -> None:
    bodies: list[bytes] = []

    async def answer(asked: Asked) -> bytes:
        if "/addresses/" in asked.path:
            return http(200, {"name": IP, "address": "34.1.2.3", "networkTier": "STANDARD"})
        bodies.append(asked.body)
        return http(200, {"name": "operation-1", "status": "DONE"} if asked.body else {"name": VM, "id": "1"})

    async with serving(answer) as url, google_at(url) as google:
        await google.addresses.attach(await google.machines.look(VM), await google.addresses.find(IP))
    assert b'"networkTier": "STANDARD"' in bodies[-1]


def _losing_the_first_reply_to(path: str, emulator: Running) -> Callable[[Asked], Any]:
    lost: list[Asked] = []

    async def say(asked: Asked) -> bytes | None:
        answer = await passed_on(asked, emulator.port)
        if path in asked.path and not lost:
            lost.append(asked)
            return None
        return answer

    return say
