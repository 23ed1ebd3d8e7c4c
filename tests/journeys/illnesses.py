"""Ways to make a project ill that a deploy has made: one thing each, as anybody could who owns it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from gcp_emulator.seed import PERSON
from orchestrator.lease import Lease, Phase
from tests.journeys.deploying import IMAGE
from tests.journeys.ward import COMPUTE, REGION, RUN, VM, Json, Ward

SCHEDULER = "v1/projects/demo/locations/us-central1/jobs"
SECRET = "v1/projects/demo/secrets/exchange"


@dataclass(frozen=True)
class Illness:
    """What is planted, the one line that must tell of it, and what mends it: a deploy, if nothing else is said."""

    plant: Callable[[Ward], object]
    line: tuple[str, str]  # check, level
    says: str
    mend: Callable[[Ward], object] = Ward.deploy


def left_behind() -> str:
    past = datetime.now(UTC) - timedelta(minutes=10)
    lease = Lease(epoch=7, nonce="theirs", key="monday", holder="somebody", phase=Phase.CLAIMED)
    return replace(lease, expires_at=past).to_json()


def _without(*names: str) -> Callable[[Ward], None]:
    def plant(ward: Ward) -> None:
        ward.scheduling(**dict.fromkeys(names))

    return plant


def _role_without(permission: str) -> Callable[[Ward], None]:
    def plant(ward: Ward) -> None:
        role = ward.get("v1/projects/demo/roles/mayflyOrchestrator")
        left = [one for one in role["includedPermissions"] if one != permission]
        ward.send(f"{'v1'}/{role['name']}?updateMask=includedPermissions", {"includedPermissions": left}, "PATCH")

    return plant


def _only_a_viewer(ward: Ward) -> None:
    _give(ward, "roles/viewer")


def _an_owner_again(ward: Ward) -> None:
    _give(ward, "roles/owner")


def _give(ward: Ward, role: str) -> None:
    policy = ward.send("v1/projects/demo:getIamPolicy", {})
    member = f"user:{PERSON}"
    others = [one for one in policy["bindings"] if member not in one["members"]]
    policy["bindings"] = [*others, {"role": role, "members": [member]}]
    ward.send("v1/projects/demo:setIamPolicy", {"policy": policy})


def _nobody_but(ward: Ward, secret: str, account: str) -> None:
    member = f"serviceAccount:{account}@demo.iam.gserviceaccount.com"
    bindings = [{"role": "roles/secretmanager.secretAccessor", "members": [member]}]
    ward.send(f"v1/projects/demo/secrets/{secret}:setIamPolicy", {"policy": {"bindings": bindings}})


def _labelled(ward: Ward, resource: str, labels: Json) -> None:
    seen = ward.get(resource)
    ward.send(f"{resource}/setLabels", {"labels": labels, "labelFingerprint": seen["labelFingerprint"]})


def _idle_address(ward: Ward) -> None:
    where = f"{COMPUTE}/regions/europe-west4/addresses"
    ward.send(where, {"name": "forgotten"})
    _labelled(ward, f"{where}/forgotten", {"mayfly": "managed"})


def _address_elsewhere(ward: Ward) -> None:
    ward.send(f"{REGION}/addresses/gpu-ip", method="DELETE")
    ward.send(f"{COMPUTE}/regions/europe-west4/addresses", {"name": "gpu-ip"})


def _address_back(ward: Ward) -> None:
    ward.send(f"{COMPUTE}/regions/europe-west4/addresses/gpu-ip", method="DELETE")
    ward.deploy()


def _address_on_another(ward: Ward) -> None:
    ip = ward.get(f"{REGION}/addresses/gpu-ip")["address"]
    config = {"name": "mine", "type": "ONE_TO_ONE_NAT", "natIP": ip}
    ward.another_vm(networkInterfaces=[{"network": "projects/demo/global/networks/default", "accessConfigs": [config]}])


def _gpu_in_use(ward: Ward) -> None:
    gpu = {"acceleratorType": "zones/us-central1-a/acceleratorTypes/nvidia-tesla-t4", "acceleratorCount": 1}
    ward.another_vm(guestAccelerators=[gpu], scheduling={"onHostMaintenance": "TERMINATE"})


def _without_account(ward: Ward) -> None:
    """There is no changing that in place here: another VM of that name, which its owner has put into our hands."""
    seen = ward.get(VM)
    ward.send(VM, method="DELETE")
    body = {name: seen[name] for name in ("labels", "tags", "scheduling", "guestAccelerators")}
    body["tags"] = {"items": seen["tags"]["items"]}
    nics = [{"network": "projects/demo/global/networks/default"}]
    ward.another_vm(name="gpu-vm", networkInterfaces=nics, **body)
    ward.send(f"{VM}/stop")
    ward.metadata(**{item["key"]: item["value"] for item in seen["metadata"]["items"]})


def _made_again(ward: Ward) -> None:
    ward.send(VM, method="DELETE")
    ward.deploy()


def _tokens_again(ward: Ward) -> None:
    ward.metadata(mayfly_agent_key=None)
    ward.deploy()


def _another_schedule(ward: Ward) -> None:
    entry = ward.get(f"{SCHEDULER}/mayfly-daily")
    target = {**entry["httpTarget"], "uri": entry["httpTarget"]["uri"].replace("/mayfly:run", "/other:run")}
    name = "projects/demo/locations/us-central1/jobs/mayfly-old"
    ward.send(SCHEDULER, {"name": name, "schedule": entry["schedule"], "httpTarget": target})


def _image_by_tag(task: Json) -> None:
    task["containers"][0]["image"] = IMAGE.partition("@")[0] + ":latest"


def _other_image(task: Json) -> None:
    task["containers"][0]["image"] = IMAGE.replace("aaa", "bbb")


def _short(task: Json) -> None:
    task["timeout"] = "3000s"  # longer than the VM may be on, and no time to wait, to start it and to come down


def _longer_runs(task: Json) -> None:
    for variable in task["containers"][0]["env"]:
        if variable["name"] == "TIMEOUT":
            variable["value"] = "2h"


def _other_vm(task: Json) -> None:
    for variable in task["containers"][0]["env"]:
        if variable["name"] == "INSTANCE":
            variable["value"] = "old-vm"


def _firewall(**changes: Any) -> Callable[[Ward], None]:
    return lambda ward: ward.send(f"{COMPUTE}/global/firewalls/mayfly-agent", changes, "PATCH") and None


ILLNESSES = {
    "an API is off": Illness(
        lambda ward: ward.send("v1/projects/demo/services/secretmanager.googleapis.com:disable", {}),
        ("apis", "fail"), "APIs are not enabled: secretmanager.googleapis.com.",
    ),
    "we may only look": Illness(
        _only_a_viewer, ("permissions", "warn"), "compute.instances.start", _an_owner_again,
    ),
    "no VM": Illness(lambda ward: ward.send(VM, method="DELETE"), ("vm", "fail"), "There is no VM gpu-vm"),
    "no label": Illness(
        lambda ward: _labelled(ward, VM, {}), ("vm-label", "fail"), "does not carry the label mayfly=managed",
        lambda ward: _labelled(ward, VM, {"mayfly": "managed"}),
    ),
    "no limit": Illness(
        _without("maxRunDuration", "instanceTerminationAction"), ("vm-limit", "warn"), "maxRunDuration not set",
    ),
    "a restart": Illness(
        lambda ward: ward.scheduling(automaticRestart=True), ("vm-restart", "warn"), "would start gpu-vm again",
    ),
    "no guest attributes": Illness(
        lambda ward: ward.metadata(enable_guest_attributes="FALSE"), ("guest-attributes", "fail"), "are off on gpu-vm",
    ),
    "no account": Illness(
        _without_account, ("vm-account", "fail"), "gpu-vm has no service account", _made_again,
    ),
    "no script": Illness(
        lambda ward: ward.metadata(startup_script=None), ("startup-script", "fail"), "has no startup script",
    ),
    "somebody's script": Illness(
        lambda ward: ward.metadata(startup_script="#!/bin/sh\necho mine"), ("startup-script", "fail"),
        "is not Mayfly's: neither agent nor dead-man",
    ),
    "an old script": Illness(
        lambda ward: ward.metadata(startup_script="#!/bin/sh\n# the one with mayfly-deadman"),
        ("startup-script", "warn"), "of another release",
    ),
    "an unknown caller": Illness(
        lambda ward: ward.metadata(mayfly_callers="mayfly-sweeper@demo.iam.gserviceaccount.com"), ("callers", "fail"),
        "will not obey mayfly-orchestrator@demo.iam.gserviceaccount.com, the account of the Cloud Run job mayfly",
    ),
    "a sweeper that the agent does not know": Illness(
        lambda ward: ward.metadata(mayfly_callers="mayfly-orchestrator@demo.iam.gserviceaccount.com"),
        ("callers", "warn"),
        "will not obey mayfly-sweeper@demo.iam.gserviceaccount.com, the account of the sweeper mayfly-sweep",
    ),
    "the wrong proof": Illness(
        lambda ward: ward.metadata(mayfly_auth="api-key", mayfly_agent_key="exchange"), ("callers", "fail"),
        "takes api-key (mayfly-auth), and runs show it id-token", _tokens_again,
    ),
    "a disabled secret": Illness(
        lambda ward: ward.send(f"{SECRET}/versions/latest:disable", {}), ("secrets", "fail"), "is disabled",
        lambda ward: ward.send(f"{SECRET}/versions/latest:enable", {}),
    ),
    "a destroyed secret": Illness(
        lambda ward: ward.send(f"{SECRET}/versions/latest:destroy", {}), ("secrets", "fail"), "is destroyed",
        lambda ward: ward.send(f"{SECRET}:addVersion", {"payload": {"data": "YSBrZXk="}}),
    ),
    "a secret that was never made": Illness(
        lambda ward: ward.metadata(mayfly_secrets="KEY=exchange OTHER=forgotten"), ("secrets", "fail"),
        "The secret forgotten has no version latest, and gpu-vm, when it boots reads it",
    ),
    "a secret that the VM may not read": Illness(
        lambda ward: ward.send(f"{SECRET}:setIamPolicy", {"policy": {"bindings": []}}), ("vm-permissions", "fail"),
        "may not read the secret exchange",
    ),
    "on by hand": Illness(
        lambda ward: ward.send(f"{VM}/start"), ("vm-at-rest", "fail"), "It is RUNNING without a lease",
        lambda ward: ward.send(f"{VM}/stop"),
    ),
    "a lease left behind": Illness(
        lambda ward: ward.metadata(mayfly_lease=left_behind()), ("vm-at-rest", "fail"),
        "somebody (run monday) never gave its lease back", lambda ward: ward.metadata(mayfly_lease=None),
    ),
    "an orphan": Illness(
        lambda ward: ward.another_vm(labels={"mayfly": "managed"}), ("orphans", "fail"),
        "Another VM of ours, another in us-central1-a", Ward.no_other_vm,
    ),
    "an idle address": Illness(
        _idle_address, ("orphans", "warn"), "The address forgotten in europe-west4",
        lambda ward: ward.send(f"{COMPUTE}/regions/europe-west4/addresses/forgotten", method="DELETE"),
    ),
    "no GPU left": Illness(
        _gpu_in_use, ("gpu-quota", "fail"), "NVIDIA_T4_GPUS in us-central1 is 1, of which 1 are in use",
        Ward.no_other_vm,
    ),
    "an address elsewhere": Illness(
        _address_elsewhere, ("address", "fail"), "where the VM is (there is one in europe-west4)",
        _address_back,
    ),
    "an address in use": Illness(
        _address_on_another, ("address-user", "fail"), "is in use by another: it is never taken from there",
        Ward.no_other_vm,
    ),
    "a closed door": Illness(
        lambda ward: ward.send(f"{COMPUTE}/global/firewalls/mayfly-agent", method="DELETE"), ("firewall", "fail"),
        "No firewall rule lets Cloud Run (it calls from anywhere) reach port 8000",
    ),
    "a door for others": Illness(
        _firewall(targetTags=["web"]), ("firewall", "fail"), "to VMs with the tag web, and gpu-vm does not have it",
    ),
    "a narrow door": Illness(
        _firewall(sourceRanges=["203.0.113.0/24"]), ("firewall", "fail"), "open to 203.0.113.0/24 only",
    ),
    "a role without a permission": Illness(
        _role_without("compute.instances.setScheduling"), ("job-permissions", "fail"),
        "lacks compute.instances.setScheduling on projects/demo",
    ),
    "a job that may not read its secret": Illness(
        lambda ward: _nobody_but(ward, "notify-url", "mayfly-sweeper"), ("job-permissions", "fail"),
        "mayfly-orchestrator@demo.iam.gserviceaccount.com, the account of the Cloud Run job mayfly, lacks "
        "secretmanager.versions.access on projects/demo/secrets/notify-url",
    ),
    "a sweeper that may not read its secret": Illness(
        lambda ward: _nobody_but(ward, "notify-url", "mayfly-orchestrator"), ("job-permissions", "fail"),
        "the account of the Cloud Run job mayfly-sweep, lacks secretmanager.versions.access",
    ),
    "an image by tag": Illness(
        lambda ward: ward.job(_image_by_tag), ("job-image", "warn"), "names its image by a tag",
    ),
    "an image that is gone": Illness(
        lambda ward: ward.job(_other_image), ("job-image", "fail"), "is not in Artifact Registry (any more)",
    ),
    "two images": Illness(
        lambda ward: ward.job(_other_image, "mayfly-sweep"), ("job-image", "warn"), "runs another image than the job",
    ),
    "a short task": Illness(
        lambda ward: ward.job(_short), ("job-timeout", "fail"), "after 50m, and a run may take 1h14m",
    ),
    "another VM's job": Illness(
        lambda ward: ward.job(_other_vm), ("job-settings", "warn"), "INSTANCE=old-vm",
    ),
    "a job for longer runs": Illness(
        lambda ward: ward.job(_longer_runs), ("job-settings", "warn"), "TIMEOUT=2h",
    ),
    "no sweeper": Illness(
        lambda ward: ward.send(f"{RUN}/mayfly-sweep", method="DELETE"), ("sweeper", "fail"),
        "there is no Cloud Run job mayfly-sweep",
    ),
    "a paused sweeper": Illness(
        lambda ward: ward.send(f"{SCHEDULER}/mayfly-sweep:pause", {}), ("sweeper", "fail"), "is paused",
    ),
    "a schedule of another job": Illness(
        _another_schedule, ("schedules", "warn"), "/jobs/other:run, which is not the job mayfly",
        lambda ward: ward.send(f"{SCHEDULER}/mayfly-old", method="DELETE"),
    ),
    "a paused schedule": Illness(
        lambda ward: ward.send(f"{SCHEDULER}/mayfly-daily:pause", {}), ("schedules", "warn"), "mayfly-daily is paused",
        lambda ward: ward.send(f"{SCHEDULER}/mayfly-daily:resume", {}),
    ),
}  # fmt: skip
