"""Ports `Machines`, `Leases` and `Creation` for VMs that live as long as their run, against the emulator."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.knobs import Knobs
from orchestrator.errors import AlreadyExists, BadResource, BadUsage, Conflict, Forbidden, NotFound, Stockout, Transient
from orchestrator.google_compute import GoogleCompute
from orchestrator.lease import Lease, Phase, read_lease
from orchestrator.seen import ABSENT, Machine
from tests.clocks import JumpingClock
from tests.contract.orchestrator_google import creating_at
from tests.contract.wires import Asked, http, passed_on, serving
from tests.contract.world import BUCKET, IP, OTHER_IP, PROJECT, TEMPLATE, VM, WORLD, ZONE, Running, running
from vm_agent.protocol import LEASE_ATTRIBUTE

NAME, HOUR = "worker-1", timedelta(hours=1)
OURS = Lease(
    epoch=7, nonce="ours", key="monday 07:00", phase=Phase.CLAIMED, expires_at=datetime(2030, 1, 1, tzinfo=UTC)
)
THEIRS = replace(OURS, nonce="theirs", key="tuesday")


@pytest.fixture
async def google(emulator: Running) -> AsyncIterator[GoogleCompute]:
    async with creating_at(emulator.url, clock=JumpingClock()) as google:
        yield google


async def leased(google: GoogleCompute, lease: Lease = OURS) -> Machine:
    await google.leases.write(await google.machines.look(NAME), lease)
    return await google.machines.look(NAME)


async def create(google: GoogleCompute, machine: Machine, address: str | None = None) -> Machine:
    assert google.creation is not None
    await google.creation.create(machine, await google.addresses.find(address) if address else None, HOUR)
    return await google.machines.look(NAME)


async def delete(google: GoogleCompute) -> Machine:
    assert google.creation is not None
    await google.creation.delete(await google.machines.look(NAME))
    return await google.machines.look(NAME)


# --- the lease ---------------------------------------------------------------------------------------------------


async def test_before_the_first_run_there_is_neither_a_vm_nor_a_lease(google: GoogleCompute) -> None:
    machine = await google.machines.look(NAME)
    assert (machine.status, machine.gone, machine.off) == (ABSENT, True, True)
    assert (machine.lease, machine.lease_generation) == (None, 0)
    assert abs(machine.seen_at - datetime.now(UTC)) < timedelta(minutes=5)


async def test_a_lease_is_written_where_there_is_no_vm(google: GoogleCompute, emulator: Running) -> None:
    assert (await leased(google)).lease == OURS
    path = f"{emulator.url}/storage/v1/b/{BUCKET}/o/leases%2F{PROJECT}%2F{ZONE}%2F{NAME}%2Flease.json?alt=media"
    async with httpx.AsyncClient() as person:
        assert read_lease((await person.get(path)).text) == OURS


async def test_a_lease_replaces_the_one_that_was_seen_and_no_other(google: GoogleCompute) -> None:
    before = await google.machines.look(NAME)
    after = await leased(google)
    with pytest.raises(Conflict):
        await google.leases.write(before, THEIRS)
    await google.leases.write(after, OURS.released())
    with pytest.raises(Conflict):
        await google.leases.write(after, THEIRS)
    assert (await google.machines.look(NAME)).lease == OURS.released()


async def test_of_many_who_saw_the_same_only_one_gets_the_lease(google: GoogleCompute) -> None:
    seen = await google.machines.look(NAME)
    leases = [replace(OURS, nonce=f"{number}") for number in range(8)]
    ended = await asyncio.gather(*(google.leases.write(seen, lease) for lease in leases), return_exceptions=True)
    assert sorted(map(type, ended), key=str) == sorted([type(None), *[Conflict] * 7], key=str)
    assert (await google.machines.look(NAME)).lease == leases[ended.index(None)]


async def test_a_lease_whose_first_reply_was_lost_is_ours_all_the_same(emulator: Running) -> None:
    async with serving(losing_the_first_reply_to("/upload/", emulator)) as url, creating_at(url) as google:
        assert (await leased(google)).lease == OURS
    assert emulator.verbs().count("objects.insert") == 2


async def test_a_lease_that_another_wrote_after_ours_was_lost_is_theirs(emulator: Running) -> None:
    """Our write landed, its reply was lost, and before our second try somebody else took what we had."""
    async with creating_at(emulator.url) as theirs:

        async def take_over() -> None:
            await theirs.leases.write(await theirs.machines.look(NAME), THEIRS)

        wire = serving(losing_the_first_reply_to("/upload/", emulator, then=take_over))
        async with wire as url, creating_at(url) as google:
            with pytest.raises(Conflict):
                await leased(google)
            assert (await google.machines.look(NAME)).lease == THEIRS


async def test_a_value_that_is_no_lease_can_be_written_over(google: GoogleCompute, emulator: Running) -> None:
    name = f"leases/{PROJECT}/{ZONE}/{NAME}/lease.json"
    url = f"{emulator.url}/upload/storage/v1/b/{BUCKET}/o?uploadType=media&name={name}"
    async with httpx.AsyncClient() as person:
        (await person.post(url, content=b"\xff not json")).raise_for_status()
    machine = await google.machines.look(NAME)
    assert (machine.lease, machine.lease_generation > 0) == (None, True)
    assert (await leased(google)).lease == OURS


async def test_leases_of_two_vms_do_not_meet(google: GoogleCompute, emulator: Running) -> None:
    await leased(google)
    async with creating_at(emulator.url, instance="worker-2") as other:
        assert (await other.machines.look("worker-2")).lease is None


async def test_a_bucket_that_is_not_there_is_named_with_how_to_make_it(emulator: Running) -> None:
    async with creating_at(emulator.url, state_url="gs://nobody-has-this") as google:
        with pytest.raises(NotFound, match=r"no bucket nobody-has-this: check STATE_URL, .*buckets create"):
            await leased(google)


@pytest.mark.parametrize("url", ["s3://bucket/x", "gs://", "bucket", "gs://Bucket/x", "gs://bucket/x?y"])
async def test_a_state_url_that_is_none_is_refused(emulator: Running, url: str) -> None:
    with pytest.raises(BadUsage, match="write gs://BUCKET"):
        async with creating_at(emulator.url, state_url=url):
            pass


async def test_a_permission_that_is_missing_is_named() -> None:
    message = (
        "mayfly@p.iam.gserviceaccount.com does not have storage.objects.get access to the Google Cloud Storage object. "
        "Permission 'storage.objects.get' denied on resource (or it may not exist)."
    )
    error = {
        "code": 403,
        "message": message,
        "errors": [{"message": message, "domain": "global", "reason": "forbidden"}],
    }

    async def say(asked: Asked) -> bytes:
        return http(403, {"error": error}) if "/storage/" in asked.path else http(200, {"name": NAME, "id": "1"})

    async with serving(say) as url, creating_at(url) as google:
        with pytest.raises(Forbidden, match=r"lacks the permission storage\.objects\.get"):
            await google.machines.look(NAME)


async def test_a_storage_that_fails_for_a_while_is_asked_again(google: GoogleCompute, emulator: Running) -> None:
    emulator.fault(on="objects.get", reply={"status": 503}, times=2)
    emulator.fault(on="objects.insert", reply={"status": 429}, times=2)
    assert (await leased(google)).lease == OURS


async def test_a_storage_that_keeps_failing_is_no_free_lease(emulator: Running) -> None:
    async def say(asked: Asked) -> bytes:
        return http(503, {}) if "/storage/" in asked.path else await passed_on(asked, emulator.port)

    async with serving(say) as url, creating_at(url, clock=JumpingClock()) as google:
        with pytest.raises(Transient, match="read the lease in gs://"):
            await google.machines.look(NAME)


# --- the VM ------------------------------------------------------------------------------------------------------


async def test_a_vm_is_made_armed_labelled_with_its_address_and_a_copy_of_the_lease(
    google: GoogleCompute, emulator: Running
) -> None:
    machine = await create(google, await leased(google), IP)
    assert machine.running
    assert (machine.max_run, machine.termination_action, machine.automatic_restart) == (HOUR, "DELETE", False)
    assert machine.scheduling["onHostMaintenance"] == "TERMINATE"
    assert machine.access_config is not None
    assert machine.access_config.ip == emulator.address(IP)
    assert {name: machine.labels[name] for name in ("mayfly", "team")} == {"mayfly": "managed", "team": "audio"}
    assert machine.metadata["colour"] == "blue"
    assert read_lease(machine.metadata[LEASE_ATTRIBUTE]) == OURS
    assert machine.metadata["mayfly-state"] == f"gs://{BUCKET}/leases/{PROJECT}/{ZONE}/{NAME}/lease.json"
    inserts = [entry["body"] for entry in emulator.history("request") if entry["verb"] == "instances.insert"]
    assert [body["scheduling"]["maxRunDuration"] for body in inserts] == [{"seconds": "3600"}]
    assert (await delete(google)).status == ABSENT
    assert (await google.addresses.find(IP)).users == ()


async def test_a_vm_without_an_address_has_what_its_template_gives_it(google: GoogleCompute) -> None:
    assert (await create(google, await leased(google))).access_config is None
    await delete(google)


@pytest.mark.parametrize(
    "template",
    [
        f"global/instanceTemplates/{TEMPLATE}",
        f"projects/{PROJECT}/global/instanceTemplates/{TEMPLATE}",
        f"https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/instanceTemplates/{TEMPLATE}",
    ],
)
async def test_a_template_may_be_named_by_its_url(emulator: Running, template: str) -> None:
    async with creating_at(emulator.url, template=template) as google:
        assert (await create(google, await leased(google))).running
        await delete(google)


async def test_a_template_that_is_not_there_is_named(emulator: Running) -> None:
    async with creating_at(emulator.url, template="nobody") as google:
        with pytest.raises(NotFound, match=r"no instance template .*/nobody: check TEMPLATE"):
            await create(google, await leased(google))
    assert "instances.insert" not in emulator.verbs()


async def test_a_vm_that_this_run_made_already_is_fine(google: GoogleCompute) -> None:
    machine = await leased(google)
    first = await create(google, machine)
    assert (await create(google, machine)).id == first.id
    await delete(google)


async def test_a_vm_that_another_run_made_is_left_alone(google: GoogleCompute) -> None:
    first = await create(google, await leased(google))
    with pytest.raises(BadResource, match="was not made for run tuesday"):
        await create(google, replace(first, lease=THEIRS))
    assert (await google.machines.look(NAME)).id == first.id
    await delete(google)


async def test_a_vm_of_somebody_else_is_left_alone(emulator: Running) -> None:
    async with creating_at(emulator.url, instance=VM) as google:
        await google.leases.write(await google.machines.look(VM), OURS)
        assert google.creation is not None
        with pytest.raises(BadResource, match="was not made for run"):
            await google.creation.create(await google.machines.look(VM), None, HOUR)


async def test_a_disk_that_has_the_name_is_no_vm_of_ours(google: GoogleCompute, emulator: Running) -> None:
    zone = f"{emulator.url}/compute/v1/projects/{PROJECT}/zones/{ZONE}"
    url = f"{zone}/instances?sourceInstanceTemplate=global/instanceTemplates/{TEMPLATE}"
    async with httpx.AsyncClient() as person:
        body = {"name": NAME, "disks": [{"boot": True, "autoDelete": False}]}
        begun = (await person.post(url, json=body)).raise_for_status().json()
        (await person.post(f"{zone}/operations/{begun['name']}/wait")).raise_for_status()
    await delete(google)
    with pytest.raises(AlreadyExists, match=f"disks/{NAME}' already exists"):
        await create(google, await leased(google))


async def test_an_insert_whose_reply_was_lost_makes_one_vm(emulator: Running) -> None:
    async with serving(losing_the_first_reply_to("/instances", emulator, "POST")) as url, creating_at(url) as google:
        assert (await create(google, await leased(google))).running
        await delete(google)
    assert states(emulator).count("RUNNING") == 1


async def test_an_insert_that_was_lost_and_forgotten_too_makes_one_vm(tmp_path: Path) -> None:
    """Google may forget a requestId: then the name is taken, and the label says by whom."""
    forgetful = Knobs(request_id_memory_seconds=0)
    with running(lambda: Emulator(seed=WORLD, folder=tmp_path, knobs=forgetful)) as port:
        emulator = Running(port)
        wire = serving(losing_the_first_reply_to("/instances", emulator, "POST"))
        async with wire as url, creating_at(url) as google:
            assert (await create(google, await leased(google))).running
            await delete(google)
        assert states(emulator).count("RUNNING") == 1


async def test_a_stockout_leaves_no_vm_and_a_free_address(google: GoogleCompute, emulator: Running) -> None:
    stockout = {"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": "Try later.", "status": 503}
    emulator.fault(on="instances.insert", operation_error=stockout)
    machine = await leased(google)
    with pytest.raises(Stockout):
        await create(google, machine, IP)
    assert (await google.machines.look(NAME)).status == ABSENT
    assert (await google.addresses.find(IP)).users == ()


async def test_an_address_in_use_makes_no_vm(google: GoogleCompute) -> None:
    machine = await leased(google)
    with pytest.raises(BadResource, match="something else uses it"):
        await create(google, machine, OTHER_IP)
    assert (await google.machines.look(NAME)).status == ABSENT


async def test_deleting_a_vm_that_is_gone_is_fine(google: GoogleCompute) -> None:
    assert (await delete(google)).status == ABSENT


async def test_a_deletion_whose_reply_was_lost_is_seen_through(emulator: Running) -> None:
    async with serving(losing_the_first_reply_to(NAME, emulator, "DELETE")) as url, creating_at(url) as google:
        await create(google, await leased(google))
        assert (await delete(google)).status == ABSENT
    assert states(emulator)[-2:] == ["STOPPING", ""]


async def test_the_lease_outlives_the_vm_and_the_next_vm_is_another_one(google: GoogleCompute) -> None:
    ids = set()
    for _ in (1, 2):
        ids.add((await create(google, await leased(google))).id)
        assert (await delete(google)).lease == OURS
    assert len(ids) == 2


def states(emulator: Running) -> list[str]:
    return [entry["to"] for entry in emulator.history("state") if entry["resource"] == f"instances/{NAME}"]


def losing_the_first_reply_to(
    path: str, emulator: Running, method: str = "POST", then: Callable[[], Any] | None = None
) -> Callable[[Asked], Any]:
    lost: list[Asked] = []

    async def say(asked: Asked) -> bytes | None:
        answer = await passed_on(asked, emulator.port)
        if path in asked.path and asked.method == method and not lost:
            lost.append(asked)
            if then:
                await then()
            return None
        return answer

    return say
