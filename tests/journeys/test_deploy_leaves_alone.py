"""What a person did by hand in the project: a deploy sees it, says so where it matters, and leaves it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mayfly.deploy.carry_out import StepFailed
from mayfly.deploy.plan import in_words
from mayfly.deploy.schedules import entry
from orchestrator.errors import BadResource
from tests.journeys.deploying import IMAGE, VALUES, Project, a_project, done

ACCOUNTS = "@demo.iam.gserviceaccount.com"

JOB = "v2/projects/demo/locations/us-central1/jobs/mayfly"
ENTRY = "v1/projects/demo/locations/us-central1/jobs/mayfly-daily"


@pytest.fixture
async def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Project]:
    """As Google hands it over; afterwards nothing is on, and every fault was met."""
    async with a_project(tmp_path, monkeypatch) as project:
        yield project
        await project.all_is_well()


async def test_what_you_granted_your_account_on_a_secret_stays_whatever_is_deployed_or_destroyed(
    project: Project,
) -> None:
    mine = f"mine-mine{ACCOUNTS}"
    for api in ("iam", "secretmanager"):
        await project.post(f"v1/projects/demo/services/{api}.googleapis.com:enable", {})
    await project.post("v1/projects/demo/serviceAccounts", {"accountId": "mine-mine"})
    project.describe(vm={**VALUES["vm"], "service_account": mine}, job={**VALUES["job"], "service_account": mine})
    for name in ("exchange", "notify-url"):
        await project.post(f"v1/projects/demo/secrets?secretId={name}", {"replication": {"automatic": {}}})
        grant = {"role": "roles/secretmanager.secretAccessor", "members": [f"serviceAccount:{mine}"]}
        await project.post(f"v1/projects/demo/secrets/{name}:setIamPolicy", {"policy": {"bindings": [grant]}})
    await project.deploy()
    assert done((await project.deploy()).steps) == []
    await project.destroy()
    for name in ("exchange", "notify-url"):
        [binding] = (await project.ask(f"v1/projects/demo/secrets/{name}:getIamPolicy"))["bindings"]
        assert binding["members"] == [f"serviceAccount:{mine}"]


async def test_a_schedule_that_somebody_paused_stays_paused_and_is_told_until_the_file_says_otherwise(
    project: Project,
) -> None:
    await project.deploy()
    await project.post(f"{ENTRY}:pause", {})
    daily = {**VALUES["schedule"][0], "cron": "45 6 * * *"}
    project.describe(schedule=[daily])
    deployed = await project.deploy()
    shown = await project.ask(ENTRY)
    assert (shown["state"], shown["schedule"]) == ("PAUSED", "45 6 * * *")
    assert any("mayfly-daily: somebody has paused it" in line for line in deployed.advice)
    project.describe(schedule=[{**daily, "paused": False}])
    deployed = await project.deploy()
    assert (await project.ask(ENTRY))["state"] == "ENABLED"
    assert not any("paused" in line for line in deployed.advice)


async def test_a_schedule_that_shall_rest_is_never_due_on_its_way_there(project: Project) -> None:
    """Google makes all of them enabled; the deploy ends between that and the pause."""
    project.describe(schedule=[{"name": "daily", "cron": "* * * * *", "paused": True}])
    await project.inject(on="cloudscheduler.jobs.pause", reply={"status": 403, "message": "no"})
    with pytest.raises(StepFailed):
        await project.deploy()
    shown = await project.ask(ENTRY)
    assert (shown["state"], shown["schedule"]) == ("ENABLED", "0 0 29 2 *")
    await project.deploy()
    shown = await project.ask(ENTRY)
    assert (shown["state"], shown["schedule"]) == ("PAUSED", "* * * * *")
    assert done((await project.deploy()).steps) == []


async def test_a_running_schedule_is_paused_before_anything_else_of_it_is_changed(project: Project) -> None:
    await project.deploy()
    project.describe(schedule=[{**VALUES["schedule"][0], "cron": "* * * * *", "paused": True}])
    before = len(project.changes())
    await project.deploy()
    assert project.changes()[before:] == ["cloudscheduler.jobs.pause", "cloudscheduler.jobs.update"]


async def test_a_schedule_that_google_disabled_is_told_and_one_whose_update_failed_is_written_again(
    project: Project,
) -> None:
    config = project.config()
    one = entry(config, config.schedules[0], "who@x.y")
    assert [str(found) for found in one.differences({**one.wanted, "state": "UPDATE_FAILED"})] == [
        "state: UPDATE_FAILED -> ENABLED"
    ]
    disabled = {**one.wanted, "state": "DISABLED"}
    with pytest.raises(BadResource, match="gcloud scheduler jobs delete mayfly-daily --location us-central1"):
        await one.change(None, disabled, one.differences(disabled))  # type: ignore[arg-type]


async def test_the_image_of_a_job_that_is_not_ours_is_never_run_as_our_sweeper(project: Project) -> None:
    for api in ("run", "compute", "iam"):
        await project.post(f"v1/projects/demo/services/{api}.googleapis.com:enable", {})
    theirs = {"template": {"template": {"containers": [{"image": "docker.io/stranger/anything"}]}}}
    await project.post(f"{JOB.rpartition('/')[0]}?jobId=mayfly", theirs)
    project.image = None
    await project.deploy()
    assert await project.ask(f"{JOB}-sweep") is None
    assert (await project.ask(JOB))["template"]["template"]["containers"][0]["image"] == "docker.io/stranger/anything"


async def test_before_a_job_is_made_the_plan_says_of_which_image(project: Project) -> None:
    planned = await project.deploy(dry_run=True)
    assert list(in_words(planned.steps)).count(f"      image: (none) -> {IMAGE}") == 2


async def test_whether_a_vm_is_spot_is_told_to_be_decided_at_its_making(project: Project) -> None:
    await project.deploy()
    before = len(project.changes())
    project.describe(vm={**VALUES["vm"], "spot": True})
    with pytest.raises(StepFailed, match="Of a VM that is there this cannot be changed: spot: False -> True"):
        await project.deploy()
    assert project.changes()[before:] == []
