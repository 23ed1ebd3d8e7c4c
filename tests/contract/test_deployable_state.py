"""What a deployment makes, over HTTP: every body fits its discovery document, and gcloud works with it."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from gcp_emulator.seed import empty_seed, seed_as_json
from gcp_emulator.tokens import token_of
from tests.contract.world import PROJECT, REGION, SECRET, WORLD, ZONE, Running

Gcloud = Callable[..., subprocess.CompletedProcess[str]]
V1 = f"/v1/projects/{PROJECT}"
COMPUTE = f"/compute/v1/projects/{PROJECT}"
SWEEPER = f"mayfly-sweeper@{PROJECT}.iam.gserviceaccount.com"
REPOSITORY = f"{V1}/locations/{REGION}/repositories/mayfly"
IMAGE = f"{REGION}-docker.pkg.dev/{PROJECT}/mayfly/orchestrator"
RULE = {"name": "mayfly-agent", "allowed": [{"IPProtocol": "tcp", "ports": ["8000"]}], "targetTags": ["mayfly"]}

# What is asked in this order; each answer is a 200 that Google could have sent, or else the history has a violation.
CALLS: list[tuple[str, str, Any]] = [
    ("GET", V1, None),
    ("GET", f"/v3/projects/{PROJECT}", None),
    ("POST", f"{V1}:getIamPolicy", {"options": {"requestedPolicyVersion": 3}}),
    ("POST", f"/v3/projects/{PROJECT}:getIamPolicy", {}),
    ("GET", f"{V1}/services", None),
    ("GET", f"{V1}/services/run.googleapis.com", None),
    ("POST", f"{V1}/services:batchEnable", {"serviceIds": ["run.googleapis.com"]}),
    ("POST", f"{V1}/serviceAccounts", {"accountId": "mayfly-sweeper", "serviceAccount": {"displayName": "Sweeper"}}),
    ("GET", f"{V1}/serviceAccounts", None),
    ("PATCH", f"{V1}/serviceAccounts/{SWEEPER}", {"serviceAccount": {"description": "x"}, "updateMask": "description"}),
    ("POST", f"{V1}/roles", {"roleId": "mayflySweeper", "role": {"includedPermissions": ["compute.instances.stop"]}}),
    ("GET", f"{V1}/roles/mayflySweeper", None),
    ("PATCH", f"{V1}/roles/mayflySweeper?updateMask=title", {"title": "Sweeper"}),
    ("GET", f"{V1}/roles?showDeleted=true&view=FULL", None),
    ("DELETE", f"{V1}/roles/mayflySweeper", None),
    ("POST", f"{V1}/roles/mayflySweeper:undelete", {}),
    ("GET", "/v1/roles/run.invoker", None),
    ("GET", f"{V1}/locations/{REGION}", None),
    ("POST", f"{V1}/locations/{REGION}/repositories?repositoryId=mayfly", {"format": "DOCKER"}),
    ("GET", REPOSITORY, None),
    ("GET", f"{V1}/locations/{REGION}/repositories", None),
    ("PATCH", f"{REPOSITORY}?updateMask=labels", {"labels": {"mayfly": "managed"}}),
    ("POST", "/_emulator/images", {"uri": f"{IMAGE}@sha256:{'a' * 64}"}),
    ("POST", "/_emulator/images", {"uri": f"{IMAGE}:v1"}),
    ("GET", f"{REPOSITORY}/dockerImages", None),
    ("GET", f"{REPOSITORY}/dockerImages/orchestrator@sha256:{'a' * 64}", None),
    ("GET", f"{REPOSITORY}/packages/orchestrator/tags/v1", None),
    ("POST", f"{V1}/serviceAccounts/{SWEEPER}:getIamPolicy", None),
    ("POST", f"{V1}/serviceAccounts/{SWEEPER}:testIamPermissions", {"permissions": ["iam.serviceAccounts.actAs"]}),
    ("GET", f"{REPOSITORY}:getIamPolicy", None),
    ("GET", f"{V1}/secrets/{SECRET}:getIamPolicy", None),
    ("PATCH", f"{V1}/secrets/{SECRET}?updateMask=labels", {"labels": {"mayfly": "managed"}}),
    ("GET", "/storage/v1/b/mayfly-state/iam", None),
    ("GET", "/storage/v1/b/mayfly-state/iam/testPermissions?permissions=storage.objects.get", None),
    ("GET", f"{COMPUTE}", None),
    ("GET", f"{COMPUTE}/regions/{REGION}", None),
    ("GET", f"{COMPUTE}/global/networks", None),
    ("GET", f"{COMPUTE}/global/networks/default", None),
    ("GET", f"{COMPUTE}/regions/{REGION}/subnetworks", None),
    ("GET", f"{COMPUTE}/regions/{REGION}/subnetworks/default", None),
    ("GET", f"{COMPUTE}/zones/{ZONE}/acceleratorTypes", None),
    ("GET", f"{COMPUTE}/zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4", None),
    ("GET", f"{COMPUTE}/zones/{ZONE}/machineTypes/n1-standard-4", None),
    ("POST", f"{COMPUTE}/global/firewalls", RULE),
    ("GET", f"{COMPUTE}/global/firewalls", None),
    ("GET", f"{COMPUTE}/global/firewalls/mayfly-agent", None),
    ("PATCH", f"{COMPUTE}/global/firewalls/mayfly-agent", {"sourceRanges": ["10.0.0.0/8"]}),
    ("DELETE", f"{COMPUTE}/global/firewalls/mayfly-agent", None),
    ("DELETE", REPOSITORY, None),
    ("DELETE", f"{V1}/serviceAccounts/{SWEEPER}", None),
    ("DELETE", f"{V1}/secrets/{SECRET}", None),
]


def test_every_answer_is_one_that_google_could_have_sent(emulator: Running) -> None:
    with httpx.Client(base_url=emulator.url) as client:
        for method, path, body in CALLS:
            answer = client.request(method, path, json=body)
            assert answer.status_code == 200, (method, path, answer.text)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", f"{V1}/serviceAccounts", {"accountId": "mayfly-sweeper", "name": "x"}),
        ("GET", f"{V1}/roles?showDeleted=perhaps", None),
        ("POST", f"{V1}/locations/{REGION}/repositories?repositoryId=x", {"format": "FLOPPY"}),
        ("POST", f"{COMPUTE}/global/firewalls", {**RULE, "direction": "SIDEWAYS"}),
    ],
)
def test_what_no_api_has_is_refused_before_it_reaches_the_service(
    emulator: Running, method: str, path: str, body: Any
) -> None:
    answer = httpx.request(method, f"{emulator.url}{path}", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)


def test_a_policy_is_set_on_every_kind_of_resource(emulator: Running) -> None:
    bindings = [{"role": "roles/viewer", "members": ["user:someone@example.com"]}]
    with httpx.Client(base_url=emulator.url) as client:
        client.post(f"{V1}/serviceAccounts", json={"accountId": "mayfly-sweeper"})
        client.post(f"{V1}/locations/{REGION}/repositories?repositoryId=mayfly", json={"format": "DOCKER"})
        for resource in (V1, f"{V1}/serviceAccounts/{SWEEPER}", REPOSITORY, f"{V1}/secrets/{SECRET}"):
            answer = client.post(f"{resource}:setIamPolicy", json={"policy": {"bindings": bindings}})
            assert (answer.status_code, answer.json()["bindings"]) == (200, bindings)
        answer = client.put("/storage/v1/b/mayfly-state/iam", json={"bindings": bindings, "etag": "ACAB"})
        assert (answer.status_code, answer.json()["bindings"]) == (200, bindings)
        stale = client.put("/storage/v1/b/mayfly-state/iam", json={"bindings": [], "etag": "ACAB"})
        assert (stale.status_code, stale.json()["error"]["errors"][0]["reason"]) == (412, "conditionNotMet")


def _told(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


def test_gcloud_makes_what_a_deployment_makes(gcloud: Gcloud, emulator: Running) -> None:
    account = _told(gcloud("iam", "service-accounts", "create", "mayfly-sweeper", "--format=json"))
    assert account is None or account["email"] == SWEEPER
    permissions = "--permissions=compute.instances.get,compute.instances.stop"
    role = _told(gcloud("iam", "roles", "create", "mayflySweeper", "--project=demo", permissions, "--format=json"))
    assert role["includedPermissions"] == ["compute.instances.get", "compute.instances.stop"]
    bind = ("--member=serviceAccount:" + SWEEPER, f"--role=projects/{PROJECT}/roles/mayflySweeper", "--format=json")
    policy = _told(gcloud("projects", "add-iam-policy-binding", PROJECT, *bind))
    assert {"role": f"projects/{PROJECT}/roles/mayflySweeper", "members": [f"serviceAccount:{SWEEPER}"]} in (
        policy["bindings"]
    )
    _told(gcloud("services", "enable", "run.googleapis.com", "--format=json"))
    make = ("artifacts", "repositories", "create", "mayfly", "--repository-format=docker", f"--location={REGION}")
    _told(gcloud(*make, "--format=json"))
    allow = ("--allow=tcp:8000", "--target-tags=mayfly", "--source-ranges=10.0.0.0/8", "--format=json")
    [rule] = _told(gcloud("compute", "firewall-rules", "create", "mayfly-agent", *allow))
    assert (rule["targetTags"], rule["sourceRanges"]) == (["mayfly"], ["10.0.0.0/8"])
    state = emulator.ask("state")
    assert f"projects/{PROJECT}/serviceAccounts/{SWEEPER}" in state["accounts"]
    assert state["repositories"] == [REPOSITORY.removeprefix("/v1/")]
    assert state["firewalls"] == [f"projects/{PROJECT}/global/firewalls/mayfly-agent"]


def test_another_seed_may_have_another_caller(emulator: Running) -> None:
    ours, theirs = f"mayfly-orchestrator@{PROJECT}.iam.gserviceaccount.com", "user@example.com"
    email = "/computeMetadata/v1/instance/service-accounts/default/email"
    with httpx.Client(base_url=emulator.url, headers={"Metadata-Flavor": "Google"}) as client:
        assert client.get(email).text == ours
        client.post("/_emulator/seed", json=seed_as_json(empty_seed())).raise_for_status()
        assert client.get(email).text == theirs
        client.post("/_emulator/seed", json=seed_as_json(WORLD)).raise_for_status()


def test_a_bucket_is_asked_for_several_permissions_at_once(emulator: Running) -> None:
    asked = ["storage.objects.get", "storage.objects.create", "storage.buckets.delete"]
    path = "/storage/v1/b/mayfly-state/iam"
    with httpx.Client(base_url=emulator.url) as client:
        bindings = [{"role": "roles/storage.objectUser", "members": ["user:someone@example.com"]}]
        client.put(path, json={"bindings": bindings}).raise_for_status()
        headers = {"Authorization": f"Bearer {token_of('someone@example.com')}"}
        answer = client.get(f"{path}/testPermissions", params={"permissions": asked}, headers=headers)
    assert answer.json() == {"kind": "storage#testIamPermissionsResponse", "permissions": asked[:2]}
