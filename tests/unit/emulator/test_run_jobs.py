"""Jobs of Cloud Run as things that are written, read and deleted."""

from typing import Any

import pytest

from tests.unit.emulator.inside import SOME_TIME, Inside
from tests.unit.emulator.running_jobs import JOB, PLACE, RunningJobs, a_job


def test_a_job_is_shown_with_the_defaults_of_cloud_run():
    job = RunningJobs().inside.get(JOB)
    task = job["template"]["template"]
    assert job["name"] == JOB.removeprefix("/v2/")
    assert (task["maxRetries"], task["timeout"]) == (3, "600s")
    assert task["serviceAccount"] == "123456789012-compute@developer.gserviceaccount.com"
    assert (job["template"]["taskCount"], job["template"]["parallelism"]) == (1, 1)
    assert job["terminalCondition"] == {
        "type": "Ready",
        "state": "CONDITION_SUCCEEDED",
        "lastTransitionTime": "2030-01-01T12:00:00.000000Z",
    }


def test_a_change_replaces_the_job_and_gives_it_another_etag():
    jobs = RunningJobs(container={"args": ["run"]})
    before = jobs.inside.get(JOB)
    status, _ = jobs.inside.say("PATCH", JOB, a_job(container={"image": "mayfly:2"}) | {"etag": before["etag"]})
    after = jobs.inside.get(JOB)
    assert status == 200
    assert (after["generation"], after["uid"], after["createTime"]) == ("2", before["uid"], before["createTime"])
    assert after["template"]["template"]["containers"][0]["image"] == "mayfly:2"
    assert "args" not in after["template"]["template"]["containers"][0]
    stale = jobs.inside.refused("PATCH", JOB, a_job() | {"etag": before["etag"]})
    assert stale[:2] == (409, "ABORTED")


def test_a_change_may_make_the_job_if_it_says_so():
    inside = Inside()
    assert inside.refused("PATCH", JOB, a_job())[:2] == (404, "NOT_FOUND")
    assert inside.say("PATCH", f"{JOB}?allowMissing=true", a_job())[0] == 200
    assert [job["name"] for job in inside.get(f"{PLACE}/jobs")["jobs"]] == [JOB.removeprefix("/v2/")]


def test_what_is_only_validated_leaves_nothing_behind():
    inside = Inside()
    assert inside.post(f"{PLACE}/jobs?jobId=mayfly&validateOnly=true", a_job())["done"]
    assert inside.get(f"{PLACE}/jobs") == {}


def test_the_operation_of_a_job_is_done_when_the_job_is_ready():
    inside = Inside(latency=SOME_TIME)
    operation = inside.post(f"{PLACE}/jobs?jobId=mayfly", a_job())
    assert operation["metadata"]["@type"] == "type.googleapis.com/google.cloud.run.v2.Job"
    done = inside.get(f"/v2/{operation['name']}")
    assert (done["done"], done["response"]["name"]) == (True, JOB.removeprefix("/v2/"))


def test_a_job_that_cannot_be_ready_is_there_and_says_why_until_it_is_written_again():
    inside = Inside()
    inside.post("/_emulator/faults", {"job_fails": {"message": "no such secret"}})
    operation = inside.post(f"{PLACE}/jobs?jobId=mayfly", a_job())
    inside.passes(60)
    assert inside.get(f"/v2/{operation['name']}")["error"]["message"] == "no such secret"
    condition = inside.get(JOB)["terminalCondition"]
    assert (condition["state"], condition["message"]) == ("CONDITION_FAILED", "no such secret")
    inside.say("PATCH", JOB, a_job())
    inside.passes(60)
    assert inside.get(JOB)["terminalCondition"]["state"] == "CONDITION_SUCCEEDED"


@pytest.mark.parametrize(
    ("url", "body", "code", "message"),
    [
        (f"{PLACE}/jobs?jobId=Mayfly", a_job(), 400, "job_id: must be"),
        (f"{PLACE}/jobs?jobId=mayfly", a_job(), 409, "Resource 'mayfly' already exists."),
        (f"{PLACE}/jobs?jobId=other", {"template": {}}, 400, "template.template.containers[0].image"),
        (f"{PLACE}/jobs?jobId=other", a_job(task={"maxRetries": 11}), 400, "template.template.max_retries"),
        (f"{PLACE}/jobs?jobId=other", a_job(task={"timeout": "200h"}), 400, "Illegal duration format"),
        (f"{PLACE}/jobs?jobId=other", a_job(task={"timeout": "604801s"}), 400, "template.template.timeout"),
        (f"{PLACE}/jobs?jobId=other", a_job(container={"env": [{"name": "CLOUD_RUN_JOB"}]}), 400, "template"),
        ("/v2/projects/none/locations/us-central1/jobs?jobId=x", a_job(), 403, "Permission denied on resource"),
        ("/v2/projects/demo/locations/mars/jobs?jobId=x", a_job(), 403, "Permission denied on 'locations/mars'"),
        (f"{PLACE}/jobs/none:run", {}, 404, "Resource 'none' of kind 'JOB' in region 'us-central1' in project 'demo'"),
    ],
)
def test_what_cannot_be_is_refused(url: str, body: Any, code: int, message: str):
    refused = RunningJobs().inside.refused("POST", url, body)
    assert refused[0] == code
    assert refused[2].startswith(message)


def test_a_deleted_job_takes_its_executions_along():
    jobs = RunningJobs()
    jobs.run()
    [order] = jobs.orders
    assert jobs.inside.say("DELETE", JOB)[0] == 200
    jobs.inside.passes(0)
    [kill] = jobs.told()
    assert (kill.task, type(kill).__name__) == (order.task, "KillTask")
    assert jobs.inside.get(f"{PLACE}/jobs") == {}
    assert jobs.inside.get(f"{PLACE}/jobs/-/executions") == {}
    jobs.ends(order, signal=9)  # comes too late for anybody
    execution = order.task.split("/")[-3]
    assert jobs.inside.states(f"executions/{execution}") == ["RUNNING", "DELETED"]


def test_a_project_may_be_named_by_its_number():
    jobs = RunningJobs()
    assert jobs.inside.get(JOB.replace("demo", "123456789012"))["name"] == JOB.removeprefix("/v2/")
