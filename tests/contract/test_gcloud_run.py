"""The real gcloud on Cloud Run and Cloud Scheduler: jobs that really run, waited for and cancelled by its commands."""

import json
import subprocess
from collections.abc import Callable

import pytest

from gcp_emulator.seed import caller_email
from tests.contract.test_gcloud import _refused as refused
from tests.contract.test_gcloud import _told as told
from tests.contract.world import PAYLOAD, PROJECT, SECRET, Running

Gcloud = Callable[..., subprocess.CompletedProcess[str]]
JOBS = ("run", "jobs")
HERE = "--location=us-central1"
ACCOUNT = caller_email(PROJECT)  # who owns this world
URI = f"https://us-central1-run.googleapis.com/apis/run.googleapis.com/v1/namespaces/{PROJECT}/jobs/mayfly:run"
# It says what it was given, and ends as it was told; to `wait` it waits for SIGTERM.
SCRIPT = 'echo "got $KEY and $*"; test "$1" = wait && { trap "exit 143" TERM; sleep 600 & wait; }; exit "${1:-0}"'


@pytest.fixture
def job(gcloud: Gcloud) -> str:
    args = f"--args=^|^-c|{SCRIPT}|script"
    secret = f"--set-secrets=KEY={SECRET}:latest"
    told(gcloud(*JOBS, "create", "mayfly", "--image=any", "--command=/bin/sh", args, secret, "--max-retries=1"))
    return "mayfly"


def with_words(*words: str) -> str:
    return "|".join([f"--args=^|^-c|{SCRIPT}|script", *words])


def exits(emulator: Running) -> list[tuple[int, int | None]]:
    """Attempt and exit code of everything that ended."""
    return [(one["attempt"], one["exit_code"]) for one in emulator.history("task") if "exit_code" in one]


def test_a_job_is_executed_with_arguments_and_waited_for(gcloud: Gcloud, emulator: Running, job: str) -> None:
    executed = gcloud(*JOBS, "execute", job, "--wait", with_words("0", "two words"))
    assert executed.returncode == 0, executed.stderr
    assert "has successfully completed." in executed.stderr
    [said] = told(
        gcloud("logging", "read", 'resource.type="cloud_run_job"', "--format=value(textPayload)")
    ).splitlines()
    assert said == f"got {PAYLOAD} and 0 two words"
    assert exits(emulator) == [(0, 0)]
    [listed] = json.loads(told(gcloud(*JOBS, "executions", "list", f"--job={job}", "--format=json")))
    assert listed["status"]["succeededCount"] == 1
    shown = json.loads(told(gcloud(*JOBS, "describe", job, "--format=json")))
    assert shown["status"]["latestCreatedExecution"]["completionStatus"] == "EXECUTION_SUCCEEDED"
    assert "mayfly" in told(gcloud(*JOBS, "list"))


def test_a_job_that_fails_fails_the_command_after_its_retries(gcloud: Gcloud, emulator: Running, job: str) -> None:
    said = refused(gcloud(*JOBS, "execute", job, "--wait", with_words("3")))
    assert "The execution failed." in said
    assert exits(emulator) == [(0, 3), (1, 3)]


def test_an_execution_is_cancelled_and_described(gcloud: Gcloud, emulator: Running, job: str) -> None:
    execute = (*JOBS, "execute", job, "--async", with_words("wait"), "--format=value(metadata.name)")
    execution = told(gcloud(*execute)).strip()
    cancelled = gcloud(*JOBS, "executions", "cancel", execution)
    assert (cancelled.returncode, f"Cancelled execution [{execution}]." in cancelled.stderr) == (0, True)
    described = json.loads(told(gcloud(*JOBS, "executions", "describe", execution, "--format=json")))
    [completed] = [one for one in described["status"]["conditions"] if one["type"] == "Completed"]
    assert (completed["status"], completed["reason"]) == ("False", "Cancelled")
    [task] = json.loads(told(gcloud(*JOBS, "executions", "tasks", "list", f"--execution={execution}", "--format=json")))
    assert task["metadata"]["name"] == f"{execution}-task0"
    assert "already completed" in refused(gcloud(*JOBS, "executions", "cancel", execution))
    assert len(exits(emulator)) <= 1  # SIGTERM may come before the shell has its trap


def test_what_is_not_there_is_not_found(gcloud: Gcloud, job: str) -> None:
    assert "Cannot find job [nobody]" in refused(gcloud(*JOBS, "describe", "nobody"))
    assert "Resource 'nobody' of kind 'JOB'" in refused(gcloud(*JOBS, "execute", "nobody"))
    assert "Execution [nobody] could not be found." in refused(gcloud(*JOBS, "executions", "cancel", "nobody"))
    told(gcloud(*JOBS, "delete", job))
    assert "Cannot find job [mayfly]" in refused(gcloud(*JOBS, "describe", job))


def test_a_schedule_is_made_run_paused_and_deleted(gcloud: Gcloud, emulator: Running, job: str) -> None:
    jobs = ("scheduler", "jobs")
    body = json.dumps({"overrides": {"containerOverrides": [{"args": ["-c", SCRIPT, "script", "0"]}]}})
    when = ("--schedule=0 9 * * *", "--time-zone=Europe/Berlin", f"--oauth-service-account-email={ACCOUNT}")
    told(gcloud(*jobs, "create", "http", "nightly", HERE, *when, f"--uri={URI}", f"--message-body={body}"))
    told(gcloud(*jobs, "run", "nightly", HERE))
    shown = json.loads(told(gcloud(*jobs, "describe", "nightly", HERE, "--format=json")))
    assert (shown["state"], shown["status"], shown["timeZone"]) == ("ENABLED", {}, "Europe/Berlin")
    [execution] = told(gcloud(*JOBS, "executions", "list", f"--job={job}", "--format=value(name)")).splitlines()
    assert execution.startswith("mayfly-")
    told(gcloud(*jobs, "pause", "nightly", HERE))
    told(gcloud(*jobs, "update", "http", "nightly", HERE, "--schedule=0 10 * * *"))
    assert "0 10 * * * (Europe/Berlin)  HTTP         PAUSED" in told(gcloud(*jobs, "list", HERE))
    told(gcloud(*jobs, "delete", "nightly", HERE))
    assert "NOT_FOUND" in refused(gcloud(*jobs, "describe", "nightly", HERE))
    [tick] = emulator.history("tick")
    assert (tick["event"], tick["resource"]) == ("called", "schedules/nightly")
