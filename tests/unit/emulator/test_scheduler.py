"""Cloud Scheduler: ticks, calls, retries, and a tick that is delivered twice."""

import base64
import json
from typing import Any

import pytest

from tests.unit.emulator.inside import Inside
from tests.unit.emulator.running_jobs import JOB, RunningJobs

JOBS = "/v1/projects/demo/locations/us-central1/jobs"
NIGHTLY = f"{JOBS}/nightly"
ACCOUNT = "scheduler@demo.iam.gserviceaccount.com"
RUN = f"https://run.googleapis.com{JOB}:run"


def a_schedule(uri: str = RUN, body: Any = None, **fields: Any) -> dict[str, Any]:
    target: dict[str, Any] = {"uri": uri, "oauthToken": {"serviceAccountEmail": ACCOUNT}}
    if body is not None:
        target["body"] = base64.b64encode(json.dumps(body).encode()).decode()
    return {"name": NIGHTLY.removeprefix("/v1/"), "schedule": "0 * * * *", "httpTarget": target, **fields}


def scheduled(**fields: Any) -> RunningJobs:
    jobs = RunningJobs()
    jobs.inside.post(JOBS, a_schedule(**fields))
    return jobs


def ticks(inside: Inside) -> list[tuple[str, Any, Any]]:
    entries = inside.cloud.history.since(0)["entries"]
    return [(one["event"], one.get("attempt"), one.get("code")) for one in entries if one["kind"] == "tick"]


def test_a_job_is_shown_with_its_defaults_and_its_next_tick():
    job = scheduled(timeZone="Europe/Berlin", schedule="0 9 * * *").inside.get(NIGHTLY)
    assert (job["state"], job["scheduleTime"]) == ("ENABLED", "2030-01-02T08:00:00.000000Z")
    assert job["httpTarget"]["httpMethod"] == "POST"
    assert job["httpTarget"]["headers"] == {"User-Agent": "Google-Cloud-Scheduler"}
    assert job["httpTarget"]["oauthToken"]["scope"] == "https://www.googleapis.com/auth/cloud-platform"
    assert (job["attemptDeadline"], job["retryConfig"]["maxDoublings"]) == ("180s", 5)
    assert "lastAttemptTime" not in job


def test_a_tick_starts_the_job_as_its_account():
    jobs = scheduled(body={"overrides": {"containerOverrides": [{"args": ["test"]}]}})
    jobs.inside.passes(3599)
    assert jobs.orders == []
    jobs.inside.passes(1)
    [order] = jobs.orders
    assert order.arguments == ("test",)
    shown = jobs.inside.get(NIGHTLY)
    assert (shown["status"], shown["lastAttemptTime"]) == ({}, "2030-01-01T13:00:00.000000Z")
    assert shown["scheduleTime"] == "2030-01-01T14:00:00.000000Z"
    assert ticks(jobs.inside) == [("called", 0, None)]


def test_the_call_carries_the_account_and_the_schedulers_headers():
    jobs = scheduled()
    seen = []
    deliver = jobs.inside.cloud.world.ask
    jobs.inside.cloud.world.ask = lambda request: seen.append(request) or deliver(request)  # type: ignore[func-returns-value]
    jobs.inside.passes(3600)
    [request] = seen
    assert request.headers["authorization"] == f"Bearer ya29.emulated-{ACCOUNT}"
    assert request.headers["x-cloudscheduler-jobname"] == "nightly"
    assert request.headers["x-cloudscheduler-scheduletime"] == "2030-01-01T13:00:00.000000Z"
    assert request.headers["user-agent"] == "Google-Cloud-Scheduler"


def test_a_tick_may_be_delivered_twice_and_starts_two_executions():
    jobs = scheduled()
    jobs.inside.post("/_emulator/faults", {"resource": "*/nightly", "tick_twice": {"after": 2}})
    jobs.inside.passes(3600)
    assert len(jobs.orders) == 1
    jobs.inside.passes(2)
    assert len(jobs.orders) == 2
    assert jobs.inside.get("/_emulator/faults")["all_spent"]
    jobs.inside.passes(3600)
    assert len(jobs.orders) == 3


def test_a_call_that_fails_is_made_again_with_longer_and_longer_rests():
    jobs = scheduled(retryConfig={"retryCount": 3, "minBackoffDuration": "10s", "maxDoublings": 1})
    jobs.inside.post("/_emulator/faults", {"on": "run.jobs.run", "times": 3, "reply": {"status": 503}})
    jobs.inside.passes(3600)
    assert jobs.inside.get(NIGHTLY)["status"]["code"] == 14
    assert jobs.inside.get(NIGHTLY)["scheduleTime"] == "2030-01-01T13:00:10.000000Z"
    jobs.inside.passes(10)
    jobs.inside.passes(20)
    jobs.inside.passes(39)
    assert jobs.orders == []
    jobs.inside.passes(1)
    assert len(jobs.orders) == 1
    assert ticks(jobs.inside) == [("called", 0, 14), ("called", 1, 14), ("called", 2, 14), ("called", 3, None)]


def test_without_retries_a_failed_tick_is_only_told():
    jobs = scheduled()
    jobs.inside.post("/_emulator/faults", {"on": "run.jobs.run", "lose_request": {}})
    jobs.inside.passes(3600)
    assert ticks(jobs.inside) == [("called", 0, 14)]
    jobs.inside.passes(3599)
    assert jobs.orders == []


def test_a_target_that_does_not_answer_in_time_has_failed_though_it_may_have_begun():
    jobs = scheduled(attemptDeadline="15s")
    jobs.inside.post("/_emulator/faults", {"on": "run.jobs.run", "late": {"seconds": 30}})
    jobs.inside.passes(3600 + 15)
    assert ticks(jobs.inside) == [("called", 0, 4)]
    assert len(jobs.orders) == 1


def test_a_tick_is_skipped_while_a_call_of_the_job_is_still_to_be_made_again():
    jobs = scheduled(schedule="* * * * *", retryConfig={"retryCount": 1, "minBackoffDuration": "90s"})
    jobs.inside.post("/_emulator/faults", {"on": "run.jobs.run", "reply": {"status": 503}})
    jobs.inside.passes(60 + 90)
    assert ticks(jobs.inside) == [("called", 0, 14), ("skipped", None, None), ("called", 1, None)]


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ({"uri": RUN}, 16),
        ({"uri": RUN, "oidcToken": {"serviceAccountEmail": ACCOUNT}}, 16),
        ({"uri": RUN.replace("mayfly", "none"), "oauthToken": {"serviceAccountEmail": ACCOUNT}}, 5),
        ({"uri": RUN.replace(":run", ":fly"), "oauthToken": {"serviceAccountEmail": ACCOUNT}}, 5),
        ({"uri": RUN, "body": "eyJ4IjogMX0=", "oauthToken": {"serviceAccountEmail": ACCOUNT}}, 3),
        ({"uri": "https://example.com/", "oauthToken": {"serviceAccountEmail": ACCOUNT}}, 14),
    ],
)
def test_a_target_that_google_would_not_let_in_fails_the_call(target: Any, code: int):
    jobs = scheduled()
    jobs.inside.say("PATCH", NIGHTLY, {"httpTarget": target})
    jobs.inside.post(f"{NIGHTLY}:run", {})
    assert ticks(jobs.inside) == [("called", 0, code)]
    assert jobs.orders == []


def test_a_paused_job_is_not_due_but_can_be_run():
    jobs = scheduled()
    assert jobs.inside.post(f"{NIGHTLY}:pause", {})["state"] == "PAUSED"
    jobs.inside.passes(7200)
    assert jobs.orders == []
    jobs.inside.post(f"{NIGHTLY}:run", {})
    assert len(jobs.orders) == 1
    assert jobs.inside.refused("POST", f"{NIGHTLY}:pause", {})[:2] == (400, "FAILED_PRECONDITION")
    resumed = jobs.inside.post(f"{NIGHTLY}:resume", {})
    assert (resumed["state"], resumed["scheduleTime"]) == ("ENABLED", "2030-01-01T15:00:00.000000Z")
    jobs.inside.passes(3600)
    assert len(jobs.orders) == 2


def test_a_change_plans_anew_and_leaves_what_the_mask_does_not_name():
    jobs = scheduled(description="each hour")
    body = {"schedule": "30 * * * *", "description": "not named"}
    status, changed = jobs.inside.say("PATCH", f"{NIGHTLY}?updateMask=schedule", body)
    assert status == 200
    assert (changed["schedule"], changed["description"]) == ("30 * * * *", "each hour")
    jobs.inside.passes(1800)
    assert len(jobs.orders) == 1
    jobs.inside.passes(1800)
    assert len(jobs.orders) == 1


def test_a_mask_reaches_into_the_target():
    jobs = scheduled(body={"overrides": {"containerOverrides": [{"args": ["run"]}]}})
    body = base64.b64encode(b'{"overrides": {"containerOverrides": [{"args": ["test"]}]}}').decode()
    target = {"httpTarget": {"body": body, "uri": "https://example.com/not-named"}}
    assert jobs.inside.say("PATCH", f"{NIGHTLY}?updateMask=http_target.body,description", target)[0] == 200
    jobs.inside.post(f"{NIGHTLY}:run", {})
    assert [order.arguments for order in jobs.orders] == [("test",)]
    assert jobs.inside.refused("PATCH", f"{NIGHTLY}?updateMask=state", {})[:2] == (400, "INVALID_ARGUMENT")


def test_a_deleted_job_is_not_due():
    jobs = scheduled()
    assert jobs.inside.say("DELETE", NIGHTLY) == (200, {})
    jobs.inside.passes(7200)
    assert jobs.orders == []
    assert jobs.inside.get(JOBS) == {}
    assert jobs.inside.refused("GET", NIGHTLY)[:2] == (404, "NOT_FOUND")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "every day"}, "schedule: 'every day' does not have five fields"),
        ({"timeZone": "Mars/Olympus"}, "time_zone: 'Mars/Olympus'"),
        ({"uri": "mayfly"}, "http_target.uri"),
        ({"attemptDeadline": "5s"}, "attempt_deadline"),
        ({"retryConfig": {"retryCount": 6}}, "retry_config.retry_count"),
        ({"name": "projects/demo/locations/mars/jobs/x"}, "Job name must be formatted"),
    ],
)
def test_what_cannot_be_is_refused(fields: Any, message: str):
    refused = Inside().refused("POST", JOBS, a_schedule(**fields))
    assert refused[:2] == (400, "INVALID_ARGUMENT")
    assert refused[2].startswith(message)


def test_a_name_is_taken_once():
    assert scheduled().inside.refused("POST", JOBS, a_schedule())[:2] == (409, "ALREADY_EXISTS")


def test_tasks_are_killed_at_a_moment_of_choice():
    jobs = RunningJobs()
    jobs.inside.post("/_emulator/faults", {"on": "addresses.get", "kill_tasks": {"job": "may*"}})
    jobs.run()
    jobs.inside.get("projects/demo/regions/us-central1/addresses/gpu-ip")
    jobs.inside.passes(0)
    [killed] = jobs.told()
    assert (type(killed).__name__, killed.task) == ("KillTask", jobs.orders[0].task)
    assert jobs.inside.get("/_emulator/faults")["all_spent"]
