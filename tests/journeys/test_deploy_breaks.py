"""A deploy that breaks: killed after every change, refused at every step, replies lost, others in between."""

import asyncio
import json
import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from gcp_emulator.exports import exports
from mayfly.deploy.carry_out import StepFailed
from mayfly.deploy.destroying import Destruction
from mayfly.deploy.vm_body import metadata_of
from mayfly.google import google_of
from orchestrator.clock import SystemClock
from orchestrator.errors import Busy, Exit
from orchestrator.google_errors import Subject
from orchestrator.google_rest import Answered, Asked, GoogleRest
from orchestrator.seen import RESERVED_FOR_A_RUN
from tests.journeys.deploying import IMAGE, VALUES, Project, a_project, done

INSTANCE = "compute/v1/projects/demo/zones/us-central1-a/instances/gpu-vm"
JOB = "v2/projects/demo/locations/us-central1/jobs/mayfly"
FORKS = multiprocessing.get_context("forkserver")  # each child begins with all that is imported here


@pytest.fixture
async def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Project]:
    """As Google hands it over; afterwards nothing is on, and every fault was met."""
    async with a_project(tmp_path, monkeypatch) as project:
        yield project
        await project.all_is_well()


def _until_killed(folder: Path, port: int, what: str) -> None:
    """`mayfly deploy` or `destroy`, in a process that gets SIGKILL as soon as Google has carried out one change."""
    os.environ.update(exports(port))
    os.chdir(folder)
    answer = GoogleRest._answer

    def deadly(self: GoogleRest, asked: Asked, subject: Subject) -> Answered:
        answered = answer(self, asked, subject)
        if asked.verb != "GET" and not asked.url.endswith(":getIamPolicy"):
            os.kill(os.getpid(), signal.SIGKILL)
        return answered

    GoogleRest._answer = deadly  # type: ignore[method-assign]
    project = Project(None, folder)  # type: ignore[arg-type]
    asyncio.run(getattr(project, what)())


async def _killed_again_and_again(project: Project, what: str) -> int:
    """Until one has nothing left to change; how many were killed."""
    for killed in range(100):
        process = FORKS.Process(target=_until_killed, args=(project.folder, project.emulator.port, what))
        process.start()
        await asyncio.to_thread(process.join, 60)
        if process.exitcode == 0:
            return killed
        assert process.exitcode == -signal.SIGKILL
    raise AssertionError("it never came to its end")


async def test_killed_after_every_single_change_a_deploy_and_a_destroy_still_come_to_their_end(
    project: Project,
) -> None:
    FORKS.set_forkserver_preload([__name__])
    killed = await _killed_again_and_again(project, "deploy")
    assert killed == len(project.changes())
    assert killed >= 26, "each change once: nothing had to be made twice"
    assert max(Counter(entry for entry in project.changes() if "nsert" in entry or "Project" in entry).values()) == 1
    assert done((await project.deploy()).steps) == []
    assert (await project.vm())["status"] == "TERMINATED"
    killed = await _killed_again_and_again(project, "destroy")
    assert killed >= 22
    assert await project.holds() == Counter()


async def test_every_step_that_google_refuses_is_named_with_its_reason_and_the_rest_comes_later(
    project: Project,
) -> None:
    """Refused once at each change in turn; each time the deploy goes on from there."""
    for verb in await _changes_of_a_deploy(project):
        await project.inject(on=verb, reply={"status": 403, "reason": "forbidden", "message": f"not you: {verb}"})
        with pytest.raises(StepFailed, match=rf"Step \d+ of \d+ failed \(.*\): Cannot .*not you: {verb}") as error:
            await project.deploy()
        assert error.value.exit is Exit.NO_MACHINE
    assert done((await project.deploy()).steps)
    assert done((await project.deploy()).steps) == []


async def _changes_of_a_deploy(project: Project) -> list[str]:
    """Each kind of change once, in their order; afterwards the project is empty again."""
    await project.deploy()
    verbs = list(dict.fromkeys(project.changes()))
    await project.post("_emulator/reset", {})
    return verbs


async def test_with_every_reply_lost_once_everything_is_made_once(project: Project) -> None:
    for verb in await _changes_of_a_deploy(project):
        await project.inject(on=verb, lose_reply={})
    await project.deploy()
    assert done((await project.deploy()).steps) == []
    vms = [verb for verb in project.changes() if verb == "instances.insert"]
    assert len(vms) == 2, "sent again, and refused the second time"


async def test_an_account_that_google_does_not_know_everywhere_yet_is_waited_for(project: Project) -> None:
    unknown = {"status": 400, "reason": "badRequest", "message": "Service account mayfly-vm does not exist."}
    for verb in ("resourcemanager.projects.setIamPolicy", "instances.insert", "run.jobs.create"):
        await project.inject(on=verb, times=3, reply=unknown)
    denied = "Permission 'iam.serviceaccounts.actAs' denied on service account mayfly-sweeper (or it may not exist)."
    await project.inject(on="cloudscheduler.jobs.create", times=2, reply={"status": 403, "message": denied})
    await project.deploy()
    assert len(project.waits) == 4, "each is told once"
    assert sum("actAs" in why for why in project.waits) == 1
    assert done((await project.deploy()).steps) == []


async def test_an_api_that_is_enabled_and_does_not_answer_yet_is_waited_for_at_the_first_look_too(
    project: Project,
) -> None:
    """Google's words for some minutes after it said that the API is enabled."""
    looks = ("secrets.get", "secrets.getIamPolicy", "instances.get", "run.jobs.get", "cloudscheduler.jobs.get")
    for verb in looks:
        message = "This API has not been used in project 12345 before or it is disabled."
        await project.inject(
            on=verb, times=2, reply={"status": 403, "reason": "accessNotConfigured", "message": message}
        )
    await project.deploy()
    assert len(project.waits) == len(looks), "each is told once"
    assert done((await project.deploy()).steps) == []


async def test_a_job_that_google_made_and_that_does_not_work_is_not_called_made(project: Project) -> None:
    why = "Secret projects/1/secrets/notify-url/versions/latest was not found"
    await project.inject(job_fails={"message": why}, times=2)
    for _ in range(2):  # made, and then written again
        with pytest.raises(StepFailed, match=f"mayfly-sweep does not work: CONDITION_FAILED: {why}"):
            await project.deploy()
    planned = await project.deploy(dry_run=True)
    assert f"terminalCondition: CONDITION_FAILED: {why} -> CONDITION_SUCCEEDED" in [
        str(difference) for step in planned.steps for difference in step.differences
    ]
    await project.deploy()
    assert (await project.ask(f"{JOB}-sweep"))["terminalCondition"]["state"] == "CONDITION_SUCCEEDED"
    assert done((await project.deploy()).steps) == []


async def test_of_an_account_that_is_known_the_same_words_mean_a_permission_and_nothing_is_waited_for(
    project: Project,
) -> None:
    project.image = None
    await project.deploy()
    denied = "Permission 'iam.serviceaccounts.actAs' denied on service account mayfly-sweeper (or it may not exist)."
    await project.inject(on="cloudscheduler.jobs.create", reply={"status": 403, "message": denied})
    with pytest.raises(StepFailed, match=r"lacks the permission iam\.serviceaccounts\.actAs"):
        await project.deploy(image=IMAGE)


async def test_somebody_who_changes_the_policy_at_the_same_moment_loses_nothing(project: Project) -> None:
    aborted = {"status": 409, "reason": "aborted", "message": "There were concurrent policy changes."}
    await project.inject(on="resourcemanager.projects.setIamPolicy", times=2, reply=aborted)
    await project.deploy()
    policy = await project.post("v3/projects/demo:getIamPolicy", {})
    assert any(binding["role"] == "roles/owner" for binding in policy["bindings"])


async def test_a_vm_that_is_born_and_forgotten_is_switched_off_by_google(project: Project) -> None:
    """The deploy dies between the insert and the stop; the limit it was born with is two minutes."""
    await project.inject(on="instances.stop", times=1, reply={"status": 403, "reason": "forbidden", "message": "no"})
    with pytest.raises(StepFailed):
        await project.deploy()
    vm = await project.vm()
    assert vm["status"] == "RUNNING"
    assert vm["scheduling"]["maxRunDuration"] == {"seconds": "120"}
    assert "startup-script" not in metadata_of(vm)
    await project.deploy()
    assert (await project.vm())["status"] == "TERMINATED"


async def test_a_stockout_is_told_as_such_and_all_else_stays(project: Project) -> None:
    await project.inject(stockout={"details": False}, on="instances.insert")
    with pytest.raises(StepFailed, match="no such machine free") as failed:
        await project.deploy()
    assert failed.value.exit is Exit.NO_MACHINE
    assert done((await project.deploy()).steps)[0] == "make the VM gpu-vm"


def a_lease(expires_in: timedelta) -> str:
    expires = datetime.now(UTC) + expires_in
    fields = {"epoch": 7, "nonce": "theirs", "key": "monday", "phase": "invoking", "expires_at": expires.isoformat()}
    return json.dumps(fields)


async def _write_lease(project: Project, value: str) -> None:
    metadata = (await project.vm())["metadata"]
    items = [item for item in metadata["items"] if item["key"] != "mayfly-lease"]
    items.append({"key": "mayfly-lease", "value": value})
    await project.post(f"{INSTANCE}/setMetadata", {"items": items, "fingerprint": metadata["fingerprint"]})


async def test_nothing_is_destroyed_while_a_run_holds_the_lease_and_a_deploy_leaves_the_lease_alone(
    project: Project,
) -> None:
    await project.deploy()
    lease = a_lease(timedelta(minutes=3))
    await _write_lease(project, lease)
    before = len(project.changes())
    with pytest.raises(Busy, match="A run is live on the VM gpu-vm: monday"):
        await project.destroy()
    assert project.changes()[before:] == []
    project.describe(vm={**VALUES["vm"], "metadata": {"mayfly-container-pids": "99"}})
    await project.deploy()
    assert metadata_of(await project.vm())["mayfly-lease"] == lease
    await _write_lease(project, a_lease(-timedelta(minutes=3)))
    await project.destroy()
    assert await project.holds() == Counter()


async def test_a_run_that_begins_while_somebody_is_asked_stops_the_destruction(project: Project) -> None:
    await project.deploy()
    begun: list[Any] = []

    def agreed(_: Any) -> bool:
        begun.append(asyncio.ensure_future(_write_lease(project, a_lease(timedelta(minutes=3)))))
        return True

    with pytest.raises(Busy, match=r"live.*Removed already, so that no run begins: mayfly-daily"):
        await project.destroy(agreed)
    assert await project.vm(), "the VM under a live run was removed"
    [sweeps] = (await project.ask("v1/projects/demo/locations/us-central1/jobs"))["jobs"]
    assert sweeps["name"].endswith("/mayfly-sweep"), "nobody would finish what that run leaves, should it die"
    await begun[0]
    await _write_lease(project, a_lease(-timedelta(minutes=3)))
    await project.deploy()


class _Ahead(SystemClock):
    """A laptop's, an hour ahead of Google's."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=1)


async def test_a_laptop_whose_clock_is_ahead_does_not_take_a_live_run_for_a_dead_one(project: Project) -> None:
    await project.deploy()
    await _write_lease(project, a_lease(timedelta(minutes=3)))
    config = project.config()
    async with google_of(config.settings) as google:
        with pytest.raises(Busy, match="A run is live on the VM gpu-vm: monday"):
            await Destruction(google, _Ahead(), config).carry_out(lambda _: True, lambda *_: None)
    assert await project.vm()
    await _write_lease(project, a_lease(-timedelta(minutes=3)))


async def test_an_ip_that_a_dead_run_reserved_is_swept_before_it_is_forgotten(project: Project) -> None:
    project.describe(address_policy="release")
    await project.deploy()
    address = "compute/v1/projects/demo/regions/us-central1/addresses"
    await project.post(address, {"name": "gpu-ip", "description": RESERVED_FOR_A_RUN})
    before = len(project.changes())
    with pytest.raises(Busy, match=r"reserved by a run that did not release it.*mayfly sweep"):
        await project.destroy()
    assert project.changes()[before:] == []
    await project.post(f"{address}/gpu-ip", None, "DELETE")
    await project.destroy()
    assert await project.holds() == Counter()
