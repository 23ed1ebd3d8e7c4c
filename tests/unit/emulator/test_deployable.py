"""What a deployment makes, one by one: accounts, APIs, repositories and images, firewall rules, and what it reads."""

from typing import Any

import pytest

from gcp_emulator.seed import BadSeedError, ImageSeed, InstanceSeed, ProjectSeed, Seed, empty_seed
from tests.unit.emulator.inside import SOME_TIME, VM, Inside

PROJECT = "/v1/projects/demo"
ACCOUNTS = f"{PROJECT}/serviceAccounts"
VM_ACCOUNT = "mayfly-vm@demo.iam.gserviceaccount.com"
REPOSITORIES = f"{PROJECT}/locations/us-central1/repositories"
FIREWALLS = "projects/demo/global/firewalls"
RULE = {"name": "mayfly-agent", "allowed": [{"IPProtocol": "tcp", "ports": ["8000"]}], "targetTags": ["mayfly"]}
URI = "us-central1-docker.pkg.dev/demo/mayfly/orchestrator"


def test_an_account_is_made_shown_changed_and_deleted():
    inside = Inside()
    account = inside.post(ACCOUNTS, {"accountId": "mayfly-vm", "serviceAccount": {"displayName": "VMs"}})
    assert (account["email"], account["displayName"]) == (VM_ACCOUNT, "VMs")
    assert inside.get(f"{ACCOUNTS}/{account['uniqueId']}") == inside.get(f"/v1/projects/-/serviceAccounts/{VM_ACCOUNT}")
    change = {"serviceAccount": {"description": "of Mayfly"}, "updateMask": "description"}
    assert inside.say("PATCH", f"{ACCOUNTS}/{VM_ACCOUNT}", change)[1]["description"] == "of Mayfly"
    assert VM_ACCOUNT in [one["email"] for one in inside.get(ACCOUNTS)["accounts"]]
    assert inside.refused("POST", ACCOUNTS, {"accountId": "mayfly-vm"})[:2] == (409, "ALREADY_EXISTS")
    assert inside.say("DELETE", f"{ACCOUNTS}/{VM_ACCOUNT}") == (200, {})
    assert inside.refused("GET", f"{ACCOUNTS}/{VM_ACCOUNT}")[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize("identifier", ["short", "Capital-letters", "1-begins-with-a-digit", "a" * 31])
def test_an_account_cannot_be_called_so(identifier: str):
    assert Inside().refused("POST", ACCOUNTS, {"accountId": identifier})[0] == 400


def test_a_new_project_has_no_api_no_account_and_one_owner():
    inside = Inside(empty_seed())
    on = [one["config"]["name"] for one in inside.get(f"{PROJECT}/services?filter=state:ENABLED")["services"]]
    assert on == ["cloudresourcemanager.googleapis.com", "serviceusage.googleapis.com"]
    assert inside.cloud.world.accounts == {}
    policy = inside.post(f"{PROJECT}:getIamPolicy", {})
    assert policy["bindings"] == [{"role": "roles/owner", "members": ["user:user@example.com"]}]


def test_apis_are_enabled_together_and_once():
    inside = Inside(empty_seed())
    wanted = {"serviceIds": ["compute.googleapis.com", "run.googleapis.com"]}
    operation = inside.post(f"{PROJECT}/services:batchEnable", wanted)
    assert "done" not in operation
    done = inside.get(f"/v1/{operation['name']}")
    assert done["done"] is True
    assert {one["state"] for one in done["response"]["services"]} == {"ENABLED"}
    again = inside.post(f"{PROJECT}/services:batchEnable", wanted)
    assert (again["name"], again["done"]) == ("operations/noop.DONE_OPERATION", True)
    inside.post(f"{PROJECT}/services/run.googleapis.com:disable", {})
    assert inside.get(f"{PROJECT}/services/run.googleapis.com")["state"] == "DISABLED"
    none = f"{PROJECT}/services/none.googleapis.com"
    assert inside.refused("POST", f"{none}:enable", {})[:2] == (403, "PERMISSION_DENIED")


def test_with_compute_engine_comes_its_account():
    inside = Inside(empty_seed())
    inside.post(f"{PROJECT}/services/compute.googleapis.com:enable", {})
    assert list(inside.cloud.world.accounts) == ["123456789012-compute@developer.gserviceaccount.com"]


def test_a_repository_takes_its_time_and_holds_images_by_digest_and_tag():
    inside = Inside()
    operation = inside.post(
        f"{REPOSITORIES}?repositoryId=mayfly", {"format": "DOCKER", "labels": {"mayfly": "managed"}}
    )
    made = inside.get(f"/v1/{operation['name']}")["response"]
    assert made["name"] == REPOSITORIES.removeprefix("/v1/") + "/mayfly"
    assert inside.get(f"{REPOSITORIES}/mayfly")["registryUri"] == "us-central1-docker.pkg.dev/demo/mayfly"
    assert inside.refused("POST", f"{REPOSITORIES}?repositoryId=mayfly", {"format": "DOCKER"})[1] == "ALREADY_EXISTS"

    first = inside.post("/_emulator/images", {"uri": f"{URI}:v1"})
    second = inside.post("/_emulator/images", {"uri": f"{URI}:v1"})
    assert first["digest"] != second["digest"]
    tag = inside.get(f"{REPOSITORIES}/mayfly/packages/orchestrator/tags/v1")
    assert tag["version"].endswith(f"/versions/{second['digest']}"), "a tag moves to what was pushed last"
    image = inside.get(f"{REPOSITORIES}/mayfly/dockerImages/orchestrator@{first['digest']}")
    assert (image["uri"], "tags" in image) == (first["uri"], False)
    assert len(inside.get(f"{REPOSITORIES}/mayfly/dockerImages")["dockerImages"]) == 2
    assert inside.refused("GET", f"{REPOSITORIES}/mayfly/packages/orchestrator/tags/v2")[0] == 404

    inside.say("DELETE", f"{REPOSITORIES}/mayfly")
    inside.passes(0)
    assert inside.cloud.world.images == {}
    assert inside.refused("GET", f"{REPOSITORIES}/mayfly")[:2] == (404, "NOT_FOUND")


def test_what_cannot_be_pushed_is_refused():
    inside = Inside()
    assert "there is no" in inside.refused("POST", "/_emulator/images", {"uri": URI})[2]
    assert "is not LOCATION-docker.pkg.dev" in inside.refused("POST", "/_emulator/images", {"uri": "python:3"})[2]
    with pytest.raises(BadSeedError):
        Inside(Seed(images=(ImageSeed("us-central1-docker.pkg.dev/other/mayfly/x"),)))


def test_a_seed_has_images_and_the_repositories_they_are_in():
    inside = Inside(Seed(images=(ImageSeed(f"{URI}@sha256:{'a' * 64}"),)))
    [image] = inside.get(f"{REPOSITORIES}/mayfly/dockerImages")["dockerImages"]
    assert image["uri"] == f"{URI}@sha256:{'a' * 64}"


def test_a_firewall_rule_is_made_with_defaults_changed_and_deleted():
    inside = Inside(latency=SOME_TIME)
    inside.post(FIREWALLS, RULE)
    shown = inside.get(f"{FIREWALLS}/mayfly-agent")
    assert (shown["direction"], shown["priority"], shown["sourceRanges"]) == ("INGRESS", 1000, ["0.0.0.0/0"])
    assert shown["network"].endswith("/projects/demo/global/networks/default")
    assert inside.say("PATCH", f"{FIREWALLS}/mayfly-agent", {"sourceRanges": ["10.0.0.0/8"]})[0] == 200
    inside.passes(0)
    changed = inside.get(f"{FIREWALLS}/mayfly-agent")
    assert (changed["sourceRanges"], changed["targetTags"]) == (["10.0.0.0/8"], ["mayfly"])
    assert inside.refused("POST", FIREWALLS, RULE)[:2] == (409, "alreadyExists")
    inside.say("DELETE", f"{FIREWALLS}/mayfly-agent")
    inside.passes(0)
    assert inside.refused("GET", f"{FIREWALLS}/mayfly-agent")[:2] == (404, "notFound")


@pytest.mark.parametrize(
    "change",
    [{"allowed": []}, {"denied": [{"IPProtocol": "all"}]}, {"priority": 70000}, {"allowed": [{"ports": ["1"]}]}],
)
def test_a_firewall_rule_that_makes_no_sense_is_refused(change: dict[str, Any]):
    assert Inside().refused("POST", FIREWALLS, RULE | change)[:2] == (400, "invalid")


def test_a_rule_of_another_network_is_not_found():
    assert Inside().refused("POST", FIREWALLS, {**RULE, "network": "global/networks/none"})[:2] == (404, "notFound")


def test_labels_of_an_address_are_replaced_by_whoever_read_them_last():
    inside = Inside()
    address = "projects/demo/regions/us-central1/addresses/gpu-ip"
    change = {"labels": {"mayfly": "managed"}, "labelFingerprint": inside.get(address)["labelFingerprint"]}
    inside.post(f"{address}/setLabels", change)
    assert inside.get(address)["labels"] == {"mayfly": "managed"}
    assert inside.refused("POST", f"{address}/setLabels", change)[:2] == (412, "conditionNotMet")


def test_quotas_say_what_is_used_and_can_be_seeded():
    vm = InstanceSeed("gpu-vm", gpu="nvidia-tesla-t4", status="RUNNING")
    inside = Inside(Seed(projects=(ProjectSeed("demo", quotas={"GPUS_ALL_REGIONS": 0.0}),), instances=(vm,)))
    of_region = {one["metric"]: one for one in inside.get("projects/demo/regions/us-central1")["quotas"]}
    assert (of_region["NVIDIA_T4_GPUS"]["limit"], of_region["NVIDIA_T4_GPUS"]["usage"]) == (1, 1)
    assert of_region["PREEMPTIBLE_NVIDIA_T4_GPUS"]["usage"] == 0
    over_all = {one["metric"]: one for one in inside.get("projects/demo")["quotas"]}
    assert (over_all["GPUS_ALL_REGIONS"]["limit"], over_all["GPUS_ALL_REGIONS"]["usage"]) == (0, 1)


@pytest.mark.parametrize(
    ("name", "cpus", "memory"), [("e2-medium", 2, 4096), ("n1-standard-4", 4, 16384), ("g2-standard-8", 8, 32768)]
)
def test_a_machine_type_has_its_size(name: str, cpus: int, memory: int):
    shown = Inside().get(f"projects/demo/zones/us-central1-a/machineTypes/{name}")
    assert (shown["guestCpus"], shown["memoryMb"]) == (cpus, memory)


def test_a_project_is_shown_by_both_versions_and_a_strangers_to_nobody():
    inside = Inside()
    assert inside.get(PROJECT)["projectNumber"] == "123456789012"
    assert inside.get("/v3/projects/123456789012")["projectId"] == "demo"
    assert inside.refused("GET", "/v1/projects/others")[:2] == (403, "PERMISSION_DENIED")


def test_a_vm_that_is_off_gets_another_size_and_another_account():
    inside = Inside()
    inside.post(f"{VM}/setMachineType", {"machineType": "zones/us-central1-a/machineTypes/g2-standard-4"})
    inside.post(f"{VM}/setServiceAccount", {"email": VM_ACCOUNT})
    assert inside.vm()["machineType"].endswith("/g2-standard-4")
    assert inside.vm()["serviceAccounts"][0]["email"] == VM_ACCOUNT
    inside.post(f"{VM}/setServiceAccount", {})
    assert "serviceAccounts" not in inside.vm()
    inside.post(f"{VM}/start")
    body = {"machineType": "zones/us-central1-a/machineTypes/e2-medium"}
    assert inside.refused("POST", f"{VM}/setMachineType", body)[:2] == (400, "resourceNotReady")


def test_tags_are_replaced_by_whoever_read_them_last():
    inside = Inside()
    change = {"items": ["mayfly"], "fingerprint": inside.vm()["tags"]["fingerprint"]}
    inside.post(f"{VM}/setTags", change)
    assert inside.vm()["tags"]["items"] == ["mayfly"]
    assert inside.refused("POST", f"{VM}/setTags", change)[:2] == (412, "conditionNotMet")
