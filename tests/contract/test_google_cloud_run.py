"""Google's own clients of Cloud Run and Scheduler, over REST: operations that are waited for, enums as numbers."""

import sys
from typing import Any

import pytest
from google.api_core.exceptions import Aborted, Conflict, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import run_v2, scheduler_v1

from tests.contract.world import Running

PLACE = "projects/demo/locations/us-central1"
JOB = f"{PLACE}/jobs/mayfly"
ENDS_AS_TOLD = "import sys; sys.exit(int(sys.argv[1]))"
ACCOUNT = "mayfly-orchestrator@demo.iam.gserviceaccount.com"


def client(kind: Any, emulator: Running) -> Any:
    transport = kind.get_transport_class("rest")
    return kind(transport=transport(host=emulator.url, credentials=AnonymousCredentials(), url_scheme="http"))  # type: ignore[no-untyped-call]


@pytest.fixture
def jobs(emulator: Running) -> Any:
    jobs = client(run_v2.JobsClient, emulator)
    container = run_v2.Container(image="x", command=[sys.executable, "-c", ENDS_AS_TOLD], args=["0"])
    first_generation = run_v2.ExecutionEnvironment.EXECUTION_ENVIRONMENT_GEN1
    task = run_v2.TaskTemplate(max_retries=0, containers=[container], execution_environment=first_generation)
    job = run_v2.Job(template=run_v2.ExecutionTemplate(template=task))
    assert jobs.create_job(parent=PLACE, job=job, job_id="mayfly").result(timeout=60).name == JOB
    return jobs


def test_a_job_is_made_run_and_waited_for(emulator: Running, jobs: Any) -> None:
    made = jobs.get_job(name=JOB)
    assert made.template.template.execution_environment.name == "EXECUTION_ENVIRONMENT_GEN1"
    execution = jobs.run_job(name=JOB).result(timeout=60)
    assert (execution.succeeded_count, execution.job) == (1, "mayfly")
    executions = client(run_v2.ExecutionsClient, emulator)
    assert [one.name for one in executions.list_executions(parent=JOB)] == [execution.name]
    [task] = client(run_v2.TasksClient, emulator).list_tasks(parent=execution.name)
    assert task.last_attempt_result.exit_code == 0
    with pytest.raises(Conflict):
        jobs.create_job(parent=PLACE, job=run_v2.Job(template=made.template), job_id="mayfly")


def test_a_run_that_fails_raises_what_happened(jobs: Any) -> None:
    override = run_v2.RunJobRequest.Overrides.ContainerOverride(args=["3"])
    request = run_v2.RunJobRequest(name=JOB, overrides={"container_overrides": [override]})
    with pytest.raises(Aborted, match="failed with message: The container exited with an error"):
        jobs.run_job(request=request).result(timeout=60)
    jobs.delete_job(name=JOB).result(timeout=60)
    with pytest.raises(NotFound):
        jobs.run_job(name=JOB)


def test_a_schedule_calls_the_job(emulator: Running, jobs: Any) -> None:
    scheduler = client(scheduler_v1.CloudSchedulerClient, emulator)
    target = scheduler_v1.HttpTarget(
        uri=f"https://run.googleapis.com/v2/{JOB}:run",
        http_method=scheduler_v1.HttpMethod.POST,
        oauth_token=scheduler_v1.OAuthToken(service_account_email=ACCOUNT),
    )
    nightly = scheduler_v1.Job(name=f"{PLACE}/jobs/nightly", schedule="0 9 * * *", http_target=target)
    made = scheduler.create_job(parent=PLACE, job=nightly)
    assert (made.state.name, made.time_zone) == ("ENABLED", "UTC")
    scheduler.run_job(name=made.name)
    assert scheduler.get_job(name=made.name).status.code == 0
    assert jobs.get_job(name=JOB).execution_count == 1
    assert scheduler.pause_job(name=made.name).state.name == "PAUSED"
    scheduler.delete_job(name=made.name)
    with pytest.raises(NotFound):
        scheduler.get_job(name=made.name)
