"""The API of Cloud Run that gcloud speaks, without gcloud: a client to whom the emulator is its proxy, as to gcloud."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gcp_emulator.exports import exports
from tests.contract.world import Running

NAMESPACE = "/apis/run.googleapis.com/v1/namespaces/demo"
SHELL = ["/bin/sh", "-c"]
KEY = {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "mayfly-agent-key", "key": "1"}}}


@pytest.fixture
def region(emulator: Running) -> Iterator[httpx.Client]:
    """us-central1's own host, which nobody can resolve."""
    with httpx.Client(base_url=_host(emulator, "us-central1-"), proxy=emulator.url) as client:
        yield client


def _host(emulator: Running, region: str) -> str:
    told = exports(emulator.port)
    proxy = (told["CLOUDSDK_PROXY_ADDRESS"], told["CLOUDSDK_PROXY_PORT"])
    assert proxy == ("127.0.0.1", str(emulator.port))
    return told["CLOUDSDK_API_ENDPOINT_OVERRIDES_RUN"].replace("http://", f"http://{region}").rstrip("/")


def a_job(script: str, name: str = "mayfly", **task: Any) -> dict[str, Any]:
    limits = {"limits": {"memory": "1Gi"}}
    container = {"image": "x", "command": SHELL, "args": [script], "env": [KEY], "resources": limits}
    spec = {"taskCount": 1, "template": {"spec": {"containers": [container], "maxRetries": 0, **task}}}
    metadata = {"annotations": {"run.googleapis.com/execution-environment": "gen1"}}
    template = {"metadata": metadata, "spec": spec}
    kind = {"apiVersion": "run.googleapis.com/v1", "kind": "Job"}
    return {**kind, "metadata": {"name": name}, "spec": {"template": template}}


def told(reply: httpx.Response) -> Any:
    assert reply.is_success, reply.text
    return reply.json()


def completed(region: httpx.Client, execution: dict[str, Any]) -> dict[str, Any]:
    """The execution, once it is over."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        shown: dict[str, Any] = told(region.get(f"{NAMESPACE}/executions/{execution['metadata']['name']}"))
        [condition] = [one for one in shown["status"]["conditions"] if one["type"] == "Completed"]
        if condition["status"] != "Unknown":
            return shown
        time.sleep(0.05)
    raise TimeoutError


def test_a_job_is_the_same_thing_in_both_apis(emulator: Running, region: httpx.Client) -> None:
    made = told(region.post(f"{NAMESPACE}/jobs", json=a_job("true", timeoutSeconds="90")))
    assert made["metadata"]["labels"]["cloud.googleapis.com/location"] == "us-central1"
    job = httpx.get(f"{emulator.url}/v2/projects/demo/locations/us-central1/jobs/mayfly").json()
    newer = job["template"]["template"]
    assert (newer["timeout"], newer["executionEnvironment"]) == ("90s", "EXECUTION_ENVIRONMENT_GEN1")
    assert newer["containers"][0]["resources"]["limits"] == {"cpu": "1000m", "memory": "1Gi"}
    assert newer["containers"][0]["env"] == [
        {"name": "KEY", "valueSource": {"secretKeyRef": {"secret": "mayfly-agent-key", "version": "1"}}}
    ]
    task = made["spec"]["template"]["spec"]["template"]["spec"]
    assert (task["timeoutSeconds"], task["maxRetries"]) == ("90", 0)
    assert (
        task["containers"][0]["env"]
        == a_job("")["spec"]["template"]["spec"]["template"]["spec"]["containers"][0]["env"]
    )
    replaced = told(region.put(f"{NAMESPACE}/jobs/mayfly", json=a_job("false")))
    assert (replaced["metadata"]["generation"], replaced["metadata"]["uid"]) == (2, made["metadata"]["uid"])


def test_a_run_is_followed_by_its_conditions_and_overridden_for_once(region: httpx.Client) -> None:
    told(region.post(f"{NAMESPACE}/jobs", json=a_job("exit 3")))
    failed = completed(region, told(region.post(f"{NAMESPACE}/jobs/mayfly:run", json={})))
    [condition] = [one for one in failed["status"]["conditions"] if one["type"] == "Completed"]
    assert (condition["status"], condition["reason"]) == ("False", "NonZeroExitCode")
    overrides = {"containerOverrides": [{"args": ['test "$KEY:$A" = old:b'], "env": [{"name": "A", "value": "b"}]}]}
    started = told(region.post(f"{NAMESPACE}/jobs/mayfly:run", json={"overrides": overrides}))
    succeeded = completed(region, started)
    assert succeeded["status"]["succeededCount"] == 1
    assert succeeded["metadata"]["labels"]["run.googleapis.com/job"] == "mayfly"
    of_the_job = {"limit": "1", "labelSelector": "run.googleapis.com/job=mayfly"}
    page = told(region.get(f"{NAMESPACE}/executions", params=of_the_job))
    assert [one["metadata"]["name"] for one in page["items"]] == [succeeded["metadata"]["name"]]
    rest = told(region.get(f"{NAMESPACE}/executions", params={"limit": "1", "continue": page["metadata"]["continue"]}))
    assert [one["metadata"]["name"] for one in rest["items"]] == [failed["metadata"]["name"]]
    assert "continue" not in rest["metadata"]
    other = told(region.get(f"{NAMESPACE}/executions", params={"labelSelector": "run.googleapis.com/job=other"}))
    assert "items" not in other
    [task] = told(region.get(f"{NAMESPACE}/tasks", params={"limit": "1"}))["items"]
    assert task["status"]["lastAttemptResult"]["exitCode"] == 3
    assert told(region.get(f"{NAMESPACE}/tasks/{task['metadata']['name']}")) == task


def test_each_region_has_a_host_of_its_own(emulator: Running, region: httpx.Client) -> None:
    told(region.post(f"{NAMESPACE}/jobs", json=a_job("true")))
    with httpx.Client(base_url=_host(emulator, "us-east1-"), proxy=emulator.url) as elsewhere:
        assert "items" not in told(elsewhere.get(f"{NAMESPACE}/jobs"))
        missing = elsewhere.get(f"{NAMESPACE}/jobs/mayfly").json()["error"]
        assert (missing["code"], "in region 'us-east1'" in missing["message"]) == (404, True)
        told(elsewhere.post(f"{NAMESPACE}/jobs", json=a_job("true", "eastern")))
    with httpx.Client(base_url=_host(emulator, ""), proxy=emulator.url) as everywhere:
        names = [one["metadata"]["name"] for one in told(everywhere.get(f"{NAMESPACE}/jobs"))["items"]]
        assert sorted(names) == ["eastern", "mayfly"]
        assert everywhere.get(f"{NAMESPACE}/jobs/mayfly").status_code == 400
        locations = told(everywhere.get("/v1/projects/demo/locations"))["locations"]
        assert {one["locationId"] for one in locations} >= {"us-central1", "us-east1"}


def test_an_execution_and_a_job_are_deleted(region: httpx.Client) -> None:
    told(region.post(f"{NAMESPACE}/jobs", json=a_job("true")))
    execution = told(region.post(f"{NAMESPACE}/jobs/mayfly:run", json={}))
    path = f"{NAMESPACE}/executions/{completed(region, execution)['metadata']['name']}"
    assert region.post(f"{path}:cancel", json={}).json()["error"]["status"] == "FAILED_PRECONDITION"
    assert told(region.delete(path)) == {"status": "Success"}
    assert region.get(path).status_code == 404
    assert told(region.delete(f"{NAMESPACE}/jobs/mayfly")) == {"status": "Success"}
    assert region.get(f"{NAMESPACE}/jobs/mayfly").status_code == 404
