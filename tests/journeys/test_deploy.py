"""A project is set up from one file: all of it, once, and nothing that is somebody else's."""

import base64
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mayfly.deploy import roles
from mayfly.deploy.carry_out import StepFailed
from mayfly.deploy.plan import Action
from mayfly.deploy.startup import HASH_ATTRIBUTE, startup_script
from mayfly.deploy.vm_body import metadata_of
from orchestrator.errors import BadUsage, Exit, Forbidden, NotFound
from tests.journeys.deploying import IMAGE, VALUES, Project, a_project, done

ADDRESS = "compute/v1/projects/demo/regions/us-central1/addresses/gpu-ip"
FIREWALL = "compute/v1/projects/demo/global/firewalls/mayfly-agent"
INSTANCE = "compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm"
JOB = "v2/projects/demo/locations/us-central1/jobs/mayfly"
ENTRY = "v1/projects/demo/locations/us-central1/jobs/mayfly-daily"
ROLE = "v1/projects/demo/roles/mayflySweeper"
ACCOUNTS = "@demo.iam.gserviceaccount.com"


@pytest.fixture
async def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Project]:
    """As Google hands it over; afterwards nothing is on, and every fault was met."""
    async with a_project(tmp_path, monkeypatch) as project:
        yield project
        await project.all_is_well()


async def test_from_an_empty_project_everything_is_made_and_a_second_deploy_changes_nothing(project: Project) -> None:
    first = await project.deploy()
    assert [str(step) for step in project.told] == done(first.steps)
    assert len(project.told) == 23
    before = len(project.changes())
    second = await project.deploy()
    assert done(second.steps) == []
    assert not second.done
    assert project.changes()[before:] == []


async def test_the_vm_costs_nothing_but_its_birth_and_never_boots_our_script_before_a_run(project: Project) -> None:
    await project.deploy()
    vm, script = await project.vm(), startup_script()
    assert vm["status"] == "TERMINATED"
    has = metadata_of(vm)
    assert (has["startup-script"], has[HASH_ATTRIBUTE]) == (script.text, script.sha256)
    assert has["mayfly-callers"] == f"mayfly-orchestrator{ACCOUNTS},mayfly-sweeper{ACCOUNTS}"
    assert has["mayfly-secrets"] == "KEY=exchange"
    assert "accessConfigs" not in vm["networkInterfaces"][0]
    block = vm["scheduling"]
    assert (block["onHostMaintenance"], block["automaticRestart"]) == ("TERMINATE", False)
    assert (block["instanceTerminationAction"], block["maxRunDuration"]) == ("STOP", {"seconds": str(45 * 60)})
    of_the_vm = [verb for verb in project.changes() if verb.startswith("instances.")]
    assert of_the_vm == ["instances.insert", "instances.stop", "instances.setScheduling", "instances.setMetadata"]
    said = [entry for entry in project.emulator.history() if entry.get("event") == "SerialOutput"]
    assert said == [], "a guest ran something"


async def test_everybody_may_do_what_the_tables_say_and_nothing_else(project: Project) -> None:
    await project.deploy()
    for name, permissions in (("mayflyOrchestrator", roles.ORCHESTRATOR), ("mayflySweeper", roles.SWEEPER)):
        made = await project.ask(f"v1/projects/demo/roles/{name}")
        assert made["includedPermissions"] == sorted(permissions)
    policy = await project.post("v3/projects/demo:getIamPolicy", {})
    granted = {(one["role"], who) for one in policy["bindings"] for who in one["members"] if "mayfly" in who}
    assert granted == {
        ("projects/demo/roles/mayflyOrchestrator", f"serviceAccount:mayfly-orchestrator{ACCOUNTS}"),
        ("projects/demo/roles/mayflySweeper", f"serviceAccount:mayfly-sweeper{ACCOUNTS}"),
    }
    readers = {}
    for secret in ("exchange", "notify-url"):
        found = await project.ask(f"v1/projects/demo/secrets/{secret}:getIamPolicy")
        [binding] = found["bindings"]
        assert binding["role"] == "roles/secretmanager.secretAccessor"
        readers[secret] = [who.removeprefix("serviceAccount:").removesuffix(ACCOUNTS) for who in binding["members"]]
    assert readers == {"exchange": ["mayfly-vm"], "notify-url": ["mayfly-orchestrator", "mayfly-sweeper"]}


async def test_the_job_has_the_settings_by_their_names_and_more_time_than_a_run_can_take(project: Project) -> None:
    await project.deploy()
    task = (await project.ask(JOB))["template"]["template"]
    [container] = task["containers"]
    variables = {entry["name"]: entry.get("value", entry.get("valueSource")) for entry in container["env"]}
    assert variables == {
        "PROJECT_ID": "demo",
        "ZONE": "us-central1-a",
        "REGION": "us-central1",
        "INSTANCE": "gpu-vm",
        "STATIC_NAME": "gpu-ip",
        "TIMEOUT": "30m",
        "NOTIFY_URL": {"secretKeyRef": {"secret": "notify-url", "version": "latest"}},
    }
    assert container["image"] == IMAGE
    assert container["args"] == ["run"]
    assert int(task["timeout"].removesuffix("s")) > (10 + 30 + 5) * 60
    assert task["serviceAccount"] == f"mayfly-orchestrator{ACCOUNTS}"


async def test_a_schedule_ticks_as_its_own_account_and_says_which_window_a_tick_is_of(project: Project) -> None:
    await project.deploy()
    entry = await project.ask(ENTRY)
    assert (entry["schedule"], entry["timeZone"], entry["state"]) == ("30 6 * * *", "Asia/Seoul", "ENABLED")
    target = entry["httpTarget"]
    assert target["uri"] == f"https://run.googleapis.com/{JOB}:run"
    assert target["oauthToken"]["serviceAccountEmail"] == f"mayfly-scheduler{ACCOUNTS}"
    [override] = json.loads(base64.b64decode(target["body"]))["overrides"]["containerOverrides"]
    assert override["args"] == ["run", "--once-per", "1d", "--tz", "Asia/Seoul"]


async def test_a_dry_run_changes_nothing_and_knows_all_that_the_deploy_then_does(project: Project) -> None:
    planned = await project.deploy(dry_run=True)
    assert project.changes() == []
    carried_out = await project.deploy()
    assert done(planned.steps) == done(carried_out.steps)
    assert (planned.done, carried_out.done) == (False, True)


async def test_drift_is_mended_and_nothing_but_drift(project: Project) -> None:
    await project.deploy()
    vm = await project.vm()
    spoiled = [item for item in vm["metadata"]["items"] if item["key"] != "mayfly-callers"]
    spoiled += [{"key": "mayfly-tls", "value": "off"}, {"key": "ssh-keys", "value": "me"}]
    spoiled += [{"key": "mayfly-hold", "value": "soon"}]
    metadata = {"items": spoiled, "fingerprint": vm["metadata"]["fingerprint"]}
    await project.post(f"{INSTANCE}/setMetadata", metadata)
    await project.post(f"{INSTANCE}/setScheduling", {"automaticRestart": True})
    labels = {"labels": {"team": "x"}, "labelFingerprint": vm["labelFingerprint"]}
    await project.post(f"{INSTANCE}/setLabels", labels)
    await project.post(FIREWALL, {"sourceRanges": ["1.2.3.4/32"]}, "PATCH")
    await project.post(ROLE, {"includedPermissions": ["compute.instances.create"]}, "PATCH")
    await project.post(f"{ENTRY}?updateMask=schedule", {"schedule": "0 0 * * *"}, "PATCH")
    bare = {"labels": {"mayfly": "managed"}, "template": {"template": {"containers": [{"image": IMAGE}]}}}
    await project.post(JOB, bare, "PATCH")
    await project.post("v1/projects/demo/roles/mayflyOrchestrator", None, "DELETE")
    mended = await project.deploy()
    assert done(mended.steps) == [
        "change the role mayflyOrchestrator",
        "change the role mayflySweeper",
        "change the VM gpu-vm",
        "change the firewall rule mayfly-agent",
        "change the Cloud Run job mayfly",
        "change the schedule mayfly-daily",
    ]
    assert done((await project.deploy()).steps) == []
    vm = await project.vm()
    has = metadata_of(vm)
    assert (has["ssh-keys"], has["mayfly-hold"]) == ("me", "soon"), "what others wrote was lost"
    assert "mayfly-tls" not in has
    assert vm["labels"] == {"team": "x", "mayfly": "managed"}


async def test_what_the_vm_is_made_of_is_mended_while_it_is_off(project: Project) -> None:
    await project.deploy()
    tags = {"items": ["other"], "fingerprint": (await project.vm())["tags"]["fingerprint"]}
    await project.post(f"{INSTANCE}/setTags", tags)
    await project.post(f"{INSTANCE}/setServiceAccount", {"email": f"mayfly-sweeper{ACCOUNTS}"})
    project.describe(vm={**VALUES["vm"], "machine_type": "e2-standard-4"})
    planned = await project.deploy(dry_run=True)
    [step] = [step for step in planned.steps if step.does_something]
    found = {difference.path: difference for difference in step.differences}
    assert found.keys() == {"machineType", "tags", "serviceAccounts[0].email"}
    await project.deploy()
    vm = await project.vm()
    assert vm["machineType"].endswith("/e2-standard-4")
    assert vm["tags"]["items"] == ["other", "mayfly"], "somebody's tag was taken off"
    assert vm["serviceAccounts"][0]["email"] == f"mayfly-vm{ACCOUNTS}"
    assert done((await project.deploy()).steps) == []


async def test_a_vm_that_is_on_is_not_mended_but_by_what_it_takes_while_on(project: Project) -> None:
    await project.deploy()
    await project.post(f"{INSTANCE}/start", {})
    project.describe(vm={**VALUES["vm"], "metadata": {"mayfly-container-pids": "99"}})
    await project.deploy()
    assert metadata_of(await project.vm())["mayfly-container-pids"] == "99"
    project.describe(vm={**VALUES["vm"], "machine_type": "e2-standard-4"})
    with pytest.raises(StepFailed, match="is on, and its machineType can only be changed while it is off"):
        await project.deploy()
    await project.post(f"{INSTANCE}/stop", {})


async def test_what_was_there_before_is_used_as_it_is_and_is_there_when_all_else_is_gone(project: Project) -> None:
    """An IP, a secret and a firewall rule by those names, and somebody's grants beside ours."""
    await project.post("v1/projects/demo/services:batchEnable", {"serviceIds": ["compute.googleapis.com"]})
    await project.post("v1/projects/demo/services/secretmanager.googleapis.com:enable", {})
    await project.post(ADDRESS.rpartition("/")[0], {"name": "gpu-ip", "labels": {"mayfly": "managed"}})
    await project.post("v1/projects/demo/secrets?secretId=exchange", {"replication": {"automatic": {}}})
    mine = {"name": "mayfly-agent", "network": "global/networks/default", "allowed": [{"IPProtocol": "tcp"}]}
    await project.post(FIREWALL.rpartition("/")[0], mine)
    policy = await project.post("v3/projects/demo:getIamPolicy", {})
    deployed = await project.deploy()
    left = [step.name for step in deployed.steps if step.action is Action.LEAVE]
    assert left == ["exchange", "gpu-ip", "mayfly-agent"]
    await project.destroy()
    assert (await project.ask(ADDRESS))["status"] == "RESERVED"
    assert (await project.ask(FIREWALL))["allowed"] == [{"IPProtocol": "tcp"}]
    assert (await project.ask("v1/projects/demo/secrets/exchange"))["name"].endswith("/exchange")
    after = await project.post("v3/projects/demo:getIamPolicy", {})
    assert after["bindings"] == policy["bindings"]


async def test_destroy_leaves_an_empty_project_and_deploy_makes_it_all_again(project: Project) -> None:
    await project.deploy()
    removed = await project.destroy()
    assert len(done(removed)) == 22, "all but the APIs"
    assert await project.holds() == Counter()
    assert done(await project.destroy()) == []
    assert len(done((await project.deploy()).steps)) == 22, "of the roles the names are still taken"
    assert (await project.destroy(lambda _: False))[0].action is Action.REMOVE
    assert (await project.vm())["status"] == "TERMINATED", "who did not agree keeps everything"


async def test_schedules_and_a_sweeper_that_the_file_has_no_more_are_removed(project: Project) -> None:
    await project.deploy()
    weekly = {**VALUES["schedule"][0], "name": "weekly"}
    project.describe(schedule=[weekly], sweep={"enabled": False})
    changed = await project.deploy()
    assert done(changed.steps) == [
        "make the schedule mayfly-weekly",
        "remove the schedule mayfly-sweep",
        "remove the schedule mayfly-daily",
        "remove the Cloud Run job mayfly-sweep",
    ]
    assert await project.ask(ENTRY) is None
    assert done((await project.deploy()).steps) == []


async def test_who_need_not_read_a_secret_any_more_may_not_and_a_tick_without_words_gives_none(
    project: Project,
) -> None:
    await project.deploy()
    schedule = {"name": "daily", "cron": "30 6 * * *", "time_zone": "Asia/Seoul"}
    project.describe(job={"secrets": {"NOTIFY_URL": "exchange"}}, vm={"machine_type": "e2-medium"}, schedule=[schedule])
    await project.deploy()
    readers = await project.ask("v1/projects/demo/secrets/exchange:getIamPolicy")
    assert {who.partition(":")[2].partition("@")[0] for one in readers["bindings"] for who in one["members"]} == {
        "mayfly-orchestrator",
        "mayfly-sweeper",
    }
    ticks = await project.ask(f"{JOB}:getIamPolicy")
    assert [one["role"] for one in ticks["bindings"]] == ["roles/run.invoker"]
    assert done((await project.deploy()).steps) == []


async def test_accounts_of_yours_are_used_and_granted_nothing(project: Project) -> None:
    mine = f"mine-mine{ACCOUNTS}"
    await project.post("v1/projects/demo/services:batchEnable", {"serviceIds": ["iam.googleapis.com"]})
    await project.post("v1/projects/demo/serviceAccounts", {"accountId": "mine-mine"})
    project.describe(vm={**VALUES["vm"], "service_account": mine}, job={"service_account": mine})
    await project.deploy()
    assert done((await project.deploy()).steps) == []
    assert (await project.vm())["serviceAccounts"][0]["email"] == mine
    policy = await project.post("v3/projects/demo:getIamPolicy", {})
    assert not any(f"serviceAccount:{mine}" in one["members"] for one in policy["bindings"])
    await project.destroy()
    assert await project.holds() == Counter({"accounts": 1})


async def test_without_an_image_all_but_the_jobs_is_made_and_the_way_on_is_told(project: Project) -> None:
    project.image = None
    first = await project.deploy()
    [way] = [line for line in first.advice if "docker push" in line]
    assert "gcloud auth configure-docker us-central1-docker.pkg.dev && docker build" in way
    assert any("docker push us-central1-docker.pkg.dev/demo/mayfly/orchestrator" in line for line in first.advice)
    assert not any(verb.startswith(("run.", "cloudscheduler.")) for verb in project.changes())
    second = await project.deploy(image=IMAGE)
    assert sorted({step.kind for step in second.steps if step.does_something}) == [
        "Cloud Run job",
        "permissions",
        "schedule",
    ]


async def test_an_image_stays_until_another_is_named_and_the_way_back_is_told(project: Project) -> None:
    await project.deploy()
    project.image = None
    assert done((await project.deploy()).steps) == []
    newer = IMAGE.replace("a" * 64, "b" * 64)
    changed = await project.deploy(image=newer)
    assert done(changed.steps) == ["change the Cloud Run job mayfly-sweep", "change the Cloud Run job mayfly"]
    assert changed.advice == [f"To go back to the image before this one: mayfly deploy --image {IMAGE}"]
    assert (await project.deploy(image=IMAGE)).done
    assert (await project.ask(JOB))["template"]["template"]["containers"][0]["image"] == IMAGE


async def test_a_tag_is_looked_up_so_that_the_job_has_a_digest(project: Project) -> None:
    project.image = None
    await project.deploy()
    name = IMAGE.partition("@")[0]
    await project.post("_emulator/images", {"uri": f"{name}:v1"})
    await project.deploy(image=f"{name}:v1")
    image = (await project.ask(JOB))["template"]["template"]["containers"][0]["image"]
    assert image.startswith(f"{name}@sha256:")
    with pytest.raises(NotFound, match="push it first"):
        await project.deploy(image=f"{name}:v2")
    with pytest.raises(BadUsage, match="neither named by its digest"):
        await project.deploy(image="docker.io/me/mayfly:v1")


async def test_a_value_for_a_secret_is_added_and_one_that_nobody_would_read_is_refused(project: Project) -> None:
    first = await project.deploy(values={"exchange": b"hunter2"})
    assert first.advice == ["The secret notify-url is empty: printf %s THE-VALUE | mayfly deploy --secret notify-url=-"]
    value = await project.ask("v1/projects/demo/secrets/exchange/versions/latest:access")
    assert base64.b64decode(value["payload"]["data"]) == b"hunter2"
    with pytest.raises(BadUsage, match="names no such secret"):
        await project.deploy(values={"other": b"x"})


async def test_a_template_and_its_bucket_take_the_vms_place_and_a_changed_one_is_made_anew(project: Project) -> None:
    project.describe(template="gpu-template", state_url="gs://demo-mayfly/leases")
    await project.deploy()
    path = "compute/v1/projects/demo/global/instanceTemplates/gpu-template"
    properties = (await project.ask(path))["properties"]
    assert metadata_of(properties)["startup-script"] == startup_script().text
    assert properties["scheduling"]["instanceTerminationAction"] == "DELETE"
    assert await project.vm() is None
    assert done((await project.deploy()).steps) == []
    policy = await project.ask("storage/v1/b/demo-mayfly/iam")
    [granted] = [one for one in policy["bindings"] if one["role"] == "projects/demo/roles/mayflyState"]
    assert len(granted["members"]) == 2
    vm = {**VALUES["vm"], "machine_type": "e2-standard-2"}
    project.describe(template="gpu-template", state_url="gs://demo-mayfly/leases", vm=vm)
    changed = await project.deploy()
    assert done(changed.steps) == ["change the instance template gpu-template"]
    assert (await project.ask(path))["properties"]["machineType"] == "e2-standard-2"
    await project.destroy()
    assert await project.holds() == Counter()


async def test_what_cannot_be_changed_on_a_vm_is_refused_with_the_way_out(project: Project) -> None:
    await project.deploy()
    project.describe(vm={**VALUES["vm"], "disk_gb": 99})
    with pytest.raises(
        StepFailed, match=r"Step 1 of 1 failed \(change the VM gpu-vm\).*diskSizeGb: 50 -> 99"
    ) as refused:
        await project.deploy()
    assert refused.value.exit is Exit.NO_MACHINE
    assert "gcloud compute instances delete gpu-vm" in str(refused.value)


async def test_a_project_that_is_not_ours_to_see_is_told_at_the_first_look(project: Project) -> None:
    project.describe(project_id="not-mine")
    with pytest.raises((Forbidden, NotFound)) as refused:
        await project.deploy()
    assert refused.value.exit is Exit.NO_MACHINE
    assert project.changes() == []
