"""Google's administrative APIs, asked by our adaptor: the emulator's Compute Engine and Secret Manager answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.seed import InstanceSeed, Seed
from mayfly.google import google_of
from orchestrator.errors import AlreadyExists, BadUsage, NotFound, QuotaExceeded, Transient
from orchestrator.google_admin import GoogleAdmin, Service
from orchestrator.google_errors import Subject
from orchestrator.settings_reading import read_settings
from tests.contract.world import PROJECT, Running, running

ADDRESSES = f"projects/{PROJECT}/regions/us-central1/addresses"
INSTANCES = f"projects/{PROJECT}/zones/us-central1-a/instances"
DOING = Subject("do it", "It is not there.")


@asynccontextmanager
async def admin_at(emulator: Running) -> AsyncIterator[GoogleAdmin]:
    hosts = dict.fromkeys(("compute", "secret_manager", "run", "storage"), f"127.0.0.1:{emulator.port}")
    settings = read_settings(
        project_id=PROJECT,
        zone="us-central1-a",
        instance="vm",
        static_name="ip",
        gce_metadata_host=f"127.0.0.1:{emulator.port}",
        **{f"{name}_emulator_host": host for name, host in hosts.items()},
    )
    async with google_of(settings) as admin:
        yield admin


async def test_a_thing_is_made_found_and_removed_each_followed_to_its_end(tmp_path: Path) -> None:
    with running(lambda: Emulator(seed=Seed(), folder=tmp_path, latency="brisk")) as port:
        emulator = Running(port)
        async with admin_at(emulator) as admin:
            assert await admin.find(Service.COMPUTE, f"{ADDRESSES}/ip", DOING) is None
            with pytest.raises(NotFound, match="It is not there"):
                await admin.get(Service.COMPUTE, f"{ADDRESSES}/ip", DOING)
            made = await admin.post(Service.COMPUTE, ADDRESSES, {"name": "ip"}, DOING)
            await admin.finished(Service.COMPUTE, made, DOING)
            found = await admin.get(Service.COMPUTE, f"{ADDRESSES}/ip", DOING)
            assert found["status"] == "RESERVED"
            with pytest.raises(AlreadyExists):
                await admin.post(Service.COMPUTE, ADDRESSES, {"name": "ip"}, DOING)
            gone = await admin.delete(Service.COMPUTE, f"{ADDRESSES}/ip", DOING)
            await admin.finished(Service.COMPUTE, gone or {}, DOING)
            assert await admin.delete(Service.COMPUTE, f"{ADDRESSES}/ip", DOING) is None


async def test_a_list_is_given_page_after_page(tmp_path: Path) -> None:
    names = [f"vm-{number}" for number in range(5)]
    with running(lambda: Emulator(seed=Seed(instances=tuple(map(InstanceSeed, names))), folder=tmp_path)) as port:
        async with admin_at(Running(port)) as admin:
            listed = admin.list(Service.COMPUTE, INSTANCES, "items", DOING, maxResults="2")
            assert [vm["name"] async for vm in listed] == names


async def test_an_operation_that_ends_badly_raises_what_it_ended_with(tmp_path: Path) -> None:
    with running(lambda: Emulator(seed=Seed(), folder=tmp_path)) as port:
        emulator = Running(port)
        emulator.fault(on="addresses.insert", operation_error={"code": "QUOTA_EXCEEDED"})
        async with admin_at(emulator) as admin:
            made = await admin.post(Service.COMPUTE, ADDRESSES, {"name": "ip"}, DOING)
            with pytest.raises(QuotaExceeded):
                await admin.finished(Service.COMPUTE, made, DOING)
        assert emulator.ask("faults")["all_spent"]


async def test_what_must_not_be_sent_twice_is_sent_once_and_what_may_is_tried_again(tmp_path: Path) -> None:
    with running(lambda: Emulator(seed=Seed(), folder=tmp_path)) as port:
        emulator = Running(port)
        async with admin_at(emulator) as admin:
            for again, sent_so_far in ((False, 1), (True, 3)):
                emulator.fault(on="addresses.insert", reply={"status": 503, "reason": "backendError"})
                sending = admin.post(Service.COMPUTE, ADDRESSES, {"name": "ip"}, DOING, again=again)
                (outcome,) = await asyncio.gather(sending, return_exceptions=True)
                assert isinstance(outcome, dict if again else Transient), outcome
                assert emulator.verbs().count("addresses.insert") == sent_so_far
        assert emulator.ask("faults")["all_spent"]


def test_half_an_emulator_is_refused_before_anything_is_sent() -> None:
    settings = read_settings(
        project_id=PROJECT, zone="us-central1-a", instance="vm", static_name="ip", compute_emulator_host="127.0.0.1:1"
    )

    async def open_it() -> None:
        async with google_of(settings):
            raise AssertionError("it was opened")

    with pytest.raises(
        BadUsage, match="SECRET_MANAGER_EMULATOR_HOST, STORAGE_EMULATOR_HOST, RUN_EMULATOR_HOST not set"
    ):
        asyncio.run(open_it())
