"""Port `Machines` against the emulator: Google's client library, our words."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gcp_emulator.emulator import Emulator
from gcp_emulator.seed import InstanceSeed, Seed
from orchestrator.errors import (
    BadResource,
    BadUsage,
    Conflict,
    Forbidden,
    LeaseLost,
    NotFound,
    QuotaExceeded,
    Stockout,
    Transient,
)
from orchestrator.google_compute import GoogleCompute, open_google
from orchestrator.lease import Lease, Phase
from orchestrator.policy import Policy
from tests.clocks import JumpingClock
from tests.contract.orchestrator_google import google_at
from tests.contract.world import PROJECT, REGION, VM, ZONE, Running, running
from vm_agent.protocol import BOOT_REPORT, PUBLICATION


@pytest.fixture
async def clock() -> JumpingClock:
    return JumpingClock()


@pytest.fixture
async def google(emulator: Running, clock: JumpingClock) -> AsyncIterator[GoogleCompute]:
    async with google_at(emulator.url, clock) as google:
        yield google


async def test_a_look_shows_the_vm_as_it_is(google: GoogleCompute) -> None:
    machine = await google.machines.look(VM)
    assert machine.off
    assert machine.metadata["colour"] == "blue"
    assert machine.access_config is None
    assert machine.max_run is None
    assert machine.lease is None
    assert machine.internal_ip.startswith("127.")
    assert machine.id.isdigit()


async def test_a_vm_that_does_not_exist_is_named_with_the_settings_to_check(google: GoogleCompute) -> None:
    with pytest.raises(NotFound, match=f"no VM nobody in zone {ZONE} of project {PROJECT}: check INSTANCE, ZONE"):
        await google.machines.look("nobody")


async def test_a_start_is_seen_through_and_one_more_is_fine(google: GoogleCompute) -> None:
    await google.machines.start(await google.machines.look(VM))
    machine = await google.machines.look(VM)
    assert machine.running
    await google.machines.start(machine)
    await google.machines.stop(machine)
    assert (await google.machines.look(VM)).off


async def test_stopping_a_vm_that_is_off_or_gone_is_fine(google: GoogleCompute) -> None:
    machine = await google.machines.look(VM)
    await google.machines.stop(machine)
    await google.machines.stop(replace(machine, name="gone"))


async def test_arming_keeps_the_rest_of_the_scheduling_and_can_be_done_again(google: GoogleCompute) -> None:
    before = await google.machines.look(VM)
    await google.machines.arm(before, timedelta(hours=1))
    once = await google.machines.look(VM)
    assert (once.max_run, once.termination_action, once.automatic_restart) == (timedelta(hours=1), "STOP", False)
    assert once.scheduling["onHostMaintenance"] == before.scheduling["onHostMaintenance"]
    await google.machines.arm(once, timedelta(minutes=90))
    assert (await google.machines.look(VM)).max_run == timedelta(minutes=90)


async def test_a_running_vm_cannot_be_armed(google: GoogleCompute) -> None:
    machine = await google.machines.look(VM)
    await google.machines.start(machine)
    with pytest.raises(Conflict, match="is on, and takes no time limit"):
        await google.machines.arm(machine, timedelta(hours=1))
    await google.machines.stop(machine)


async def test_a_limit_that_google_does_not_take_from_a_vm_that_is_off_is_told(
    emulator: Running, google: GoogleCompute
) -> None:
    refusal = {"status": 400, "reason": "invalid", "message": "Invalid value for field 'maxRunDuration'."}
    emulator.fault(on="instances.setScheduling", reply=refusal)
    with pytest.raises(BadResource, match="set the time limit of"):
        await google.machines.arm(await google.machines.look(VM), timedelta(hours=1))


@pytest.mark.parametrize(
    ("code", "status", "error"),
    [
        ("ZONE_RESOURCE_POOL_EXHAUSTED", 503, Stockout),
        ("ZONE_RESOURCE_POOL_EXHAUSTED_WITH_DETAILS", 503, Stockout),
        ("QUOTA_EXCEEDED", 403, QuotaExceeded),
        ("SOMETHING_NEW", 400, BadResource),
    ],
)
async def test_an_operation_that_fails_says_why(
    google: GoogleCompute, emulator: Running, code: str, status: int, error: type[Exception]
) -> None:
    emulator.fault(on="instances.start", operation_error={"code": code, "message": "So it is.", "status": status})
    machine = await google.machines.look(VM)
    with pytest.raises(error, match="So it is"):
        await google.machines.start(machine)
    assert emulator.verbs().count("instances.start") == 1


@pytest.mark.parametrize("reply", [{"status": 503}, {"status": 429}, {"status": 400, "reason": "resourceNotReady"}])
async def test_what_passes_is_tried_again(google: GoogleCompute, emulator: Running, reply: dict[str, Any]) -> None:
    emulator.fault(on="instances.stop", times=2, reply=reply)
    await google.machines.stop(await google.machines.look(VM))
    assert emulator.verbs().count("instances.stop") == 3


@pytest.mark.parametrize("verb", ["start", "stop"])
async def test_a_start_or_stop_is_tried_again_only_after_another_look(
    google: GoogleCompute, emulator: Running, verb: str
) -> None:
    """Google takes both from anybody at any time: a zombie's late stop would hit the run of whoever came after it."""
    emulator.fault(on=f"instances.{verb}", times=2, reply={"status": 503})
    looks = 0

    async def again() -> None:
        nonlocal looks
        looks += 1
        if looks > 1:
            raise LeaseLost("Somebody else took the lease.")

    machine = await google.machines.look(VM)
    with pytest.raises(LeaseLost):
        await getattr(google.machines, verb)(machine, again)
    assert emulator.verbs().count(f"instances.{verb}") == looks == 2


async def test_what_does_not_pass_is_given_up_and_says_what_was_tried(
    google: GoogleCompute, emulator: Running, clock: JumpingClock
) -> None:
    emulator.fault(on="instances.get", times=8, reply={"status": 503, "message": "Not today."})
    with pytest.raises(Transient, match=rf"Cannot look at the VM {VM} .*Not today\."):
        await google.machines.look(VM)
    assert clock.monotonic() <= 75


async def test_a_rate_limit_is_waited_out_until_the_next_full_minute(
    google: GoogleCompute, emulator: Running, clock: JumpingClock
) -> None:
    emulator.fault(on="instances.get", reply={"status": 403, "reason": "rateLimitExceeded", "message": "Slow down."})
    before = datetime.now(UTC).replace(microsecond=0)
    await google.machines.look(VM)
    [pause] = clock.pauses
    after = datetime.now(UTC)
    assert 1 <= pause <= 61.3
    assert any((moment.second + pause) >= 60 for moment in (before, after))


async def test_a_missing_permission_is_named(google: GoogleCompute, emulator: Running) -> None:
    said = "Required 'compute.instances.start' permission for 'projects/demo/zones/us-central1-a/instances/gpu-vm'"
    emulator.fault(on="instances.start", reply={"status": 403, "reason": "forbidden", "message": said})
    with pytest.raises(Forbidden, match=r"lacks the permission compute\.instances\.start\."):
        await google.machines.start(await google.machines.look(VM))


async def test_unknown_credentials_are_a_matter_of_logging_in(google: GoogleCompute, emulator: Running) -> None:
    emulator.fault(on="instances.get", reply={"status": 401, "reason": "authError", "message": "Who?"})
    with pytest.raises(BadUsage, match="gcloud auth application-default login"):
        await google.machines.look(VM)


async def test_the_console_shows_its_last_lines(google: GoogleCompute, emulator: Running) -> None:
    await _boot(google, "for n in 1 2 3 4 5; do echo line $n; done; sleep 1000")
    machine = await google.machines.look(VM)
    await _until_console_ends_with("line 5", google)
    assert await google.machines.console(machine, 2) == "line 4\nline 5"
    await google.machines.stop(machine)


async def test_what_the_startup_script_published_is_read(google: GoogleCompute, emulator: Running) -> None:
    report = json.dumps({"epoch": 5, "stage": "secrets", "status": "failed", "detail": "no such secret"})
    put = 'curl -sf -X PUT -H "Metadata-Flavor: Google" --data-binary'
    url = "http://$GCE_METADATA_HOST/computeMetadata/v1/instance/guest-attributes/mayfly/boot"
    machine = await google.machines.look(VM)
    assert await google.machines.published(machine, BOOT_REPORT) is None
    await _boot(google, f"{put} '{report}' {url}; echo put; sleep 1000")
    await _until_console_ends_with("put", google)
    assert await google.machines.published(machine, BOOT_REPORT) == report
    assert await google.machines.published(machine, PUBLICATION) is None
    await google.machines.stop(machine)


async def test_a_vm_with_scratch_disks_is_stopped_with_leave_to_lose_them(tmp_path: Path) -> None:
    seed = Seed(instances=(InstanceSeed(VM, local_ssd=True, status="RUNNING"),))
    with running(lambda: Emulator(seed=seed, folder=tmp_path)) as port:
        async with google_at(f"http://127.0.0.1:{port}") as google:
            machine = await google.machines.look(VM)
            assert machine.has_local_ssd
            await google.machines.stop(machine)
            assert (await google.machines.look(VM)).off


def test_without_credentials_one_is_told_how_to_log_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    with pytest.raises(BadUsage, match="gcloud auth application-default login"):
        open_google(PROJECT, REGION, ZONE, Policy(), JumpingClock())


async def _boot(google: GoogleCompute, script: str) -> None:
    """Start the VM with that startup script. Metadata is written the way that leases are."""
    machine = await google.machines.look(VM)
    with_script = replace(machine, metadata={**machine.metadata, "startup-script": f"#!/bin/bash\n{script}\n"})
    await google.leases.write(with_script, Lease(epoch=5, phase=Phase.CLAIMED))
    await google.machines.start(machine)


async def _until_console_ends_with(line: str, google: GoogleCompute) -> None:
    machine = await google.machines.look(VM)
    while await google.machines.console(machine, 1) != line:
        await asyncio.sleep(0.02)
