"""Policies: read, replaced if nobody else did, and what they refuse."""

from typing import Any

import pytest

from gcp_emulator import policies
from tests.unit.emulator.inside import Inside

PROJECT = "/v1/projects/demo"
ACCOUNTS = f"{PROJECT}/serviceAccounts"
SWEEPER = "mayfly-sweeper@demo.iam.gserviceaccount.com"
OWNER = "serviceAccount:mayfly-orchestrator@demo.iam.gserviceaccount.com"
RESOURCES = [
    (PROJECT, "POST"),
    ("/v3/projects/demo", "POST"),
    (f"{ACCOUNTS}/{SWEEPER}", "POST"),
    (f"{PROJECT}/secrets/mayfly-agent-key", "GET"),
    (f"{PROJECT}/locations/us-central1/repositories/mayfly", "GET"),
]


@pytest.fixture
def inside() -> Inside:
    inside = Inside()
    inside.post(ACCOUNTS, {"accountId": "mayfly-sweeper"})
    inside.post(f"{PROJECT}/locations/us-central1/repositories?repositoryId=mayfly", {"format": "DOCKER"})
    return inside


def read(inside: Inside, resource: str = PROJECT, method: str = "POST") -> Any:
    return inside.say(method, f"{resource}:getIamPolicy", {} if method == "POST" else None)[1]


def write(inside: Inside, policy: Any, resource: str = PROJECT) -> tuple[int, Any]:
    return inside.say("POST", f"{resource}:setIamPolicy", {"policy": policy})


def binding(role: str, *members: str) -> dict[str, Any]:
    return {"role": role, "members": list(members)}


@pytest.mark.parametrize(("resource", "method"), RESOURCES)
def test_every_resource_with_a_policy_has_it_read_replaced_and_guarded(inside: Inside, resource: str, method: str):
    before = read(inside, resource, method)
    wanted = [*before.get("bindings", []), binding("roles/viewer", f"serviceAccount:{SWEEPER}")]
    status, written = write(inside, {"bindings": wanted, "etag": before["etag"]}, resource)
    assert (status, written["bindings"]) == (200, wanted)
    assert read(inside, resource, method) == written
    status, refused = write(inside, {"bindings": [], "etag": before["etag"]}, resource)
    assert (status, refused["error"]["status"]) == (409, "ABORTED")
    assert "concurrent policy changes" in refused["error"]["message"]


def test_a_policy_without_etag_replaces_whatever_is_there(inside: Inside):
    assert write(inside, {"bindings": []})[0] == 200
    assert "bindings" not in read(inside)


def test_members_of_a_role_that_is_named_twice_are_put_together(inside: Inside):
    one, other = binding("roles/viewer", OWNER), binding("roles/viewer", "user:a@example.com", OWNER)
    _, written = write(inside, {"bindings": [one, other, binding("roles/editor")]})
    assert written["bindings"] == [binding("roles/viewer", OWNER, "user:a@example.com")]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (binding("roles/none", OWNER), "Role roles/none is not supported for this resource."),
        (binding("projects/demo/roles/none", OWNER), "does not exist in the resource's hierarchy."),
        (binding("roles/viewer", "a@example.com"), "Invalid principal 'a@example.com'"),
        (
            binding("roles/viewer", "serviceAccount:nobody@demo.iam.gserviceaccount.com"),
            "Service account nobody@demo.iam.gserviceaccount.com does not exist.",
        ),
        ({**binding("roles/viewer", OWNER), "condition": {"expression": "true"}}, "This emulator has no conditions"),
    ],
)
def test_what_no_policy_can_say_is_refused(inside: Inside, wrong: dict[str, Any], says: str):
    before = read(inside)
    status, refused = write(inside, {"bindings": [wrong]})
    assert (status, refused["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert says in refused["error"]["message"]
    assert read(inside) == before


def test_a_deleted_account_leaves_its_name_behind_and_a_namesake_has_nothing_of_it(inside: Inside):
    account = inside.get(f"{ACCOUNTS}/{SWEEPER}")
    write(inside, {"bindings": [binding("roles/viewer", f"serviceAccount:{SWEEPER}")]})
    inside.say("DELETE", f"{ACCOUNTS}/{SWEEPER}")
    gone = f"deleted:serviceAccount:{SWEEPER}?uid={account['uniqueId']}"
    assert read(inside)["bindings"] == [binding("roles/viewer", gone)]
    assert write(inside, read(inside))[0] == 200, "what is read can be written"
    inside.post(ACCOUNTS, {"accountId": "mayfly-sweeper"})
    assert not policies.allowed(inside.cloud.world, SWEEPER, "compute.instances.get", "projects/demo")


def test_what_is_gone_has_no_policy_left(inside: Inside):
    for resource, _ in RESOURCES[2:]:
        write(inside, {"bindings": [binding("roles/viewer", OWNER)]}, resource)
        assert inside.say("DELETE", resource)[0] == 200
        inside.passes(0)
    assert list(inside.cloud.world.policies) == ["projects/demo"]


@pytest.mark.parametrize(
    ("role", "permission", "has"),
    [
        ("roles/owner", "resourcemanager.projects.setIamPolicy", True),
        ("roles/editor", "compute.instances.start", True),
        ("roles/editor", "resourcemanager.projects.setIamPolicy", False),
        ("roles/editor", "secretmanager.versions.access", False),
        ("roles/editor", "iam.roles.create", False),
        ("roles/viewer", "compute.instances.get", True),
        ("roles/viewer", "compute.instances.stop", False),
        ("roles/run.invoker", "run.jobs.run", True),
        ("roles/run.invoker", "run.jobs.runWithOverrides", False),
        ("roles/run.jobsExecutorWithOverrides", "run.jobs.runWithOverrides", True),
        ("roles/compute.instanceAdmin.v1", "iam.serviceAccounts.actAs", False),
        ("roles/compute.instanceAdmin.v1", "compute.addresses.use", True),
        ("roles/secretmanager.secretAccessor", "secretmanager.versions.access", True),
        ("roles/secretmanager.secretAccessor", "secretmanager.versions.add", False),
        ("projects/demo/roles/none", "compute.instances.get", False),
    ],
)
def test_googles_roles_have_what_they_have_at_google(role: str, permission: str, has: bool):
    assert policies.has_permission(Inside().cloud.world, role, permission) is has
