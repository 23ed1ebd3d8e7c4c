"""Executions: attempts, retries, timeouts, cancels, and what the history says of them."""

import json
from typing import Any

from gcp_emulator.knobs import Knobs
from gcp_emulator.wire import KillTask, TermTask
from tests.unit.emulator.inside import Inside
from tests.unit.emulator.running_jobs import PLACE, RunningJobs


def test_a_task_is_told_who_it_is():
    jobs = RunningJobs(container={"args": ["run"], "env": [{"name": "ZONE", "value": "us-central1-a"}]})
    name = jobs.run()
    [order] = jobs.orders
    assert order.task == f"{name}/tasks/{name.rpartition('/')[2]}-task0"
    assert (order.image, order.arguments, order.command) == ("mayfly:1", ("run",), ())
    assert order.environment == {
        "ZONE": "us-central1-a",
        "CLOUD_RUN_JOB": "mayfly",
        "CLOUD_RUN_EXECUTION": name.rpartition("/")[2],
        "CLOUD_RUN_TASK_INDEX": "0",
        "CLOUD_RUN_TASK_ATTEMPT": "0",
        "CLOUD_RUN_TASK_COUNT": "1",
    }


def test_overrides_replace_arguments_and_merge_variables_for_one_run_only():
    jobs = RunningJobs(container={"args": ["run"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]})
    jobs.run(containerOverrides=[{"args": ["test"], "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]}])
    jobs.run(containerOverrides=[{"clearArgs": True}])
    jobs.run()
    changed, cleared, plain = jobs.orders
    variables = [{name: value for name, value in one.environment.items() if len(name) == 1} for one in jobs.orders]
    assert (changed.arguments, variables[0]) == (("test",), {"A": "1", "B": "3", "C": "4"})
    assert cleared.arguments == ()
    assert (plain.arguments, variables[2]) == (("run",), {"A": "1", "B": "2"})


def test_an_execution_succeeds_with_its_task_and_its_operation_is_done_then():
    jobs = RunningJobs()
    name = jobs.run()
    assert jobs.completed(name) == ("CONDITION_RECONCILING", None)
    assert "done" not in jobs.inside.get(jobs.operation)
    jobs.ends(jobs.orders[0], 0)
    shown = jobs.execution(name)
    assert jobs.completed(name) == ("CONDITION_SUCCEEDED", None)
    assert (shown["succeededCount"], "reconciling" in shown) == (1, False)
    [task] = jobs.inside.get(f"/v2/{name}/tasks")["tasks"]
    assert task["lastAttemptResult"] == {"status": {}}, "zeroes are left out"
    assert jobs.inside.get(jobs.operation)["response"]["name"] == name
    assert jobs.inside.states(f"executions/{name.rpartition('/')[2]}") == ["RUNNING", "SUCCEEDED"]


def test_a_failing_attempt_is_made_again_until_none_is_left():
    jobs = RunningJobs(task={"maxRetries": 2})
    name = jobs.run()
    for code in (1, 143, 7):
        jobs.ends(jobs.orders[-1], code)
    assert [order.environment["CLOUD_RUN_TASK_ATTEMPT"] for order in jobs.orders] == ["0", "1", "2"]
    assert jobs.completed(name) == ("CONDITION_FAILED", "NON_ZERO_EXIT_CODE")
    error = jobs.inside.get(jobs.operation)["error"]
    assert error["message"].endswith("-task0 failed with message: The container exited with an error.")
    [task] = jobs.inside.get(f"/v2/{name}/tasks")["tasks"]
    assert (task["retried"], task["lastAttemptResult"]["exitCode"]) == (2, 7)
    assert jobs.attempts() == [
        (0, "started", None),
        (0, "failed", 1),
        (1, "started", None),
        (1, "failed", 143),
        (2, "started", None),
        (2, "failed", 7),
    ]


def test_a_killed_attempt_is_made_again_and_may_succeed():
    jobs = RunningJobs()
    name = jobs.run()
    jobs.ends(jobs.orders[0], signal=9)
    jobs.ends(jobs.orders[1], 0)
    assert jobs.completed(name)[0] == "CONDITION_SUCCEEDED"
    assert jobs.execution(name)["retriedCount"] == 1


def test_a_task_past_its_timeout_is_told_so_and_killed_ten_seconds_later():
    jobs = RunningJobs(task={"timeout": "60s", "maxRetries": 0})
    name = jobs.run()
    jobs.inside.passes(60)
    [order] = jobs.orders
    assert jobs.told() == [TermTask(order.task, 0)]
    jobs.inside.passes(9)
    assert jobs.told() == []
    jobs.inside.passes(1)
    assert jobs.told() == [KillTask(order.task, 0)]
    jobs.ends(order, signal=9)
    [task] = jobs.inside.get(f"/v2/{name}/tasks")["tasks"]
    result = task["lastAttemptResult"]
    assert (result["termSignal"], result["status"]["message"]) == (9, "The configured timeout was reached.")
    assert jobs.completed(name)[0] == "CONDITION_FAILED"


def test_a_task_that_heeds_sigterm_is_not_killed_and_its_retry_has_a_timeout_of_its_own():
    jobs = RunningJobs(task={"timeout": "60s", "maxRetries": 1})
    name = jobs.run()
    jobs.inside.passes(60)
    jobs.ends(jobs.orders[0], 0)  # too late to be a success
    jobs.inside.passes(59)
    assert jobs.told() == [TermTask(jobs.orders[0].task, 0)]
    jobs.ends(jobs.orders[1], 0)
    assert jobs.completed(name)[0] == "CONDITION_SUCCEEDED"


def test_a_cancelled_execution_is_told_to_end_and_not_tried_again():
    jobs = RunningJobs()
    name = jobs.run()
    jobs.inside.post(f"/v2/{name}:cancel", {})
    [order] = jobs.orders
    assert jobs.told() == [TermTask(order.task, 0)]
    assert jobs.completed(name) == ("CONDITION_RECONCILING", "CANCELLING")
    jobs.ends(order, 143)
    assert jobs.completed(name) == ("CONDITION_FAILED", "CANCELLED")
    assert jobs.execution(name)["cancelledCount"] == 1
    assert len(jobs.orders) == 1
    assert jobs.inside.refused("POST", f"/v2/{name}:cancel", {})[:2] == (400, "FAILED_PRECONDITION")


def test_a_cancel_kills_at_once_if_the_knob_says_so():
    jobs = RunningJobs(Inside(knobs=Knobs(cancelled_task="kill")))
    name = jobs.run()
    jobs.inside.post(f"/v2/{name}:cancel", {})
    assert jobs.told() == [KillTask(jobs.orders[0].task, 0)]


def test_tasks_run_as_many_at_once_as_may():
    jobs = RunningJobs(taskCount=3, parallelism=2, task={"maxRetries": 0})
    name = jobs.run()
    assert [order.environment["CLOUD_RUN_TASK_INDEX"] for order in jobs.orders] == ["0", "1"]
    jobs.ends(jobs.orders[0], 1)
    assert [order.environment["CLOUD_RUN_TASK_INDEX"] for order in jobs.orders] == ["0", "1", "2"]
    jobs.ends(jobs.orders[1], 0)
    assert jobs.completed(name)[0] == "CONDITION_RECONCILING"
    jobs.ends(jobs.orders[2], 0)
    shown = jobs.execution(name)
    assert (shown["succeededCount"], shown["failedCount"]) == (2, 1)
    assert jobs.completed(name)[0] == "CONDITION_FAILED"


def secret(name: str, version: str = "latest") -> Any:
    return {"env": [{"name": "KEY", "valueSource": {"secretKeyRef": {"secret": name, "version": version}}}]}


def test_a_secret_comes_as_a_variable_and_is_read_as_the_jobs_account():
    account = "orchestrator@demo.iam.gserviceaccount.com"
    jobs = RunningJobs(container=secret("mayfly-agent-key"), task={"serviceAccount": account})
    jobs.run()
    assert jobs.orders[0].environment["KEY"] == "second"
    assert jobs.orders[0].service_account == account
    asked = [
        one for one in jobs.inside.cloud.history.since(0)["entries"] if one.get("verb") == "secrets.versions.access"
    ]
    assert [one["path"] for one in asked] == ["/v1/projects/demo/secrets/mayfly-agent-key/versions/latest:access"]


def test_a_secret_that_cannot_be_read_fails_the_execution_and_starts_nothing():
    jobs = RunningJobs(container=secret("others"))
    name = jobs.run()
    assert jobs.orders == []
    assert jobs.completed(name)[0] == "CONDITION_FAILED"
    assert (
        "Permission denied on secret: projects/demo/secrets/others"
        in jobs.inside.get(jobs.operation)["error"]["message"]
    )


def test_each_line_is_an_entry_of_the_log_and_json_is_a_payload():
    jobs = RunningJobs()
    name = jobs.run()
    [order] = jobs.orders
    jobs.prints(order, b'{"severity": "WARNING", "message": "lo')
    jobs.prints(order, b'w"}\nplain\n', "stdout")
    jobs.prints(order, b"no end", "stderr")
    jobs.ends(order, 0)
    wanted = f'resource.type="cloud_run_job" labels."run.googleapis.com/execution_name"="{name.rpartition("/")[2]}"'
    entries = jobs.inside.post("/v2/entries:list", {"resourceNames": ["projects/demo"], "filter": wanted})["entries"]
    assert [(one["severity"], one.get("jsonPayload"), one.get("textPayload")) for one in entries] == [
        ("WARNING", {"message": "low"}, None),
        ("DEFAULT", None, "plain"),
        ("DEFAULT", None, "no end"),
    ]
    assert entries[2]["logName"] == "projects/demo/logs/run.googleapis.com%2Fstderr"
    assert entries[0]["resource"]["labels"]["job_name"] == "mayfly"


def test_a_reset_of_the_world_leaves_no_task_behind():
    jobs = RunningJobs()
    jobs.run()
    [order] = jobs.orders
    jobs.inside.post("/_emulator/reset")
    assert KillTask(order.task, 0) in jobs.told()
    assert jobs.inside.get(f"{PLACE}/jobs") == {}


def test_executions_are_listed_newest_first_and_in_pages():
    jobs = RunningJobs()
    first, second, third = jobs.run(), jobs.run(), jobs.run()
    path = f"{PLACE}/jobs/mayfly/executions"
    page = jobs.inside.get(f"{path}?pageSize=2")
    rest = jobs.inside.get(f"{path}?pageSize=2&pageToken={page['nextPageToken']}")
    assert [one["name"] for one in page["executions"]] == [third, second]
    assert [one["name"] for one in rest["executions"]] == [first]
    assert json.dumps(rest).count("nextPageToken") == 0
