"""A deployment that mayfly.toml no longer describes is not left behind: it would tick, and cost."""

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mayfly.deploy.carry_out import StepFailed
from mayfly.deploy.plan import in_words
from orchestrator.errors import BadUsage
from tests.journeys.deploying import VALUES, Project, a_project, done

ZONE = "compute/v1/projects/demo/zones/us-central1-a"
REGION = "compute/v1/projects/demo/regions/us-central1"
PLACE = "projects/demo/locations/us-central1/jobs"


@pytest.fixture
async def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Project]:
    async with a_project(tmp_path, monkeypatch) as project:
        yield project
        await project.all_is_well()


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({"zone": "us-east1-b"}, ["VM us-central1-a/gpu-vm", "IP us-central1/gpu-ip", "job us-central1/mayfly"]),
        ({"zone": "us-central1-b"}, ["VM us-central1-a/gpu-vm"]),
        ({"instance": "other"}, ["VM us-central1-a/gpu-vm"]),
        ({"static_name": "other"}, ["IP us-central1/gpu-ip"]),
        ({"job": {**VALUES["job"], "region": "us-east1"}}, ["job us-central1/mayfly"]),
        ({"job": {**VALUES["job"], "name": "other"}}, ["job us-central1/mayfly"]),
    ],
)
async def test_who_moves_or_renames_a_deployment_is_told_what_would_be_left_before_anything_is_touched(
    project: Project, changes: dict[str, Any], left: list[str]
) -> None:
    await project.deploy()
    before = len(project.changes())
    project.describe(**changes)
    for attempt in (project.deploy, project.destroy):
        with pytest.raises(BadUsage) as refused:
            await attempt()
        assert f"no longer describes: {', '.join(left)}. " in str(refused.value)
    assert project.changes()[before:] == []
    project.describe()
    await project.destroy()
    assert await project.holds() == Counter()
    project.describe(**changes)
    assert (await project.deploy()).done, "once the old one is gone, the new place is free"


async def test_what_was_left_and_then_deleted_by_hand_is_in_nobodys_way(project: Project) -> None:
    await project.deploy()
    project.describe(zone="us-east1-b")
    await project.post(f"{ZONE}/instances/gpu-vm", None, "DELETE")
    await project.post(f"{REGION}/addresses/gpu-ip", None, "DELETE")
    for name in ("mayfly-daily", "mayfly-sweep"):
        await project.post(f"v1/{PLACE}/{name}", None, "DELETE")
    with pytest.raises(BadUsage, match=r"no longer describes: job us-central1/mayfly\."):
        await project.deploy()
    await project.post(f"v2/{PLACE}/mayfly", None, "DELETE")
    await project.deploy()
    assert done((await project.deploy()).steps) == []
    project.describe()
    with pytest.raises(BadUsage, match=r"VM us-east1-b/gpu-vm, IP us-east1/gpu-ip, job us-east1/mayfly\."):
        await project.deploy()


async def test_a_vm_of_somebody_else_at_the_old_place_holds_up_nothing(project: Project) -> None:
    await project.deploy()
    vm = await project.vm()
    await project.post(f"{ZONE}/instances/gpu-vm", None, "DELETE")
    theirs = {name: vm[name] for name in ("name", "machineType", "networkInterfaces")}
    image = "projects/debian-cloud/global/images/family/debian-12"
    disk = {"boot": True, "autoDelete": True, "initializeParams": {"sourceImage": image}}
    await project.post(f"{ZONE}/instances", {**theirs, "disks": [disk]})
    await project.post(f"{ZONE}/instances/gpu-vm/stop", {})
    project.describe(instance="other")
    assert (await project.deploy()).done


FROM_TEMPLATE = {"template": "gpu-template", "instance": "gpu-worker", "state_url": "gs://demo-state/leases"}
LEASE = "leases/demo/us-central1-a/gpu-worker/lease.json"


async def _objects(project: Project) -> list[str]:
    return [entry["name"] for entry in (await project.ask("storage/v1/b/demo-state/o")).get("items", [])]


async def test_a_bucket_goes_with_its_leases(project: Project) -> None:
    project.describe(**FROM_TEMPLATE)
    await project.deploy()
    await project.store("demo-state", LEASE)
    await project.store("demo-state", "leases/demo/us-east1-b/other/lease.json")
    await project.destroy()
    assert await project.holds() == Counter()


@pytest.mark.parametrize(
    "theirs",
    ["elsewhere/demo/us-central1-a/x/lease.json", "lease.json", "leases/notes.txt", "leases/p2/z/x/lease.json"],
)
async def test_a_bucket_with_anything_else_in_it_stays_as_it_is_and_all_the_rest_goes(
    project: Project, theirs: str
) -> None:
    project.describe(**FROM_TEMPLATE)
    await project.deploy()
    for name in (LEASE, theirs):
        await project.store("demo-state", name)
    steps = await project.destroy()
    assert f"more in it than our leases: {theirs}: left as it is" in "\n".join(in_words(steps))
    assert sorted(await _objects(project)) == sorted([LEASE, theirs])
    assert await project.holds() == Counter({"buckets": 1})


async def test_a_job_that_somebody_deleted_takes_no_schedule_with_it(project: Project) -> None:
    await project.deploy()
    await project.post(f"v2/{PLACE}/mayfly", None, "DELETE")
    project.image = None
    deployed = await project.deploy()
    assert done(deployed.steps) == []
    assert any("docker push" in line for line in deployed.advice)
    assert (await project.holds())["schedules"] == 2
    project.describe(schedule=[])
    assert done((await project.deploy()).steps) == ["remove the schedule mayfly-daily"]


async def test_a_schedule_that_is_called_as_the_firewall_rule_is_removed_all_the_same(project: Project) -> None:
    project.describe(schedule=[{**VALUES["schedule"][0], "name": "agent"}])
    await project.deploy()
    project.describe(schedule=[])
    assert done((await project.deploy(dry_run=True)).steps)[-1] == "remove the schedule mayfly-agent"
    await project.destroy()
    assert await project.holds() == Counter()


async def test_a_gpu_on_an_image_without_its_driver_is_told_before_it_is_paid_for(project: Project) -> None:
    vm = {**VALUES["vm"], "machine_type": "g2-standard-4"}
    project.describe(vm=vm)
    told = (await project.deploy(dry_run=True)).advice
    assert any("has no driver for it" in line for line in told)
    project.describe(vm={**vm, "image": "demo/debian-with-driver"})
    assert not any("driver" in line for line in (await project.deploy(dry_run=True)).advice)


async def test_an_ip_that_somebody_uses_is_told_and_holds_up_nothing_else(project: Project) -> None:
    await project.deploy()
    used = {"status": 400, "reason": "resourceInUseByAnotherResource", "message": "gpu-ip is used by x"}
    await project.inject(on="addresses.delete", reply=used)
    with pytest.raises(StepFailed, match=r"remove the static IP gpu-ip.*is used by x"):
        await project.destroy()
    assert await project.holds() == Counter({"addresses": 1})
    assert done(await project.destroy()) == ["remove the static IP gpu-ip"]
    assert await project.holds() == Counter()
