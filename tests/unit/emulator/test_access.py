"""Who may do what: the token says who asks, policies say what they may, and the refusal says what is missing."""

import json
from typing import Any

import pytest

from gcp_emulator.knobs import Knobs
from gcp_emulator.methods import ROUTES
from gcp_emulator.needs import BESIDES
from gcp_emulator.permissions import permission_of
from gcp_emulator.seed import BucketSeed, InstanceSeed, ProjectSeed, Seed, empty_seed
from gcp_emulator.tokens import token_of
from gcp_emulator.wire import Reply, Request
from tests.unit.emulator.inside import DEMO, NOON, REGION, VM, Inside

SOMEBODY = "somebody@demo.iam.gserviceaccount.com"
CALLER = "mayfly-orchestrator@demo.iam.gserviceaccount.com"
VM_ACCOUNT = "123456789012-compute@developer.gserviceaccount.com"
PROJECT = "/v1/projects/demo"
SECRET = f"{PROJECT}/secrets/mayfly-agent-key"
JOBS = "/v2/projects/demo/locations/us-central1/jobs"
JOB = {"template": {"template": {"containers": [{"image": "mayfly:1"}]}}}


def world(policy: dict[str, tuple[str, ...]] | None = None) -> Seed:
    return Seed(
        projects=(ProjectSeed("demo", policy=policy or {"roles/browser": (f"serviceAccount:{SOMEBODY}",)}),),
        instances=DEMO.instances,
        addresses=DEMO.addresses,
        secrets=DEMO.secrets,
        buckets=(BucketSeed("mayfly-state"),),
    )


def ask(inside: Inside, who: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request with somebody's token; the status, and the document or the error's message."""
    headers = {"authorization": f"Bearer {token_of(who)}"}
    url = path if path.startswith("/") else f"/compute/v1/{path}"
    path, _, query = url.partition("?")
    parameters = dict(pair.split("=") for pair in query.split("&") if pair)
    content = b"" if body is None else json.dumps(body).encode()
    reply = inside.cloud.answer(Request(method, path, parameters, headers, content), NOON)
    inside.passes(0)
    assert isinstance(reply, Reply)
    document = json.loads(reply.body)
    return reply.status, document["error"]["message"] if "error" in document else document


def made_role(inside: Inside, *permissions: str, on: str = PROJECT) -> None:
    """Give SOMEBODY exactly these, on one resource."""
    inside.say("POST", f"{PROJECT}/roles", {"roleId": "some", "role": {"includedPermissions": list(permissions)}})
    inside.say("PATCH", f"{PROJECT}/roles/some?updateMask=includedPermissions", {"includedPermissions": permissions})
    binding = {"role": "projects/demo/roles/some", "members": [f"serviceAccount:{SOMEBODY}"]}
    inside.post(f"{on}:setIamPolicy", {"policy": {"bindings": [binding]}})


def test_every_method_asks_for_a_permission_that_has_googles_form():
    names = {permission_of(verb) for verb in ROUTES.verbs} - {None}
    assert len(names) > 100
    assert [name for name in names | BESIDES if name and len(name.split(".")) != 3] == []


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        ("GET", VM, f"Required 'compute.instances.get' permission for '{VM}'"),
        (
            "POST",
            f"{VM}/start",
            f"Required 'compute.instances.start' permission for '{VM}'",
        ),
        (
            "GET",
            "projects/demo/aggregated/instances",
            "Required 'compute.instances.list' permission for 'projects/demo'",
        ),
        (
            "GET",
            f"{SECRET}/versions/latest:access",
            (
                "Permission 'secretmanager.versions.access' denied on resource "
                "'projects/demo/secrets/mayfly-agent-key/versions/latest' (or it may not exist)."
            ),
        ),
        (
            "GET",
            f"{PROJECT}/serviceAccounts/{SOMEBODY}",
            (
                f"Permission 'iam.serviceAccounts.get' denied on resource 'projects/demo/serviceAccounts/{SOMEBODY}' "
                "(or it may not exist)."
            ),
        ),
        (
            "GET",
            "/storage/v1/b/mayfly-state/o/x?alt=media",
            (
                f"{SOMEBODY} does not have storage.objects.get access to the Google Cloud Storage object. "
                "Permission 'storage.objects.get' denied on resource (or it may not exist)."
            ),
        ),
        (
            "POST",
            f"{JOBS}/none:run",
            (
                "Permission 'run.jobs.run' denied on resource 'projects/demo/locations/us-central1/jobs/none' "
                "(or it may not exist)."
            ),
        ),
    ],
)
def test_a_refusal_names_permission_and_resource_in_the_words_of_the_service(method: str, path: str, message: str):
    assert ask(Inside(world()), SOMEBODY, method, path) == (403, message)


def test_who_shows_no_token_may_do_everything_and_a_token_of_nobody_is_refused():
    inside = Inside(world())
    assert inside.get(VM)["name"] == "gpu-vm"
    for path, form in ((f"/compute/v1/{VM}", "errors"), (f"{SECRET}/versions/1", "status")):
        reply = inside.cloud.answer(Request("GET", path, {}, {"authorization": "Bearer stolen"}), NOON)
        assert isinstance(reply, Reply)
        error = json.loads(reply.body)["error"]
        assert (reply.status, form in error) == (401, True)
        assert error["message"].startswith("Request had invalid authentication credentials.")


def test_the_history_says_who_asked():
    inside = Inside(world())
    ask(inside, SOMEBODY, "GET", VM)
    [entry] = [one for one in inside.cloud.history.since(0)["entries"] if one["kind"] == "request"]
    assert (entry["principal"], entry["status"]) == (SOMEBODY, 403)


def test_an_operation_says_whose_it_is():
    inside = Inside(world({"roles/owner": (f"serviceAccount:{SOMEBODY}",)}))
    assert ask(inside, SOMEBODY, "POST", f"{VM}/start")[1]["user"] == SOMEBODY


@pytest.mark.parametrize(("on", "may"), [(PROJECT, True), (SECRET, True), (f"{PROJECT}/secrets/others", False)])
def test_a_role_holds_where_it_is_granted_and_below(on: str, may: bool):
    inside = Inside(world())
    made_role(inside, "secretmanager.versions.access", on=on) if "others" not in on else None
    assert (ask(inside, SOMEBODY, "GET", f"{SECRET}/versions/latest:access")[0] == 200) is may


def test_a_role_that_is_changed_deleted_or_disabled_counts_at_once():
    inside = Inside(world())
    made_role(inside, "compute.instances.get")
    assert ask(inside, SOMEBODY, "GET", VM)[0] == 200
    role = f"{PROJECT}/roles/some"
    inside.say("PATCH", f"{role}?updateMask=stage", {"stage": "DISABLED"})
    assert ask(inside, SOMEBODY, "GET", VM)[0] == 403
    inside.say("PATCH", f"{role}?updateMask=stage", {"stage": "GA"})
    inside.say("DELETE", role)
    assert ask(inside, SOMEBODY, "GET", VM)[0] == 403
    inside.post(f"{role}:undelete", {})
    assert ask(inside, SOMEBODY, "GET", VM)[0] == 200


def test_everybody_is_told_what_they_may_and_nothing_else():
    inside = Inside(world())
    made_role(inside, "compute.instances.get", "secretmanager.versions.access")
    asked = {"permissions": ["compute.instances.get", "compute.instances.stop"]}
    for path in (f"{PROJECT}:testIamPermissions", f"{VM}/testIamPermissions"):
        assert ask(inside, SOMEBODY, "POST", path, asked) == (200, {"permissions": ["compute.instances.get"]})
    wild = ask(inside, SOMEBODY, "POST", f"{PROJECT}:testIamPermissions", {"permissions": ["compute.*"]})
    assert wild[0] == 400


@pytest.mark.parametrize(
    ("knob", "call", "missing"),
    [
        ({"change_of_vm_needs_act_as": False}, f"{VM}/start", "iam.serviceAccounts.actAs"),
        ({"reserved_ip_needs_use": False}, f"{VM}/addAccessConfig?networkInterface=nic0", "compute.addresses.use"),
        ({"labelled_address_needs_set_labels": False}, f"{REGION}/addresses", "compute.addresses.setLabels"),
    ],
)
def test_where_google_is_silent_a_knob_decides_and_begins_strict(knob: Any, call: str, missing: str):
    for knobs, status in ((Knobs(), 403), (Knobs(**knob), 200)):
        inside = Inside(world(), knobs=knobs)
        made_role(
            inside,
            *("compute.instances.start", "compute.instances.addAccessConfig", "compute.subnetworks.useExternalIp"),
            "compute.addresses.create",
        )
        bodies = {
            "AccessConfig": {"natIP": inside.get(f"{REGION}/addresses/gpu-ip")["address"]},
            "addresses": {"name": "labelled", "labels": {"mayfly": "managed"}},
        }
        answer = ask(
            inside, SOMEBODY, "POST", call, next((body for name, body in bodies.items() if name in call), None)
        )
        assert answer[0] == status, answer
        assert status == 200 or missing in answer[1]


def test_an_object_that_is_not_there_is_no_news_for_who_may_not_list():
    for knobs, status in ((Knobs(), 403), (Knobs(missing_object_needs_list=False), 404)):
        inside = Inside(world(), knobs=knobs)
        made_role(inside, "storage.objects.get")
        assert ask(inside, SOMEBODY, "GET", "/storage/v1/b/mayfly-state/o/none")[0] == status


def test_to_let_a_job_or_a_schedule_run_as_somebody_takes_leave_to_act_as_them():
    inside = Inside(world())
    inside.post(f"{PROJECT}/serviceAccounts", {"accountId": "mayfly-vm"})
    made_role(inside, "run.jobs.create", "cloudscheduler.jobs.create")
    assert ask(inside, SOMEBODY, "POST", f"{JOBS}?jobId=mayfly", JOB) == (
        403,
        f"Permission 'iam.serviceAccounts.actAs' denied on service account {VM_ACCOUNT} (or it may not exist).",
    )
    token = {"serviceAccountEmail": "mayfly-vm@demo.iam.gserviceaccount.com"}
    entry = {"schedule": "* * * * *", "httpTarget": {"uri": "https://run.googleapis.com/x", "oauthToken": token}}
    place = f"{PROJECT}/locations/us-central1/jobs"
    status, message = ask(inside, SOMEBODY, "POST", place, {"name": f"{place[4:]}/x", **entry})
    assert (status, "iam.serviceAccounts.actAs" in message) == (403, True)


@pytest.mark.parametrize("missing", ["run.jobs.run", "run.jobs.runWithOverrides"])
def test_the_scheduler_needs_to_run_the_job_and_with_words_of_its_own_one_permission_more(missing: str):
    inside = Inside(world())
    inside.post(f"{JOBS}?jobId=mayfly", JOB)
    both = ["run.jobs.run", "run.jobs.runWithOverrides"]
    made_role(inside, *[one for one in both if one != missing], on=f"{JOBS}/mayfly")
    overrides = {"overrides": {"containerOverrides": [{"args": ["test"]}]}}
    status, message = ask(inside, SOMEBODY, "POST", f"{JOBS}/mayfly:run", overrides)
    assert (status, missing in message) == (403, True)
    made_role(inside, *both, on=f"{JOBS}/mayfly")
    assert ask(inside, SOMEBODY, "POST", f"{JOBS}/mayfly:run", overrides)[0] == 200


def test_a_tick_whose_account_may_not_run_the_job_fails_and_says_what_it_lacks():
    inside = Inside(world())
    inside.post(f"{JOBS}?jobId=mayfly", JOB)
    target = {"uri": f"https://run.googleapis.com{JOBS}/mayfly:run", "oauthToken": {"serviceAccountEmail": SOMEBODY}}
    entry = f"{PROJECT}/locations/us-central1/jobs/nightly"
    inside.post(entry.rpartition("/")[0], {"name": entry[4:], "schedule": "0 6 * * *", "httpTarget": target})
    inside.post(f"{entry}:run", {})
    status = inside.get(entry)["status"]
    assert (status["code"], "'run.jobs.run' denied" in status["message"]) == (7, True)
    made_role(inside, "run.jobs.run", on=f"{JOBS}/mayfly")
    inside.post(f"{entry}:run", {})
    assert not inside.get(entry).get("status")


def test_a_vm_asks_as_the_account_it_runs_as():
    inside = Inside(Seed(projects=world().projects, secrets=DEMO.secrets, instances=(InstanceSeed("gpu-vm"),)))
    token = json.loads(inside.inquire("instance/service-accounts/default/token").body)["access_token"]
    assert token == token_of(VM_ACCOUNT)
    access = f"{SECRET}/versions/latest:access"
    assert "secretmanager.versions.access" in ask(inside, VM_ACCOUNT, "GET", access)[1]
    reader = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{VM_ACCOUNT}"]}
    inside.post(f"{SECRET}:setIamPolicy", {"policy": {"bindings": [reader]}})
    assert ask(inside, VM_ACCOUNT, "GET", access)[0] == 200
    assert ask(inside, VM_ACCOUNT, "GET", f"{PROJECT}/secrets/others/versions/1:access")[0] == 403


def test_an_api_that_is_not_enabled_answers_nobody_and_says_how_to_enable_it():
    inside = Inside(empty_seed())
    status, document = inside.say("GET", "projects/demo/zones/us-central1-a/instances")
    error = document["error"]
    assert (status, error["errors"][0]["reason"]) == (403, "accessNotConfigured")
    assert error["message"].startswith("Compute Engine API has not been used in project 123456789012 before")
    assert error["details"][0]["reason"] == "SERVICE_DISABLED"
    status, document = inside.say("GET", f"{PROJECT}/secrets")
    assert document["error"]["details"][0]["metadata"]["service"] == "secretmanager.googleapis.com"
    inside.post(f"{PROJECT}/services/compute.googleapis.com:enable", {})
    assert inside.get("projects/demo/zones/us-central1-a/instances")["kind"] == "compute#instanceList"
