"""Whatever Google's front end lets through is answered, and with a body that Google could send.

Bodies are made from the discovery documents themselves, from a seed: any fields, of the right types, with odd values.
"""

import importlib.resources
import json
from random import Random
from typing import Any

import pytest

from gcp_emulator import discovery
from gcp_emulator.errors import ApiError
from gcp_emulator.wire import Reply, Request, StartTask, TaskEnded
from tests.unit.emulator.inside import Inside
from tests.unit.emulator.running_jobs import JOB, PLACE, RunningJobs
from tests.unit.emulator.test_scheduler import JOBS, NIGHTLY, a_schedule

V1 = "/apis/run.googleapis.com/v1/namespaces/demo"
METHODS = [
    ("run.v2", "POST", f"{PLACE}/jobs?jobId=other"),
    ("run.v2", "PATCH", JOB),
    ("run.v2", "POST", f"{JOB}:run"),
    ("run.v1", "POST", f"{V1}/jobs"),
    ("run.v1", "PUT", f"{V1}/jobs/mayfly"),
    ("run.v1", "POST", f"{V1}/jobs/mayfly:run"),
    ("cloudscheduler.v1", "POST", JOBS),
    ("cloudscheduler.v1", "PATCH", NIGHTLY),
    ("logging.v2", "POST", "/v2/entries:list"),
]
SCALARS: dict[str, list[Any]] = {
    "boolean": [True, False],
    "int32": [-1, 0, 1, 3, 2**31 - 1],
    "int64": ["0", "12", 5],
    "byte": ["", "e30=", "eA==", "no base64!"],
}
TEXTS = ["", "x", "mayfly", "600s", "-1s", "1.5s", "0 9 * * *", "UTC", "projects/demo", "latest", "é\n\0", "a=b"]
ROUNDS = 150


class Bodies:
    """Random messages of one API."""

    def __init__(self, api: str, random: Random) -> None:
        document = importlib.resources.files("googleapiclient.discovery_cache") / "documents" / f"{api}.json"
        self._schemas = json.loads(document.read_bytes())["schemas"]
        self._random = random

    def any(self, name: str, depth: int = 0) -> Any:
        fields = self._schemas[name].get("properties", {})
        kept = [field for field in fields if self._random.random() < (0.8 if depth < 6 else 0.1)]
        return {field: self._value(fields[field], depth + 1) for field in kept}

    def _value(self, field: dict[str, Any], depth: int) -> Any:
        if "$ref" in field:
            return self.any(field["$ref"], depth)
        if field.get("type") == "array":
            return [self._value(field["items"], depth) for _ in range(self._few(depth))]
        if field.get("type") == "object":
            inner = field.get("additionalProperties")
            return {self._random.choice(TEXTS): self._value(inner, depth) for _ in range(self._few(depth)) if inner}
        return self._random.choice(field.get("enum") or SCALARS.get(field.get("format") or field["type"], TEXTS))

    def _few(self, depth: int) -> int:
        return self._random.choice([0, 1, 2]) if depth < 12 else 0


@pytest.mark.parametrize(("api", "verb", "url"), METHODS, ids=[f"{verb} {url[-30:]}" for _, verb, url in METHODS])
def test_any_body_that_fits_the_document_is_answered_as_google_could(api: str, verb: str, url: str):
    path, _, query = url.partition("?")
    method = discovery.method_of(verb, path)
    assert method is not None
    assert method.request_type is not None
    bodies = Bodies(api, Random(url))  # noqa: S311 - seeded on purpose
    accepted = 0
    for number in range(ROUNDS):
        jobs = RunningJobs()
        jobs.inside.post(JOBS, a_schedule())
        body = bodies.any(method.request_type)
        _help(body, method.request_type, number)
        accepted += _answered(jobs.inside, verb, path, dict([query.split("=")] if query else []), body)
        _lives_on(jobs.inside)
    assert accepted, "some must get through, or nothing behind the door is tried"


def _help(body: dict[str, Any], kind: str, number: int) -> None:
    """Every other body has what its method cannot do without."""
    if number % 2:
        return
    task = {"containers": [{"image": "x"}]}
    match kind:
        case "GoogleCloudRunV2Job":
            body |= {
                "etag": "",
                "template": {**body.get("template", {}), "template": task, "taskCount": 1, "parallelism": 0},
            }
        case "Job" if "httpTarget" in body or "schedule" in body:
            body.update(a_schedule(), retryConfig={}, attemptDeadline="")
            body["name"] = NIGHTLY.removeprefix("/v1/") + str(number)
        case "Job":
            spec = {"template": {"spec": {"template": {"spec": task}}}}
            body |= {"metadata": {**body.get("metadata", {}), "name": f"job-{number}"}, "spec": spec}
        case "ListLogEntriesRequest":
            body |= {"resourceNames": ["projects/demo"], "filter": "", "pageSize": 1, "pageToken": ""}
        case _:
            body.clear()


def _answered(inside: Inside, verb: str, path: str, query: dict[str, str], body: Any) -> bool:
    headers = {"host": "us-central1-run.googleapis.com"}
    request = Request(verb, path, query, headers, json.dumps(body).encode())
    method = discovery.method_of(verb, path)
    assert method is not None
    try:
        discovery.check_request(request, method)
    except ApiError:
        return False
    reply = inside.cloud.answer(request, inside.now)
    assert isinstance(reply, Reply), body
    assert discovery.defect(reply, request, method) is None, (body, reply.body)
    return reply.status == 200


def _lives_on(inside: Inside) -> None:
    """What came of it runs, and is shown."""
    inside.passes(7200)
    for order in [effect for effect in inside.effects if isinstance(effect, StartTask)][:5]:
        inside.cloud.task_says(order.task, TaskEnded(order.attempt, 1), inside.now)
    inside.passes(0)
    for path in (f"{PLACE}/jobs", f"{PLACE}/jobs/-/executions", f"{V1}/jobs", f"{V1}/executions", f"{V1}/tasks", JOBS):
        _answered(inside, "GET", path, {}, {})
